/**
 * The bridge, inside the sandbox: the page gets these two functions and nothing else of Electron or Node. Built as one
 * CommonJS file, which is all that a sandboxed preload may be.
 */
import { contextBridge, type IpcRendererEvent, ipcRenderer } from 'electron'
import type { Bridge, News, Outcome } from '../agent/contract/bridge.ts'
import { channels } from './channels.ts'

let lastWatch = 0

const bridge: Bridge = {
  // The main process answers this channel with an Outcome and nothing else.
  call: (id, request) => ipcRenderer.invoke(channels.call, id, request) as Promise<Outcome>,
  watch(told) {
    lastWatch += 1
    const watch = lastWatch
    const listener = (_event: IpcRendererEvent, of: number, news: News) => {
      if (of === watch) told(news)
    }
    ipcRenderer.on(channels.news, listener)
    ipcRenderer.send(channels.watch, watch)
    return () => {
      ipcRenderer.off(channels.news, listener)
      ipcRenderer.send(channels.unwatch, watch)
    }
  },
}

contextBridge.exposeInMainWorld('mirrorbay', bridge)
