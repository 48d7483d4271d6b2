/** The one hook that talks: through Electron's bridge where there is one, else as a page of the agent's console. */
import { useSyncExternalStore } from 'react'
import type { Bridge } from '../agent/contract/bridge.ts'
import { type AgentView, AgentWatch } from './agent-watch.ts'
import { browserBridge } from './browser-bridge.ts'

export type { AgentView } from './agent-watch.ts'
export type Command = AgentWatch['command']

declare global {
  interface Window {
    /** Offered by Electron's preload only. */
    readonly mirrorbay?: Bridge
  }
}

// One for the window: two would be two streams of the same news.
const watch = new AgentWatch(window.mirrorbay ?? browserBridge)

export function useAgent(): { view: AgentView; command: Command } {
  return { view: useSyncExternalStore(watch.listen, watch.view), command: watch.command }
}
