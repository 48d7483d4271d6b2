/** Names of the messages between the page's preload and the main process. */
export const channels = {
  /** invoke: (operation, request) -> Outcome */
  call: 'mirrorbay:call',
  /** send: (number of the watch) */
  watch: 'mirrorbay:watch',
  unwatch: 'mirrorbay:unwatch',
  /** to the page: (number of the watch, News) */
  news: 'mirrorbay:news',
} as const
