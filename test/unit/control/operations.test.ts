/** Every operation of the contract, with good and bad input, over the real socket. */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmod, mkdtemp, rm, stat, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { errorBody } from '../../../agent/contract/errors.ts'
import { apiPrefix, operations } from '../../../agent/contract/operations.ts'
import { UserError } from '../../../agent/kit/failure.ts'
import { limits } from '../../../agent/limits.ts'
import { type Asking, ask, json, type Served, serving } from './serving.ts'

const post = (served: Served, path: string, body: unknown, over: Partial<Asking> = {}) =>
  ask({
    to: served,
    method: 'POST',
    path: apiPrefix + path,
    headers: json,
    body: typeof body === 'string' ? body : JSON.stringify(body),
    ...over,
  })
/** Of a deleted volume. */
const id = '0123456789abcdef0123456789abcdef'
const get = (served: Served, path: string) => ask({ to: served, path: apiPrefix + path })

test('status, health and events answer as the contract says', () =>
  serving(async (served) => {
    served.port.happen('agent-started', { server: 'nas-1' })
    served.port.happen('peer-connected', { server: 'nas-2' })
    const status = await get(served, '/status')
    assert.equal(status.status, 200)
    assert.equal(status.headers['cache-control'], 'no-store')
    assert.deepEqual(operations.status.response.parse(JSON.parse(status.text)), served.port.current)
    const health = operations.health.response.parse(JSON.parse((await get(served, '/health')).text))
    assert.equal(health.headline, 'Protected')
    const all = operations.events.response.parse(JSON.parse((await get(served, '/events')).text))
    assert.deepEqual(
      all.events.map((event) => event.kind),
      ['agent-started', 'peer-connected'],
    )
    const later = operations.events.response.parse(JSON.parse((await get(served, '/events?after=1')).text))
    assert.deepEqual(
      later.events.map((event) => event.number),
      [2],
    )
  }))

test('commands reach the agent with their defaults filled in', () =>
  serving(async (served) => {
    const said = [
      await post(served, '/volumes', { name: 'v1', sizeBytes: 1024 ** 3 }),
      await post(served, '/volumes', {
        name: 'v2',
        sizeBytes: 2 ** 30,
        arbiter: 'preferred',
        preferredServer: 'nas-2',
      }),
      await post(served, '/volumes/office/resync', { action: 'now' }),
      await post(served, '/volumes/office/resync', { action: 'pause' }),
      await post(served, '/volumes/office/resync', { action: 'continue' }),
      await post(served, '/volumes/office/scrub', { action: 'now' }),
      await post(served, '/volumes/office/scrub', { action: 'stop' }),
      await post(served, '/volumes/office/grow', { sizeBytes: 2 ** 31 }),
      await post(served, '/volumes/office/delete', {}),
      await post(served, `/deleted/${id}/restore`, {}),
      await post(served, `/deleted/${id}/restore`, { as: 'office-2' }),
      await post(served, `/deleted/${id}/purge`, {}),
      await post(served, `/deleted/${id}/purge`, { wipe: true }),
      await post(served, '/volumes/office/snapshots', { name: 'monday' }),
      await post(served, '/volumes/office/snapshots/monday/delete', {}),
      await post(served, '/hold', { seconds: 3 }),
      await post(served, '/release', {}),
      await post(served, '/stop', {}),
    ]
    for (const answer of said) {
      assert.equal(answer.status, 200, answer.text)
      assert.deepEqual(JSON.parse(answer.text), { done: true })
    }
    assert.deepEqual(served.port.asked, [
      [
        'createVolume',
        { name: 'v1', sizeBytes: 1024 ** 3, writeThrough: false, arbiter: 'preferred', preferredServer: undefined },
      ],
      [
        'createVolume',
        { name: 'v2', sizeBytes: 1024 ** 3, writeThrough: false, arbiter: 'preferred', preferredServer: 'nas-2' },
      ],
      ['resync', 'office', 'now'],
      ['resync', 'office', 'pause'],
      ['resync', 'office', 'continue'],
      ['scrub', 'office', 'now'],
      ['scrub', 'office', 'stop'],
      ['growVolume', 'office', 2 ** 31],
      ['deleteVolume', 'office'],
      ['restoreVolume', id, null],
      ['restoreVolume', id, 'office-2'],
      ['purgeVolume', id, false],
      ['purgeVolume', id, true],
      ['makeSnapshot', 'office', 'monday'],
      ['deleteSnapshot', 'office', 'monday'],
      ['hold', 3],
      ['release'],
      ['stop'],
    ])
  }))

