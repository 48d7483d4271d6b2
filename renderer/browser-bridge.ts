/** The bridge in a browser: the console's own origin, signed in by the cookie that its address set. */
import { type Bridge, bridgeFrom } from '../agent/contract/bridge.ts'
import { createClient } from '../agent/contract/client.ts'

export const browserBridge: Bridge = bridgeFrom(createClient((path, init) => fetch(path, init)))
