/** Ports for the configuration of a new server. */
import { createServer } from 'node:net'

/** How many ports from the wished one on are tried. */
const tries = 200

/** @returns the first port of 127.0.0.1 from `wished` on that nobody uses now @throws Error when all are used */
export async function freePort(wished: number): Promise<number> {
  for (let port = wished; port < wished + tries; port += 1) if (await isFree(port)) return port
  throw new Error(`No port from ${wished} to ${wished + tries - 1} is free on this machine.`)
}

const isFree = (port: number): Promise<boolean> =>
  new Promise((resolve) => {
    const probe = createServer()
    probe.once('error', () => resolve(false))
    probe.listen({ host: '127.0.0.1', port, exclusive: true }, () => probe.close(() => resolve(true)))
  })
