/**
 * A 48-bit hash of a text, as a safe integer: two 24-bit halves of FNV-1a from different bases. For telling apart
 * things that nobody forges (sessions on authenticated links); never for comparing data.
 */
export function hash48(text: string): number {
  return fnv1a24(text, 0x811c9dc5) * 0x1000000 + fnv1a24(text, 0x4b9f1d37)
}

function fnv1a24(text: string, basis: number): number {
  let hash = basis
  for (let index = 0; index < text.length; index += 1) {
    hash = Math.imul(hash ^ text.charCodeAt(index), 0x01000193)
  }
  return ((hash >>> 24) ^ hash) & 0xffffff
}
