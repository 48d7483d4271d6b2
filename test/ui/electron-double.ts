/**
 * NOT Electron. A recording double of the few parts of Electron's API that electron/ uses, for machines without its
 * binary: it notes what the shell asks for and lets a test play the events. It proves what our code asks of Electron,
 * nothing about Electron itself.
 */
import { EventEmitter } from 'node:events'

type Listener = (...parameters: never[]) => unknown

class DoubledContents extends EventEmitter {
  static #last = 0
  readonly id = ++DoubledContents.#last
  openHandler: ((details: { url: string }) => unknown) | null = null
  setWindowOpenHandler(handler: (details: { url: string }) => unknown): void {
    this.openHandler = handler
  }
  isDestroyed = () => false
  /** To the page: the preload in this double listens on ipcRenderer. */
  send(channel: string, ...parameters: unknown[]): void {
    ipcRenderer.emit(channel, {}, ...parameters)
  }
}

export class BrowserWindow {
  readonly webContents = new DoubledContents()
  readonly options: Record<string, unknown>
  readonly loaded: string[] = []
  shown = 0
  constructor(options: Record<string, unknown>) {
    this.options = options
    recorded.windows.push(this)
  }
  loadURL(url: string): Promise<void> {
    this.loaded.push(url)
    return Promise.resolve()
  }
  show(): void {
    this.shown += 1
  }
  focus(): void {
    recorded.focused += 1
  }
  isDestroyed = () => false
}

export class Tray extends EventEmitter {
  constructor(image: unknown) {
    super()
    recorded.trayImages.push(image)
  }
  setImage(image: unknown): void {
    recorded.trayImages.push(image)
  }
  setToolTip(text: string): void {
    recorded.tooltips.push(text)
  }
  setContextMenu(menu: { label?: string; click?: () => void }[]): void {
    recorded.menu = menu
  }
}

export const recorded = {
  windows: [] as BrowserWindow[],
  tooltips: [] as string[],
  trayImages: [] as unknown[],
  menu: [] as { label?: string; click?: () => void }[],
  focused: 0,
  quits: 0,
  exits: [] as number[],
  opened: [] as string[],
  schemes: [] as unknown[],
  pages: new Map<string, (request: Request) => Promise<Response>>(),
  permission: null as ((contents: unknown, permission: string, answer: (granted: boolean) => void) => void) | null,
  inMainWorld: new Map<string, unknown>(),
  /** Where the page that asks is: a test sets another to play a stranger. */
  frameUrl: 'mirrorbay://window/',
}

class DoubledApp extends EventEmitter {
  requestSingleInstanceLock = () => true
  whenReady = () => Promise.resolve()
  quit(): void {
    recorded.quits += 1
  }
  exit(code: number): void {
    recorded.exits.push(code)
  }
}
export const app = new DoubledApp()

const handlers = new Map<string, Listener>()
const eventOf = () => ({ sender: recorded.windows[0]?.webContents, senderFrame: { url: recorded.frameUrl } })

class DoubledMain extends EventEmitter {
  handle(channel: string, handler: Listener): void {
    handlers.set(channel, handler)
  }
}
export const ipcMain = new DoubledMain()

class DoubledRenderer extends EventEmitter {
  async invoke(channel: string, ...parameters: unknown[]): Promise<unknown> {
    const handler = handlers.get(channel) as ((...all: unknown[]) => unknown) | undefined
    if (handler === undefined) throw new Error(`nobody handles ${channel}`)
    return handler(eventOf(), ...parameters)
  }
  send(channel: string, ...parameters: unknown[]): void {
    ipcMain.emit(channel, eventOf(), ...parameters)
  }
}
export const ipcRenderer = new DoubledRenderer()

export const contextBridge = {
  exposeInMainWorld: (name: string, value: unknown) => recorded.inMainWorld.set(name, value),
}
export const Menu = {
  setApplicationMenu: () => undefined,
  buildFromTemplate: (template: unknown) => template,
}
export const nativeImage = {
  createFromBitmap: (pixels: Buffer, size: { width: number; height: number }) => ({ bytes: pixels.length, ...size }),
}
export const protocol = {
  registerSchemesAsPrivileged: (schemes: unknown[]) => recorded.schemes.push(...schemes),
  handle: (scheme: string, handler: (request: Request) => Promise<Response>) => recorded.pages.set(scheme, handler),
}
export const session = {
  defaultSession: {
    setPermissionRequestHandler: (handler: typeof recorded.permission) => {
      recorded.permission = handler
    },
    setPermissionCheckHandler: () => undefined,
  },
}
export const shell = {
  openExternal: (url: string) => {
    recorded.opened.push(url)
    return Promise.resolve()
  },
}
