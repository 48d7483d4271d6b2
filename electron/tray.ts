/** The sign in the tray: the worst headline, as an icon and in words. */
import { Menu, nativeImage, Tray } from 'electron'
import type { Bridge, News } from '../agent/contract/bridge.ts'
import { status as statusSchema } from '../agent/contract/status.ts'
import { statusWords } from '../agent/contract/words.ts'
import { iconSidePx, type TrayState, trayBitmap } from './tray-icon.ts'

/** Milliseconds until a lost agent is tried again. */
const retryMs = 3_000

export interface TrayOptions {
  readonly bridge: Bridge
  readonly onOpen: () => void
  readonly onQuit: () => void
}

/** @returns ends its talking to the agent; the sign goes with the process */
export function startTray(options: TrayOptions): () => void {
  const tray = new Tray(imageOf('lost'))
  const show = (state: TrayState, words: string) => {
    tray.setImage(imageOf(state))
    tray.setToolTip(`Mirrorbay: ${words}`)
    tray.setContextMenu(
      Menu.buildFromTemplate([
        { label: words, enabled: false },
        { type: 'separator' },
        { label: 'Open Mirrorbay', click: options.onOpen },
        // The agent is a process of its own: this ends the window and this sign, never the storage.
        { label: 'Close window and tray (storage goes on)', click: options.onQuit },
      ]),
    )
  }
  show('lost', 'asking the agent')
  tray.on('click', options.onOpen)
  let retry: NodeJS.Timeout | null = null
  let stop: () => void = () => undefined
  const follow = () => {
    stop = options.bridge.watch((news) => {
      const told = trayWords(news, Date.now())
      if (told !== null) show(told.state, told.words)
      if (news.kind === 'end') retry = setTimeout(follow, retryMs)
    })
  }
  follow()
  return () => {
    stop()
    if (retry !== null) clearTimeout(retry)
  }
}

/** @returns null for news that change nothing here */
export function trayWords(news: News, nowMs: number): { state: TrayState; words: string } | null {
  if (news.kind === 'event') return null
  const parsed = news.kind === 'status' ? statusSchema.safeParse(news.data) : null
  if (parsed === null || !parsed.success) return { state: 'lost', words: 'the agent on this server does not answer' }
  const { headline, volumes } = statusWords(parsed.data, nowMs)
  if (headline === null) return { state: 'no disk', words: 'no shared disk yet' }
  const [first] = volumes
  return { state: headline, words: volumes.length > 1 && first ? `${headline} (${first.name})` : headline }
}

const imageOf = (state: TrayState) =>
  nativeImage.createFromBitmap(trayBitmap(state), { width: iconSidePx, height: iconSidePx })
