/** `lab equal` on real stores without agents: who counts is what the newest configuration says, nothing else. */
import assert from 'node:assert/strict'
import { mkdtemp, rm } from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import { test } from 'node:test'
import { configurationId, type ServerId, serverId, volumeId } from '../../../agent/kit/ids.ts'
import type { Clock, Log } from '../../../agent/kit/world.ts'
import { type Configuration, firstConfiguration, successor } from '../../../agent/membership/configuration.ts'
import { recordKey } from '../../../agent/membership/record.ts'
import { openStore } from '../../../agent/store/open-store.ts'
import type { ReplicaStore, Store } from '../../../agent/store/replica.ts'
import { CouldNot } from '../../lab/answer.ts'
import { equal } from '../../lab/equal.ts'
import type { LabState } from '../../lab/state.ts'

const MiB = 1024 * 1024
const volume = volumeId('d'.repeat(32))
const ids = { a: serverId('a'.repeat(32)), b: serverId('b'.repeat(32)) }
const nothing = () => undefined
const log: Log = { debug: nothing, info: nothing, warn: nothing, error: nothing }
const clock: Clock = {
  monotonicMs: () => performance.now(),
  leaseMs: () => performance.now(),
  wallMs: () => Date.now(),
  after: (delayMs, fire) => {
    const timer = setTimeout(fire, delayMs)
    return { cancel: () => clearTimeout(timer) }
  },
  nextTurn: (fire) => setImmediate(fire),
}

const first = firstConfiguration({
  id: configurationId('1'.repeat(32)),
  volumeId: volume,
  volumeName: 'disk',
  sizeBytes: 4 * MiB,
  arbiter: { kind: 'preferred', serverId: ids.a, instance: 'e'.repeat(32) },
  servers: [ids.a, ids.b],
})
const next = (digit: string, inSync: readonly ServerId[], of = first): Configuration =>
  successor(of, { id: configurationId(digit.repeat(32)), inSync, presentWasOpened: true })

const told = (call: (done: (failure: unknown) => void) => void): Promise<void> =>
  new Promise((resolve, reject) => call((failure) => (failure === null ? resolve() : reject(new Error(`${failure}`)))))

interface Content {
  readonly configuration: Configuration
  /** First byte of each MiB that is written. */
  readonly fills: readonly number[]
}

async function makeStore(dir: string, content: Content): Promise<void> {
  const store: Store = await openStore({ dir, clock, log })
  const replica = await new Promise<ReplicaStore>((resolve, reject) =>
    store.createReplica(volume, 4 * MiB, (failure, made) =>
      made === undefined ? reject(new Error(String(failure))) : resolve(made),
    ),
  )
  for (const [index, fill] of content.fills.entries()) {
    const bytes = new Uint8Array(8192).fill(fill)
    await told((done) => replica.write(index * MiB, [bytes], bytes.length, done))
  }
  const { configuration } = content
  const record = { known: configuration, opened: null, prepared: false, word: null, resyncBegun: false }
  await told((done) => store.records.put(recordKey(volume), record, done))
  await told((done) => store.close(done))
}

async function withStores(
  contents: { readonly a?: Content; readonly b?: Content },
  use: (state: LabState) => Promise<void>,
): Promise<void> {
  const dir = await mkdtemp(path.join(os.tmpdir(), 'mirrorbay-equal-'))
  try {
    const servers: LabState['servers'] = []
    for (const name of ['a', 'b'] as const) {
      const place = await mkdtemp(path.join(dir, `${name}-`))
      const content = contents[name]
      if (content !== undefined) await makeStore(place, content)
      const ports = { linkPort: 1, consolePort: 1, nbdPort: 1, nbdSocket: null }
      const files = { dir: place, log: '', api: path.join(dir, 'none.sock') }
      servers.push({
        name,
        serverId: ids[name],
        ...files,
        ...ports,
        process: null,
        host: '127.0.0.1',
        enter: [],
        foundEntries: null,
        folders: [],
      })
    }
    await use({
      version: 1,
      dir,
      madeDir: false,
      socketDir: dir,
      client: 'tcp',
      volume: { name: 'disk', sizeBytes: 4 * MiB },
      servers,
      witness: null,
    })
  } finally {
    await rm(dir, { recursive: true, force: true })
  }
}

test('two stores with the same bytes are equal; one byte more is a difference, told with its place', async () => {
  await withStores(
    { a: { configuration: first, fills: [1, 2] }, b: { configuration: first, fills: [1, 2] } },
    async (state) => {
      const answer = await equal(state)
      assert.equal(answer.yes, true, answer.says)
      assert.match(answer.says, /4 MiB on a and b .*epoch 1/)
    },
  )
  await withStores(
    { a: { configuration: first, fills: [1, 2] }, b: { configuration: first, fills: [1, 2, 0, 9] } },
    async (state) => {
      const answer = await equal(state)
      assert.equal(answer.yes, false)
      assert.match(answer.says, new RegExp(`byte ${3 * MiB} \\(extent 12\\)`))
    },
  )
})

test('who is not in the newest configuration is not compared: with one copy left the answer is no, and says so', async () => {
  const alone = next('2', [ids.a])
  await withStores(
    { a: { configuration: alone, fills: [5] }, b: { configuration: first, fills: [1] } },
    async (state) => {
      const answer = await equal(state)
      assert.equal(answer.yes, false)
      assert.match(answer.says, /only one copy is in sync \(a, epoch 2; b is not\)/)
    },
  )
})

test('one server may know less than the other: the newest configuration decides', async () => {
  const back = next('3', [ids.a, ids.b], next('2', [ids.a]))
  await withStores(
    { a: { configuration: first, fills: [5] }, b: { configuration: back, fills: [6] } },
    async (state) => {
      const answer = await equal(state)
      assert.equal(answer.yes, false)
      assert.match(answer.says, /differ, first at byte 0/)
    },
  )
})

test('what cannot be answered is not answered: two histories, a store that is missing', async () => {
  const [one, other] = [next('2', [ids.a]), next('3', [ids.b])]
  await withStores(
    { a: { configuration: one, fills: [5] }, b: { configuration: other, fills: [5] } },
    async (state) => {
      await assert.rejects(
        equal(state),
        (failure) => failure instanceof CouldNot && /two versions/.test(failure.message),
      )
    },
  )
  await withStores({ a: { configuration: first, fills: [5] } }, async (state) => {
    await assert.rejects(equal(state), (failure) => failure instanceof CouldNot && /copy on b/.test(failure.message))
  })
})
