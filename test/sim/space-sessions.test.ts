/** C8 at its edges: a session that ends while a write asks, and who waits for slots behind somebody that gets none. */
import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { limits } from '../../agent/limits.ts'
import type { StoreFailure } from '../../agent/store/replica.ts'
import { type Asked, Directed } from './directed.ts'

const MiB = 1024 * 1024
const { extentBytes } = limits
const slotBytes = extentBytes + limits.blockBytes

function fill(cluster: Directed, index: number, slots: number): void {
  cluster.server(index).disk.leave(limits.diskReserveBytes + slots * slotBytes)
  cluster.pass(limits.freeSpaceMs + 1_000)
}

describe('space (C8): sessions that end, volumes that share a folder', () => {
  it('a server stops while the other one asks it: nobody is told that a disk is full which has room', async () => {
    for (let round = 0; round < 10; round += 1) {
      const cluster = await new Directed(2, round + 1).begin(64 * MiB)
      const client = cluster.attach(0)
      const first = cluster.write(client, 0, 1)
      cluster.until('written', () => first.answer === null)
      for (const index of [0, 1]) fill(cluster, index, 400)
      const asked: Asked[] = []
      cluster.server(1).leave(() => undefined)
      for (let at = 0; at < 40; at += 1) {
        asked.push(cluster.write(client, (2 + at * 3) * extentBytes, 5, 2 * extentBytes))
        cluster.pass(0.1)
      }
      cluster.until('all are answered', () => asked.every(({ answer }) => answer !== undefined))
      const answers = asked.map(({ answer }) => answer).filter((answer) => answer !== null)
      assert.deepEqual(answers, [], `round ${round}`)
    }
  })

  it('a write whose space is set aside is not refused with one in front of it that has none', async () => {
    const cluster = await new Directed(2).begin(64 * MiB)
    const client = cluster.attach(0)
    const first = cluster.write(client, 0, 1)
    cluster.until('written', () => first.answer === null)
    fill(cluster, 1, 6)
    const { store } = cluster.volume(1)
    const bytes = new Uint8Array(4096).fill(1)
    const covered = store.reserveFor('data', 20 * extentBytes, 4096)
    const rest = store.reserve(store.availableSlots())
    assert.ok(covered !== null && rest !== null && store.availableSlots() === 0)
    const answers: (StoreFailure | null | undefined)[] = [undefined, undefined]
    // As a joiner's copy into another volume of the same folder does it.
    store.write(30 * extentBytes, [bytes], 4096, (failure) => {
      answers[0] = failure
    })
    store.write(
      20 * extentBytes,
      [bytes],
      4096,
      (failure) => {
        answers[1] = failure
      },
      covered,
    )
    cluster.until('both are answered', () => answers.every((answer) => answer !== undefined))
    assert.deepEqual(answers, ['no-space', null])
  })
})
