/**
 * Speed of the link alone, over loopback in two processes: mirrored writes one way, answers the other.
 * Run: node test/bench/link.ts   (prints messages/s and MB/s; CPU profile of the sender with --cpu-prof)
 */
import { fork } from 'node:child_process'
import type { Message } from '../../agent/link/messages.ts'
import { type LinkHub, startLinks } from '../../agent/link/tcp.ts'
import { clock, freePort, idOf, peerAt, recordingLog, seeded, until } from '../unit/link/world.ts'

const ids = { a: idOf('a'), b: idOf('b') }

async function start(name: 'a' | 'b', ports: { a: number; b: number }, onMessage: (message: Message) => void) {
  const other = name === 'a' ? 'b' : 'a'
  return startLinks({
    self: { id: ids[name], name, role: 'storage', run: 1 },
    listen: { host: '127.0.0.1', port: ports[name] },
    secret: 'a secret of the bench',
    peers: [peerAt(other, ports[other])],
    events: {
      onMessage: (_from, _run, message) => onMessage(message),
      onPeerRun: () => undefined,
      onPeerDisconnected: () => undefined,
    },
    clock,
    random: seeded(name === 'a' ? 1 : 2),
    log: recordingLog([]),
  })
}

/** Answers every write of a turn with one message, as the mirror does. */
async function answer(ports: { a: number; b: number }): Promise<void> {
  let numbers: number[] = []
  const hub: LinkHub = await start('b', ports, (message) => {
    if (message.type !== 'write') return
    if (numbers.length === 0) {
      setImmediate(() => {
        hub.send(ids.a, { type: 'written', volumeKey: 1, session: 2, numbers })
        numbers = []
      })
    }
    numbers.push(message.number)
  })
  process.on('SIGTERM', () => process.exit(0)) // so that a profile of this side is written too
}

type Take = (numbers: readonly number[]) => void
type OnWritten = (take: Take) => void

const writeOf = (number: number, lowWater: number, lengthBytes: number, chunks: readonly Uint8Array[]): Message => ({
  type: 'write',
  volumeKey: 1,
  session: 2,
  attempt: 0,
  number,
  lowWater,
  time: number,
  kind: 'data',
  fua: false,
  offsetBytes: number * 4096,
  lengthBytes,
  chunks,
})

async function measure(
  hub: LinkHub,
  options: { bytes: number; depth: number; seconds: number; cut: number },
  onWritten: OnWritten,
) {
  const chunks: Uint8Array[] = []
  const payload = Buffer.alloc(options.bytes, 1)
  for (let offset = 0; offset < options.bytes; offset += options.cut)
    chunks.push(payload.subarray(offset, offset + options.cut))
  let number = 0
  let done = 0
  const send = () => {
    number += 1
    hub.send(ids.b, writeOf(number, done, options.bytes, chunks))
  }
  const started = performance.now()
  const endAt = started + options.seconds * 1000
  const cpu = process.cpuUsage()
  onWritten((numbers) => {
    done += numbers.length
    if (performance.now() < endAt) for (const _ of numbers) send()
  })
  for (let index = 0; index < options.depth; index += 1) send()
  await until(() => performance.now() >= endAt && done === number, 'all answered', options.seconds * 1000 + 5000)
  const seconds = (performance.now() - started) / 1000
  const used = process.cpuUsage(cpu)
  console.log(
    `${options.bytes} bytes, ${options.depth} outstanding: ${Math.round(done / seconds)} messages/s, ` +
      `${Math.round((done * options.bytes) / seconds / 1e6)} MB/s, ` +
      `${((used.user + used.system) / done).toFixed(1)} us CPU a write at the sender`,
  )
}

/** The other end in a process of its own. @throws what `use` throws; the process is gone then, too */
async function withLink(use: (hub: LinkHub, onWritten: OnWritten) => Promise<void>): Promise<void> {
  const ports = { a: await freePort(), b: await freePort() }
  const child = fork(import.meta.filename, ['answer', String(ports.a), String(ports.b)])
  try {
    let take: Take = () => undefined
    const hub = await start('a', ports, (message) => {
      if (message.type === 'written') take(message.numbers)
    })
    await until(() => hub.peer(ids.b)?.connected === true, 'connected')
    await use(hub, (next) => {
      take = next
    })
    await hub.close()
  } finally {
    child.kill()
  }
}

/** Milliseconds from a small message to its answer, one after the other. */
export async function linkRoundTrips(count: number): Promise<number[]> {
  const took: number[] = []
  await withLink(async (hub, onWritten) => {
    const chunks = [Buffer.alloc(512, 1)]
    for (let number = 1; number <= count; number += 1) {
      const answer = new Promise<void>((answered) => onWritten(() => answered()))
      const begin = performance.now()
      hub.send(ids.b, writeOf(number, number - 1, 512, chunks))
      await answer
      took.push(performance.now() - begin)
    }
  })
  return took
}

// Only as the program, not where linkRoundTrips is imported.
if (process.argv[1] === import.meta.filename) {
  if (process.argv[2] === 'answer') {
    await answer({ a: Number(process.argv[3]), b: Number(process.argv[4]) })
  } else {
    await withLink(async (hub, onWritten) => {
      for (const round of [1, 2]) {
        console.log(`round ${round}`)
        await measure(hub, { bytes: 4096, depth: 1, seconds: 1, cut: 4096 }, onWritten)
        await measure(hub, { bytes: 4096, depth: 32, seconds: 3, cut: 4096 }, onWritten)
        await measure(hub, { bytes: 131072, depth: 32, seconds: 3, cut: 65536 }, onWritten)
      }
    })
  }
}
