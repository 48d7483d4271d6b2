/** The storage folders as the engine sees them: where a volume goes, what is remembered of a folder that is away. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { configurationId, serverId, volumeId } from '../../../agent/kit/ids.ts'
import { firstConfiguration } from '../../../agent/membership/configuration.ts'
import { recordKey } from '../../../agent/membership/record.ts'
import { MemoryDisk } from '../../../agent/store/memory-store.ts'
import type { Store } from '../../../agent/store/replica.ts'
import { preparedRecord } from '../../../agent/volume/creation.ts'
import { Folders, leftByAbsence, rememberedFolders, StorageFolder } from '../../../agent/volume/folders.ts'
import { failure, quiet, seeded, VirtualClock } from '../store/world.ts'

const GiB = 1024 ** 3
const self = serverId('a'.repeat(32))
const other = serverId('b'.repeat(32))
const office = volumeId('c'.repeat(32))

const configuration = (servers = [self, other]) =>
  firstConfiguration({
    id: configurationId('d'.repeat(32)),
    volumeId: office,
    volumeName: 'office',
    sizeBytes: 1024 ** 2,
    writeThrough: false,
    arbiter: { kind: 'preferred', serverId: self, instance: 'e'.repeat(32) },
    servers,
  })

/** One server's disks, of so many free bytes each: the first is main's. */
async function withDisks(freeBytes: readonly number[]) {
  const clock = new VirtualClock()
  const open = (disk: MemoryDisk): Promise<Store> => clock.settle(disk.openStore())
  const disks: { readonly disk: MemoryDisk; readonly store: Store }[] = []
  for (const [index, bytes] of freeBytes.entries()) {
    const disk = new MemoryDisk({ clock, random: seeded(index + 1), log: quiet })
    disk.sizeBytes = bytes
    disks.push({ disk, store: await open(disk) })
  }
  const [main] = disks
  assert.ok(main !== undefined)
  const folders = new Folders({ store: main.store, clock, log: quiet }, '/main')
  for (const [index, { store }] of disks.entries()) {
    if (index === 0) continue
    const folder = new StorageFolder({ name: `disk${index}`, path: `/mnt/disk${index}` })
    folder.opened(store)
    folders.add(folder)
  }
  return { clock, open, disks, main, folders }
}

test('a volume goes where most space is free, but a disk that failed gets none', async () => {
  const { disks, folders, clock } = await withDisks([100 * GiB, 200 * GiB, 300 * GiB])
  assert.equal(folders.roomiest().name, 'disk2')
  const failed = disks[2]
  assert.ok(failed !== undefined)
  failed.disk.fault = 'fail'
  await clock.settle(failure((done) => failed.store.records.put('x', 1, done)))
  assert.equal(folders.named('disk2')?.state, 'failed')
  assert.equal(folders.roomiest().name, 'disk1')
})

test('folders on one disk have about as much: then it is the first', async () => {
  const { folders } = await withDisks([100 * GiB, 100.2 * GiB])
  assert.equal(folders.roomiest().name, 'main')
})

test('a failure is told once', async () => {
  const { main, folders, clock } = await withDisks([100 * GiB, 100 * GiB])
  assert.deepEqual(folders.newlyFailed(), [])
  main.disk.fault = 'fail'
  await clock.settle(failure((done) => main.store.records.put('x', 1, done)))
  assert.deepEqual(
    folders.newlyFailed().map(({ name }) => name),
    ['main'],
  )
  assert.deepEqual(folders.newlyFailed(), [])
})

test('what lies in a folder is remembered in main, also while it is away', async () => {
  const { main, disks, folders, clock, open } = await withDisks([100 * GiB, 200 * GiB])
  const store = disks[1]?.store
  assert.ok(store !== undefined)
  await clock.settle(failure((done) => store.createReplica(office, 1024 ** 2, done)))
  await clock.settle(failure((done) => store.records.put(recordKey(office), preparedRecord(configuration()), done)))
  assert.equal(await clock.settle(failure((done) => folders.remember(done))), null)
  main.disk.kill()
  const again = await open(main.disk)
  const [remembered] = rememberedFolders(again)
  assert.deepEqual(remembered, {
    name: 'disk1',
    path: '/mnt/disk1',
    storeId: store.storeId,
    volumes: [{ id: office, name: 'office' }],
  })
  const later = new Folders({ store: again, clock, log: quiet }, '/main')
  const away = new StorageFolder({ name: 'disk1', path: '/mnt/disk1', volumes: remembered?.volumes ?? [] })
  away.notOpened('missing', 'There is no folder.')
  later.add(away)
  assert.equal(later.absent(office), away)
  assert.equal(later.absentName('office'), true)
  assert.equal(later.roomiest().name, 'main')
  // Remembering anew while it is away forgets neither the store nor what lies in it.
  await clock.settle(failure((done) => later.remember(done)))
  assert.deepEqual(rememberedFolders(again), [remembered])
  later.remove('disk1')
  await clock.settle(failure((done) => later.remember(done)))
  assert.deepEqual(rememberedFolders(again), [])
})

test('who is away leaves the configuration that it is told of, and no other', () => {
  const told = configuration()
  assert.equal(leftByAbsence(told, self), told.id)
  assert.equal(leftByAbsence(configuration([other]), self), null)
})
