/** Where the window is: behind the #, so that Electron's file page and the browser's console work alike. */
import { useSyncExternalStore } from 'react'

export type Route =
  | { page: 'overview' }
  | { page: 'new-disk' }
  | { page: 'connect'; volume: string | null }
  | { page: 'activity' }
  | { page: 'disk'; volume: string | null }

export const hrefs = {
  overview: '#/',
  newDisk: '#/new',
  activity: '#/activity',
  disk: (volume: string) => `#/disk/${encodeURIComponent(volume)}`,
  connect: (volume?: string) => (volume === undefined ? '#/connect' : `#/connect/${encodeURIComponent(volume)}`),
} as const

/** @param hash location.hash; anything unknown is the overview */
export function parseRoute(hash: string): Route {
  const [page = '', rest] = hash.replace(/^#\/?/, '').split('/')
  if (page === 'new') return { page: 'new-disk' }
  if (page === 'activity') return { page: 'activity' }
  if (page === 'disk') return { page: 'disk', volume: rest === undefined ? null : decodeOrNull(rest) }
  if (page === 'connect') return { page: 'connect', volume: rest === undefined ? null : decodeOrNull(rest) }
  return { page: 'overview' }
}

function decodeOrNull(text: string): string | null {
  try {
    return decodeURIComponent(text)
  } catch {
    // Somebody typed a broken address; without a name the page shows every disk.
    return null
  }
}

const listen = (listener: () => void) => {
  window.addEventListener('hashchange', listener)
  return () => window.removeEventListener('hashchange', listener)
}

export function useRoute(): Route {
  return parseRoute(useSyncExternalStore(listen, () => window.location.hash))
}

export function go(href: string): void {
  window.location.hash = href
}
