/** Free ports for agents, chosen once. */
import { randomInt } from 'node:crypto'
import { createServer } from 'node:net'
import { CouldNot } from './answer.ts'

/**
 * Below the range from which Linux (32768 and up) and the others (49152 and up) take ports for outgoing connections:
 * an agent that is down must find its port free when it comes back.
 */
const firstPort = 20_000
const lastPort = 32_000
const tries = 500

const isFree = (port: number): Promise<boolean> =>
  new Promise((answer) => {
    const probe = createServer()
    probe.once('error', () => answer(false))
    probe.listen({ port, host: '127.0.0.1', exclusive: true }, () => probe.close(() => answer(true)))
  })

/** @returns different ports of 127.0.0.1 on which nobody listens now. @throws CouldNot */
export async function freePorts(count: number): Promise<number[]> {
  const found = new Set<number>()
  for (let left = tries; left > 0 && found.size < count; left--) {
    const port = randomInt(firstPort, lastPort)
    if (!found.has(port) && (await isFree(port))) found.add(port)
  }
  if (found.size < count) throw new CouldNot(`no ${count} free ports between ${firstPort} and ${lastPort}`)
  return [...found]
}
