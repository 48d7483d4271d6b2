/** The addresses of volumeStatus.nbd, taken apart for the commands that want the parts. NBD URIs, as in the NBD
 * project's document uri.md: `nbd://host:port/export` and `nbd+unix:///export?socket=path`. */

export type NbdAddress =
  | { kind: 'tcp'; host: string; port: string; name: string; uri: string }
  | { kind: 'unix'; path: string; name: string; uri: string }

/** @returns null where nothing is offered, or where the text is no NBD address */
export function nbdAddress(text: string | null, volumeName: string): NbdAddress | null {
  if (text === null) return null
  const uri = URL.parse(text)
  if (uri === null) return null
  const name = decodeURIComponent(uri.pathname.replace(/^\//, '')) || volumeName
  if (uri.protocol === 'nbd:' && uri.host !== '') {
    // 10809 is NBD's registered port.
    return { kind: 'tcp', host: uri.hostname, port: uri.port || '10809', name, uri: text }
  }
  const path = uri.searchParams.get('socket')
  if (uri.protocol === 'nbd+unix:' && path !== null) return { kind: 'unix', path, name, uri: text }
  return null
}
