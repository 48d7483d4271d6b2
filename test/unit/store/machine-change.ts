/** One change of a volume that the state machine asks for (machine.test.ts), and the bytes that it writes. */

export type ChangeKind = 'write' | 'zero' | 'keep' | 'discard'

export interface Change {
  readonly kind: ChangeKind
  readonly from: number
  readonly to: number
  readonly value: number
  /** Of the volume, when it was asked for. */
  readonly sizeBytes: number
}

/** Bytes that depend on the place too, so that a block that went astray shows. */
export function fill(value: number, from: number, to: number): Buffer {
  const bytes = Buffer.alloc(to - from)
  if (value === 0) return bytes
  for (let at = 0; at < bytes.length; at += 1) bytes[at] = 1 + ((value * 31 + ((from + at) >> 9) * 7 + from + at) % 255)
  return bytes
}