test('bad input is refused in words and never reaches the agent', () =>
  serving(async (served) => {
    const good = { name: 'v', sizeBytes: 1024 ** 3 }
    const bad: [number, string, ReturnType<typeof post>][] = [
      [400, 'no name', post(served, '/volumes', { sizeBytes: 1024 ** 3 })],
      [400, 'a name with a slash', post(served, '/volumes', { ...good, name: '../etc' })],
      [400, 'a size that is text', post(served, '/volumes', { ...good, sizeBytes: '1G' })],
      [400, 'a negative size', post(served, '/volumes', { ...good, sizeBytes: -4096 })],
      [400, 'a size beyond the limit', post(served, '/volumes', { ...good, sizeBytes: 2 ** 60 })],
      [400, 'half a block', post(served, '/volumes', { ...good, sizeBytes: 2 ** 30 + 512 })],
      [400, 'an unknown arbiter', post(served, '/volumes', { ...good, arbiter: 'coin' })],
      [400, 'an unknown member', post(served, '/volumes', { ...good, color: 'red' })],
      [400, 'a list', post(served, '/volumes', [good])],
      [400, 'null', post(served, '/volumes', 'null')],
      [400, 'half of JSON', post(served, '/volumes', '{"name":')],
      [400, 'nothing', post(served, '/volumes', '')],
      [400, 'a size to grow to that is text', post(served, '/volumes/office/grow', { sizeBytes: '2T' })],
      [400, 'a size to grow to of half a block', post(served, '/volumes/office/grow', { sizeBytes: 2 ** 31 + 512 })],
      [400, 'the name of a deleted disk for its id', post(served, '/deleted/office/restore', {})],
      [400, 'a new name that is none', post(served, `/deleted/${id}/restore`, { as: 'a@b' })],
      [400, 'a wipe that is text', post(served, `/deleted/${id}/purge`, { wipe: 'no' })],
      [400, 'a snapshot name with an @', post(served, '/volumes/office/snapshots', { name: 'a@b' })],
      [400, 'a snapshot name with a dot', post(served, '/volumes/office/snapshots', { name: 'a.b' })],
      [400, 'a disk name with an @', post(served, '/volumes', { ...good, name: 'a@b' })],
      [400, 'an unknown action', post(served, '/volumes/office/resync', { action: 'later' })],
      [404, 'an unknown volume', post(served, '/volumes/nothing/resync', { action: 'now' })],
      [400, 'an impossible volume name', post(served, '/volumes/%2e%2e%2f/resync', { action: 'now' })],
      [400, 'holding too long', post(served, '/hold', { seconds: 60 })],
      [400, 'holding for no time', post(served, '/hold', { seconds: 0 })],
      [400, 'an unknown fault', post(served, '/faults', { kind: 'explode' })],
      [403, 'a fault where none are allowed', post(served, '/faults', { kind: 'disk-fail' })],
      [400, 'a number that is none', get(served, '/events?after=x')],
      [404, 'an unknown path', post(served, '/nothing', {})],
      [404, 'a wrong method', get(served, '/stop')],
      [404, 'another method', ask({ to: served, method: 'DELETE', path: `${apiPrefix}/volumes` })],
      [415, 'no content type', post(served, '/stop', {}, { headers: {} })],
      [415, "a form's content type", post(served, '/stop', {}, { headers: { 'Content-Type': 'text/plain' } })],
      [413, 'too much', post(served, '/stop', `{"a":"${'x'.repeat(limits.apiBodyBytes)}"}`)],
    ]
    for (const [status, what, answering] of bad) {
      const answer = await answering
      assert.equal(answer.status, status, `${what}: ${answer.text}`)
      const body = errorBody.parse(JSON.parse(answer.text))
      for (const words of Object.values(body)) assert.notEqual(words, '', what)
    }
    assert.deepEqual(served.port.asked, [])
  }))

test('too much without a length is cut off at the limit', () =>
  serving(async (served) => {
    const body = `{"a":"${'x'.repeat(limits.apiBodyBytes)}"}`
    const headers = { ...json, 'Transfer-Encoding': 'chunked' }
    const answer = await ask({ to: served, method: 'POST', path: `${apiPrefix}/stop`, headers, body })
    assert.equal(answer.status, 413)
    assert.equal((await get(served, '/status')).status, 200)
  }))

test("the engine's refusal arrives with its words, a failure of ours without its insides", () =>
  serving(async (served) => {
    served.port.refusal = new UserError({ code: 'peer-away', happened: 'A.', dataIsSafe: 'B.', next: 'C.' })
    const refused = await post(served, '/volumes', { name: 'v', sizeBytes: 1024 ** 3 })
    assert.equal(refused.status, 409)
    assert.deepEqual(JSON.parse(refused.text), { code: 'peer-away', happened: 'A.', dataIsSafe: 'B.', next: 'C.' })
    served.port.refusal = new Error('secret detail')
    const failed = await post(served, '/release', {})
    assert.equal(failed.status, 500)
    assert.equal(errorBody.parse(JSON.parse(failed.text)).code, 'internal')
    assert.doesNotMatch(failed.text, /secret/)
  }))

