/** C8: slots set aside for writes to come are nobody else's. */
import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { limits } from '../../../agent/limits.ts'
import { MemoryDisk } from '../../../agent/store/memory-store.ts'
import type { ReplicaStore, SpaceReservation, StoreFailure } from '../../../agent/store/replica.ts'
import { create } from './suite.ts'
import { quiet, seeded, VirtualClock } from './world.ts'

const { extentBytes, blockBytes } = limits

/** A replica on a disk with room for so many slots. */
async function replicaOn(slots: number) {
  const clock = new VirtualClock()
  const disk = new MemoryDisk({ clock, random: seeded(9), log: quiet })
  const world = { settle: <T>(promise: Promise<T>) => clock.settle(promise) }
  const store = await clock.settle(disk.openStore())
  const replica = await create(world, store, 64 * 1024 * 1024)
  // The pool makes its headers' room first.
  clock.pass(1_000)
  disk.leave(limits.diskReserveBytes + slots * (extentBytes + blockBytes))
  store.measureSpace()
  clock.pass(100)
  const write = (extent: number, reservation?: SpaceReservation, lengthBytes = blockBytes) =>
    clock.settle(
      new Promise<StoreFailure | null>((done) =>
        replica.write(extent * extentBytes, [Buffer.alloc(lengthBytes, 7)], lengthBytes, done, reservation),
      ),
    )
  const discard = (extent: number) =>
    clock.settle(new Promise<StoreFailure | null>((done) => replica.discard(extent * extentBytes, extentBytes, done)))
  return { replica, write, discard, clock, disk, store }
}

function reserved(replica: ReplicaStore, slots: number): SpaceReservation {
  const reservation = replica.reserve(slots)
  assert.ok(reservation !== null, `${slots} slots can be set aside`)
  return reservation
}

describe('space set aside', () => {
  it('what is set aside is no one else’s, and is there when its write comes', async () => {
    const { replica, write } = await replicaOn(6)
    const most = replica.availableSlots()
    const kept = reserved(replica, most)
    assert.equal(replica.reserve(1), null)
    assert.equal(await write(3), 'no-space')
    for (let extent = 0; extent < most; extent += 1) assert.equal(await write(extent, kept.split(1)), null)
    assert.equal(replica.availableSlots(), 0)
    assert.equal(await write(most + 1), 'no-space')
    assert.equal(replica.failed, false)
  })

  it('what a write did not need is given back when it is done', async () => {
    const { replica, write } = await replicaOn(6)
    const most = replica.availableSlots()
    assert.equal(await write(0, reserved(replica, 3)), null)
    assert.equal(replica.availableSlots(), most - 1)
    assert.equal(await write(0, reserved(replica, 2)), null)
    assert.equal(replica.availableSlots(), most - 1)
  })

  it('a slot that is discarded in a reserved range stays with the reservation', async () => {
    const { replica, write, discard } = await replicaOn(6)
    const most = replica.availableSlots()
    for (let extent = 0; extent < most; extent += 1) assert.equal(await write(extent), null)
    const kept = replica.reserveFor('data', extentBytes, blockBytes)
    assert.ok(kept !== null)
    assert.equal(kept.slots, 0)
    assert.equal(await discard(1), null)
    assert.equal(replica.reserve(1), null, 'the freed slot is taken')
    assert.equal(await write(40), 'no-space')
    assert.equal(await write(1, kept), null)
    assert.equal(await discard(2), null)
    assert.equal(replica.availableSlots(), 1, 'only in that range, and only until its write')
  })

  it('what is mapped but not filled yet counts as taken: others’ first writes are refused before it is', async () => {
    const { replica, write } = await replicaOn(6)
    const most = replica.availableSlots()
    for (let extent = 0; extent < most; extent += 1) assert.equal(await write(extent), null)
    assert.equal(await write(most), 'no-space')
    for (let extent = 0; extent < most; extent += 1)
      assert.equal(await write(extent, undefined, extentBytes), null, 'the rest of the slot has its place')
    assert.equal(replica.failed, false)
  })

  it('twice released, or used beyond it: harmless, or stopped (S6)', async () => {
    const { replica } = await replicaOn(6)
    const most = replica.availableSlots()
    const kept = reserved(replica, 2)
    kept.release()
    kept.release()
    assert.equal(replica.availableSlots(), most)
    assert.throws(() => kept.use(), /S6/)
    assert.throws(() => reserved(replica, 1).split(2), /S6/)
  })
})
