/** Where registers lie (E4): on another disk than the replica where there is one, and never taken for none (E11). */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { configurationId, serverId, volumeId } from '../../../agent/kit/ids.ts'
import { type Configuration, firstConfiguration, successor } from '../../../agent/membership/configuration.ts'
import { type RegisterAnswer, type RegisterRequest, Registers, registerIn } from '../../../agent/membership/register.ts'
import { MemoryDisk } from '../../../agent/store/memory-store.ts'
import type { Store } from '../../../agent/store/replica.ts'
import { Folders, StorageFolder } from '../../../agent/volume/folders.ts'
import { RegisterPlaces } from '../../../agent/volume/register-places.ts'
import { failure, quiet, seeded, VirtualClock } from '../store/world.ts'

const self = serverId('a'.repeat(32))
const office = volumeId('c'.repeat(32))
const one = firstConfiguration({
  id: configurationId('d'.repeat(32)),
  volumeId: office,
  volumeName: 'office',
  sizeBytes: 1024 ** 2,
  writeThrough: false,
  arbiter: { kind: 'preferred', serverId: self, instance: 'e'.repeat(32) },
  servers: [self, serverId('b'.repeat(32))],
})
const two = successor(one, { id: configurationId('f'.repeat(32)), inSync: [self], presentWasOpened: true })
const create = { operation: 'create', configuration: one } as const
const read = { operation: 'read', volumeId: office } as const
const swap = { operation: 'swap', expectedId: one.id, configuration: two } as const

/** A server with main and one more disk, of which each run may have the second one or not. */
class Server {
  readonly clock = new VirtualClock()
  readonly disks = [1, 2].map((seed) => new MemoryDisk({ clock: this.clock, random: seeded(seed), log: quiet }))
  readonly #replicaIn: 'main' | 'disk1' | null

  constructor(replicaIn: 'main' | 'disk1' | null) {
    this.#replicaIn = replicaIn
  }

  /** A new run. */
  async start(withSecond: boolean) {
    for (const disk of this.disks) disk.kill()
    const [main, second] = this.disks
    assert.ok(main !== undefined && second !== undefined)
    const open = (disk: MemoryDisk): Promise<Store> => this.clock.settle(disk.openStore())
    const store = await open(main)
    const folders = new Folders({ store, clock: this.clock, log: quiet }, '/main')
    const disk1 = new StorageFolder({ name: 'disk1', path: '/mnt/disk1' })
    if (withSecond) disk1.opened(await open(second))
    folders.add(disk1)
    const places = new RegisterPlaces(folders, () =>
      this.#replicaIn === null ? undefined : folders.named(this.#replicaIn),
    )
    const registers = new Registers(places)
    const ask = (request: RegisterRequest): Promise<RegisterAnswer> =>
      this.clock.settle(new Promise((resolve) => registers.handle(request, resolve)))
    const where = () =>
      folders.open().flatMap((folder) => (registerIn(folder.store.records, office) === null ? [] : [folder.name]))
    return { store, folders, disk1, places, registers, ask, where }
  }
}

test('a register lies on another disk than the replica, where there is one', async () => {
  for (const [replicaIn, expected] of [
    ['main', 'disk1'],
    ['disk1', 'main'],
    [null, 'main'],
  ] as const) {
    const run = await new Server(replicaIn).start(true)
    assert.equal((await run.ask(create)).outcome, 'stored')
    assert.deepEqual(run.where(), [expected], `the replica lies in ${replicaIn}`)
    assert.equal(run.places.usesFolder(run.disk1), expected === 'disk1')
  }
  const alone = await new Server('main').start(false)
  assert.equal((await alone.ask(create)).outcome, 'stored')
  assert.deepEqual(alone.where(), ['main'])
})

test('while its disk is away a register answers nothing, is begun nowhere else, and goes on where it was', async () => {
  const server = new Server('main')
  const before = await server.start(true)
  await before.ask(create)
  assert.equal((await before.ask(swap)).outcome, 'stored')
  const without = await server.start(false)
  assert.equal(without.registers.isHere(office), false)
  for (const request of [read, create, swap]) {
    const { outcome, current } = await without.ask(request)
    assert.deepEqual([outcome, current], ['failed', null], request.operation)
  }
  assert.deepEqual(without.where(), [])
  assert.equal(without.places.usesFolder(without.disk1), true)
  const again = await server.start(true)
  assert.equal(again.registers.isHere(office), true)
  const { outcome, current } = await again.ask(read)
  assert.deepEqual([outcome, current?.id], ['stored', two.id])
  assert.deepEqual(again.where(), ['disk1'])
})

test('an agent that died before its register began, but after its place was chosen, has none', async () => {
  const server = new Server('main')
  const run = await server.start(true)
  await server.clock.settle(
    new Promise((resolve) => run.places.choose(office, (records) => resolve(records === null ? 'failed' : 'chosen'))),
  )
  const again = await server.start(true)
  assert.equal((await again.ask(read)).outcome, 'absent')
  assert.equal(again.places.usesFolder(again.disk1), false)
  assert.equal((await again.ask(create)).outcome, 'stored')
  assert.deepEqual(again.where(), ['disk1'])
})

test('a main that forgot where it lies: of two, the higher epoch answers', async () => {
  const put = (store: Store, current: Configuration) =>
    failure<string | null>((done) => store.records.put(`register-${office}`, { current }, done))
  for (const [inMain, inDisk1] of [
    [one, two],
    [two, one],
  ] as const) {
    const server = new Server('main')
    const run = await server.start(true)
    await server.clock.settle(put(run.store, inMain))
    assert.ok(run.disk1.store !== null)
    await server.clock.settle(put(run.disk1.store, inDisk1))
    assert.equal((await run.ask(read)).current?.id, two.id)
    assert.equal((await run.ask(swap)).outcome, 'stored', 'the same swap asked again')
  }
})

test('a main that cannot remember the place begins no register', async () => {
  const server = new Server('main')
  const run = await server.start(true)
  const [main] = server.disks
  assert.ok(main !== undefined)
  main.fault = 'fail'
  assert.equal((await run.ask(create)).outcome, 'failed')
  assert.deepEqual(run.where(), [])
})
