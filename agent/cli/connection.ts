/** A client of the agent behind a Unix socket. */
import { type Client, createClient } from '../contract/client.ts'
import { socketTransport } from './transport.ts'

/** @param socketPath the agent's control socket; nothing is opened before the first call */
export const connectAgent = (socketPath: string): Client => createClient(socketTransport(socketPath))