test('a broken invariant is answered, and then the process ends', async () => {
  const dir = await mkdtemp(join(tmpdir(), 'mirrorbay-broken-'))
  const socketPath = join(dir, 'api.sock')
  const program = fileURLToPath(new URL('serve-process.ts', import.meta.url))
  const child = spawn(process.execPath, [program, socketPath, 'broken'], { stdio: ['pipe', 'pipe', 'pipe'] })
  try {
    const ended = once(child, 'exit')
    const complaint = text(child.stderr)
    await once(child.stdout, 'data')
    const answer = await ask({
      to: { socketPath },
      method: 'POST',
      path: `${apiPrefix}/release`,
      headers: json,
      body: '{}',
    })
    assert.equal(answer.status, 500)
    assert.notEqual((await ended)[0], 0)
    assert.match(await complaint, /invariant W1 broken/)
  } finally {
    child.kill('SIGKILL')
    await rm(dir, { recursive: true, force: true })
  }
})

test('faults go to the agent where they are allowed, and say so where they are not built', async () => {
  const made: unknown[] = []
  const setFault = async (fault: unknown) => void made.push(fault)
  await serving(
    async (served) => {
      const answer = await post(served, '/faults', { kind: 'cut', peer: 'nas-2' })
      assert.equal(answer.status, 200, answer.text)
      assert.deepEqual(made, [{ kind: 'cut', peer: 'nas-2', oneWay: false }])
    },
    { allowFaults: true, setFault },
  )
  await serving(async (served) => assert.equal((await post(served, '/faults', { kind: 'disk-full' })).status, 501), {
    allowFaults: true,
  })
})

test('the OpenAPI document names every operation and no other', () =>
  serving(async (served) => {
    const answer = await ask({ to: served, path: '/openapi.json' })
    const document: { openapi: string; paths: Record<string, Record<string, { operationId: string }>> } = JSON.parse(
      answer.text,
    )
    assert.match(document.openapi, /^3\.1/)
    const ids = Object.values(document.paths).flatMap((path) => Object.values(path).map((one) => one.operationId))
    assert.deepEqual(ids.sort(), Object.keys(operations).sort())
    assert.ok(document.paths['/api/v1/volumes/{volume}/resync'])
  }))

test('only its owner may open the socket, and it goes with the agent', async () => {
  let path = ''
  await serving(async ({ socketPath }) => {
    path = socketPath
    assert.equal((await stat(path)).mode & 0o777, 0o600)
  })
  await assert.rejects(stat(path), { code: 'ENOENT' })
})

test('a socket left by a killed agent is taken over, anything else is not', async () => {
  const dir = await mkdtemp(join(tmpdir(), 'mirrorbay-socket-'))
  try {
    const path = join(dir, 'api.sock')
    const start = () =>
      serving(async (served) => void (await get({ ...served, socketPath: path }, '/status')), { socketPath: path })
    await writeFile(path, 'precious')
    await assert.rejects(start(), { code: 'not-a-socket' })
    await rm(path)

    const alive = createServer().listen(path)
    await new Promise((resolve) => alive.once('listening', resolve))
    await assert.rejects(start(), { code: 'socket-in-use' })
    await new Promise((resolve) => alive.close(resolve))

    await leaveStaleSocket(path)
    await start()
    await assert.rejects(
      serving(async () => undefined, { socketPath: join(dir, 'x'.repeat(120)) }),
      {
        code: 'socket-path-too-long',
      },
    )
    await assert.rejects(
      serving(async () => undefined, { socketPath: join(dir, 'absent', 'api.sock') }),
      {
        code: 'socket-refused',
      },
    )
  } finally {
    await chmod(dir, 0o700)
    await rm(dir, { recursive: true, force: true })
  }
})

/** What kill -9 leaves: a bound socket file with nobody behind it. */
async function leaveStaleSocket(path: string): Promise<void> {
  const code = `require('net').createServer().listen(${JSON.stringify(path)},()=>process.kill(process.pid,'SIGKILL'))`
  const child = spawn(process.execPath, ['-e', code], { stdio: 'ignore' })
  await once(child, 'exit')
  assert.ok((await stat(path)).isSocket())
}

test('a console port that is taken is refused in words and leaves nothing open', () =>
  serving(async ({ control }) => {
    const console = { host: '127.0.0.1', port: control.consolePort, token: 'a'.repeat(64) } as const
    await assert.rejects(
      serving(async () => undefined, { console }),
      { code: 'console-port-in-use' },
    )
  }))
