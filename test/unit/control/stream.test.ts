/** The stream of server-sent events: what it tells, how often, and that nobody's slowness costs memory. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { connect } from 'node:net'
import { test } from 'node:test'
import { socketTransport } from '../../../agent/cli/transport.ts'
import { createClient } from '../../../agent/contract/client.ts'
import { apiPrefix } from '../../../agent/contract/operations.ts'
import { Streams } from '../../../agent/control/stream.ts'
import { limits } from '../../../agent/limits.ts'
import { until } from '../../kit/until.ts'
import { RecordingPort, statusOf, volume } from './recording-port.ts'
import { ask, type Served, serving } from './serving.ts'
import { StepClock } from './step-clock.ts'

const clientOf = (served: Served) => createClient(socketTransport(served.socketPath))

test('a stream begins with the status and tells changes and new events', () =>
  serving(async (served) => {
    served.port.happen('agent-started')
    const ending = new AbortController()
    const told = clientOf(served).stream({ after: 0 }, { signal: ending.signal })
    const next = async () => (await told.next()).value
    assert.equal((await next())?.kind, 'status')
    const first = await next()
    assert.ok(first?.kind === 'event' && first.data.kind === 'agent-started')
    served.port.change(statusOf([volume({ name: 'other' })]))
    const changed = await next()
    assert.ok(changed?.kind === 'status' && changed.data.volumes[0]?.name === 'other')
    served.port.happen('peer-lost', { server: 'nas-2' })
    assert.equal((await next())?.kind, 'status')
    const second = await next()
    assert.ok(second?.kind === 'event' && second.data.number === 2 && second.data.server === 'nas-2')
    ending.abort()
    assert.equal(await next(), undefined)
  }))

test('a reader that comes back gets only what it has not had, and all after a restart of the agent', () =>
  serving(async (served) => {
    for (const kind of ['agent-started', 'peer-connected', 'volume-created'] as const) served.port.happen(kind)
    const numbers = async (after: number, count: number) => {
      const ending = new AbortController()
      const found: number[] = []
      for await (const told of clientOf(served).stream({ after }, { signal: ending.signal })) {
        if (told.kind === 'event') found.push(told.data.number)
        if (found.length === count) ending.abort()
      }
      return found
    }
    assert.deepEqual(await numbers(2, 1), [3])
    assert.deepEqual(await numbers(77, 3), [1, 2, 3])
  }))

test('a thousand changes a second become at most ten messages, and the last state is told', () =>
  serving(async (served) => {
    const ending = new AbortController()
    let seen = 0
    let last = ''
    const reading = (async () => {
      for await (const told of clientOf(served).stream({}, { signal: ending.signal })) {
        if (told.kind !== 'status') continue
        seen += 1
        last = told.data.version
      }
    })()
    await until('the first status', 5_000, () => seen > 0)
    const beganMs = performance.now()
    for (let round = 1; round <= 1_000; round++) {
      served.port.change({ ...statusOf(), version: String(round) })
      if (round % 10 === 0) await new Promise(setImmediate)
    }
    await until('the last state', 5_000, () => last === '1000')
    const tookMs = performance.now() - beganMs
    assert.ok(seen <= 2 + tookMs / limits.apiChangeMs, `${seen} messages in ${tookMs} ms`)
    ending.abort()
    await reading
  }))

test('a reader that takes nothing costs a bounded number of bytes, then is told the newest state', () =>
  serving(async (served) => {
    const big = statusOf(Array.from({ length: 64 }, (_, index) => volume({ name: `volume-${index}` })))
    let made = 0
    served.port.status = () => {
      made += 1
      return { ...big, version: String(made) }
    }
    const socket = connect(served.socketPath)
    await once(socket, 'connect')
    socket.pause()
    socket.write(`GET ${apiPrefix}/stream HTTP/1.1\r\nHost: localhost\r\n\r\n`)
    await until('the first status', 5_000, () => made > 0)
    // Changes go on until the kernel's buffers are full and no more is asked for; then it must stay so.
    let before = -1
    await until('no more being made', 20_000, async () => {
      for (let round = 0; round < 4; round++) {
        served.port.change(big)
        await new Promise((resolve) => setTimeout(resolve, limits.apiChangeMs))
      }
      const still = made === before
      before = made
      return still
    })
    // The others are served meanwhile.
    assert.equal((await ask({ to: served, path: `${apiPrefix}/status` })).status, 200)
    let text = ''
    socket.on('data', (data) => {
      text = (text + data.toString()).slice(-400_000)
    })
    socket.resume()
    const newest = `"version":"${made + 1}"`
    await until('the newest state', 5_000, () => text.includes(newest))
    socket.destroy()
  }))

test('streams are counted: one too many is refused, and a closed one makes room', () =>
  serving(async (served) => {
    const sockets = []
    try {
      for (let index = 0; index < limits.apiStreams; index++) {
        const socket = connect(served.socketPath)
        sockets.push(socket)
        socket.write(`GET ${apiPrefix}/stream HTTP/1.1\r\nHost: localhost\r\n\r\n`)
        await once(socket, 'data')
      }
      const refused = await ask({ to: served, path: `${apiPrefix}/stream` })
      assert.equal(refused.status, 503)
      assert.match(refused.text, /too-many-streams/)
      sockets.pop()?.destroy()
      await until('room for another', 5_000, async () => {
        const ending = new AbortController()
        for await (const told of clientOf(served).stream({}, { signal: ending.signal })) {
          ending.abort()
          return told.kind === 'status'
        }
        return false
      })
    } finally {
      for (const socket of sockets) socket.destroy()
    }
  }))

test('HEAD opens no stream', () =>
  serving(async (served) => {
    assert.equal((await ask({ to: served, method: 'HEAD', path: `${apiPrefix}/stream` })).status, 404)
  }))

test('a quiet stream gives signs of life; one whose reader is stuck is dropped and leaves no timer', async () => {
  const clock = new StepClock()
  const port = new RecordingPort()
  const streams = new Streams({ port, clock })
  const reader = streams.open(0).body?.getReader()
  assert.ok(reader)
  await reader.read()
  const beat = reader.read()
  await new Promise(setImmediate)
  clock.step(limits.apiStreamBeatMs)
  assert.equal(new TextDecoder().decode((await beat).value), ': here\n\n')
  for (let beats = 0; beats <= limits.apiStreamStalledMs / limits.apiStreamBeatMs; beats++)
    clock.step(limits.apiStreamBeatMs)
  assert.equal(streams.size, 0)
  assert.equal(clock.timers, 0)
  await assert.rejects(reader.read(), /took nothing/)

  const second = streams.open(0)
  streams.close()
  assert.equal(streams.size, 0)
  assert.equal(clock.timers, 0)
  assert.ok((await second.body?.getReader().read())?.done)
})
