/**
 * The shell: a window and a sign in the tray around the same page that the console shows. It finds the agent of a
 * storage folder or starts it, passes the window's questions on, and decides nothing about data. Closing it leaves
 * the agent running.
 */
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { app, BrowserWindow, ipcMain, Menu, protocol, type Session, session, shell, type WebContents } from 'electron'
import { type Bridge, bridgeFrom, isWindowOperation } from '../agent/contract/bridge.ts'
import { createClient } from '../agent/contract/client.ts'
import { agentPlace, findOrStart } from './agent-process.ts'
import { channels } from './channels.ts'
import { pageServer, pageUrl, scheme } from './page.ts'
import { socketTransport } from './socket-transport.ts'
import { startTray } from './tray.ts'

const here = dirname(fileURLToPath(import.meta.url))

/** Given by whoever starts the shell (`npm start`); without a program the shell finds agents, but starts none. */
interface Settings {
  dir: string | null
  node: string | null
  program: readonly string[]
}

function readSettings(commandLine: readonly string[], environment: NodeJS.ProcessEnv): Settings {
  const at = commandLine.indexOf('--dir')
  return {
    dir: (at < 0 ? undefined : commandLine[at + 1]) ?? environment.MIRRORBAY_DIR ?? null,
    node: environment.MIRRORBAY_NODE ?? null,
    program: environment.MIRRORBAY_AGENT === undefined ? [] : [environment.MIRRORBAY_AGENT, 'agent'],
  }
}

protocol.registerSchemesAsPrivileged([{ scheme, privileges: { standard: true, secure: true } }])

if (app.requestSingleInstanceLock()) {
  app.whenReady().then(run, fail)
} else {
  app.quit()
}

async function run(): Promise<void> {
  const settings = readSettings(process.argv, process.env)
  if (settings.dir === null) return fail(new Error('Mirrorbay was started without its storage folder (--dir).'))
  const place = await agentPlace(settings.dir).catch(fail)
  if (place === undefined) return
  if (settings.node !== null && settings.program.length > 0) {
    // The window opens also where this fails: it says then that it has no agent, and goes on trying.
    await findOrStart({ place, node: settings.node, program: settings.program }).catch((error: unknown) =>
      console.error(error instanceof Error ? error.message : String(error)),
    )
  }
  const bridge = bridgeFrom(createClient(socketTransport(place.socketPath)))
  lockDown(session.defaultSession)
  protocol.handle(scheme, pageServer(join(here, '..', 'renderer')))
  const endWatches = answerPage(bridge)
  Menu.setApplicationMenu(null)
  let window: BrowserWindow | null = null
  const show = () => {
    if (window === null || window.isDestroyed()) window = openWindow(endWatches)
    window.show()
    window.focus()
  }
  app.on('second-instance', show)
  app.on('activate', show)
  // The tray stays, and with it the shell; "Close window and tray" there ends it.
  app.on('window-all-closed', () => undefined)
  const stopTray = startTray({ bridge, onOpen: show, onQuit: () => app.quit() })
  app.on('will-quit', stopTray)
  show()
}

function fail(error: unknown): undefined {
  console.error(error instanceof Error ? error.message : String(error))
  app.exit(1)
}

function openWindow(endWatches: (contents: WebContents) => void): BrowserWindow {
  const window = new BrowserWindow({
    width: 1180,
    height: 780,
    minWidth: 640,
    minHeight: 480,
    show: false,
    webPreferences: {
      preload: join(here, 'preload.cjs'),
      contextIsolation: true,
      sandbox: true,
      nodeIntegration: false,
      webviewTag: false,
      spellcheck: false,
    },
  })
  const { webContents } = window
  confine(webContents)
  // A page that is reloaded or closed forgets its watches without a word.
  webContents.on('did-start-navigation', (details) => {
    if (details.isMainFrame && !details.isSameDocument) endWatches(webContents)
  })
  webContents.on('destroyed', () => endWatches(webContents))
  void window.loadURL(pageUrl)
  return window
}

/** The window shows our page and nothing else: no navigation, no second window, no embedded page. */
function confine(contents: WebContents): void {
  contents.on('will-navigate', (event, url) => {
    if (!url.startsWith(pageUrl)) event.preventDefault()
  })
  contents.on('will-attach-webview', (event) => event.preventDefault())
  contents.setWindowOpenHandler(({ url }) => {
    if (url.startsWith('https://')) void shell.openExternal(url)
    return { action: 'deny' }
  })
}

/** The page may put text on the clipboard (the Copy buttons); no camera, no place, no notifications, nothing else. */
function lockDown(of: Session): void {
  of.setPermissionRequestHandler((_contents, permission, answer) => answer(permission === 'clipboard-sanitized-write'))
  of.setPermissionCheckHandler((_contents, permission) => permission === 'clipboard-sanitized-write')
}

/** Only our own page is answered, and only what the window has a use for. @returns ends the watches of one window */
function answerPage(bridge: Bridge): (contents: WebContents) => void {
  /** By window, then by the page's own number. */
  const watches = new Map<number, Map<number, () => void>>()
  const isOurs = (event: { senderFrame: { url: string } | null }) => event.senderFrame?.url.startsWith(pageUrl) === true
  ipcMain.handle(channels.call, async (event, id: unknown, request: unknown) => {
    if (!isOurs(event) || !isWindowOperation(id)) throw new Error('not for this page')
    return bridge.call(id, request)
  })
  ipcMain.on(channels.watch, (event, watch: unknown) => {
    if (!isOurs(event) || typeof watch !== 'number') return
    const { sender } = event
    const ofWindow = watches.get(sender.id) ?? new Map<number, () => void>()
    watches.set(sender.id, ofWindow)
    ofWindow.get(watch)?.()
    const stop = bridge.watch((news) => {
      if (!sender.isDestroyed()) sender.send(channels.news, watch, news)
    })
    ofWindow.set(watch, stop)
  })
  ipcMain.on(channels.unwatch, (event, watch: unknown) => {
    const ofWindow = watches.get(event.sender.id)
    if (typeof watch !== 'number' || ofWindow === undefined) return
    ofWindow.get(watch)?.()
    ofWindow.delete(watch)
  })
  return ({ id }) => {
    for (const stop of watches.get(id)?.values() ?? []) stop()
    watches.delete(id)
  }
}
