/** E11 in whole clusters: what was prepared for a volume becomes that volume or goes again, whatever was lost on the way. */
import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { limits } from '../../agent/limits.ts'
import { Directed, type Sending } from './directed.ts'

const MiB = 1024 * 1024

/** Whether this server knows anything of a volume: open, or a replica or a record in its folder. */
function leftovers(cluster: Directed, index: number): string[] {
  const { engine } = cluster.server(index)
  if (engine === null) return ['not up']
  const { store } = engine.world
  const records = store.records.keys().filter((key) => key.startsWith('volume-') && store.records.get(key) !== null)
  return [...[...engine.volumes.keys()].map(() => 'volume'), ...store.replicas().map(() => 'replica'), ...records]
}

const nothingLeft = (cluster: Directed): boolean =>
  cluster.servers.every((_, index) => leftovers(cluster, index).length === 0)

/** A volume that everybody serves, under a name that was used before. */
async function succeeds(cluster: Directed): Promise<void> {
  cluster.lost = () => false
  cluster.untilConnected()
  const made = cluster.create()
  await cluster.untilSettled(() => made.outcome !== null)
  assert.equal(made.outcome, 'made')
  cluster.until('the volume is open', () => cluster.isWhole())
}

const settled = async (cluster: Directed, made: { outcome: string | null }): Promise<string | null> => {
  await cluster.untilSettled(() => made.outcome !== null)
  return made.outcome
}

describe('what a creation left prepared (E11)', () => {
  it('a server whose disk is full: refused, and nothing stays anywhere', async () => {
    const cluster = new Directed(2).start()
    cluster.server(1).disk.fault = 'full'
    assert.equal(await settled(cluster, cluster.create()), 'server-refused')
    cluster.server(1).disk.fault = 'none'
    cluster.pass(2_000)
    assert.ok(nothingLeft(cluster))
    await succeeds(cluster)
  })

  it('an answer that is lost: refused after its time, and nothing stays anywhere', async () => {
    const cluster = new Directed(2).start()
    cluster.lost = ({ kind }) => kind === 'create.prepared'
    const made = cluster.create()
    cluster.pass(limits.createAnswerMs - 1_000)
    assert.equal(made.outcome, null)
    assert.equal(await settled(cluster, made), 'server-refused')
    cluster.until('nothing is left', () => nothingLeft(cluster), 1_000)
    await succeeds(cluster)
  })

  it('given up while a disk was slow: what it prepares later goes at once, and blocks no name', async () => {
    for (const slow of [0, 1]) {
      const cluster = new Directed(2).start()
      cluster.server(slow).disk.fault = 'hang'
      const made = cluster.create()
      assert.equal(await settled(cluster, made), 'server-refused')
      // Its name is taken as long as something may still come of it.
      assert.equal(await settled(cluster, cluster.create()), slow === 0 ? 'volume-exists' : 'server-refused')
      cluster.server(slow).disk.fault = 'none'
      cluster.pass(2_000)
      assert.ok(nothingLeft(cluster), `${slow}`)
      await succeeds(cluster)
    }
  })

  it('two creations of one name at once: one gets through, of the other nothing stays', async () => {
    const cluster = new Directed(2).start()
    const both = [cluster.create(), cluster.create()]
    await cluster.untilSettled(() => both.every(({ outcome }) => outcome !== null))
    assert.deepEqual(both.map(({ outcome }) => outcome).sort(), ['made', 'volume-exists'])
    cluster.until('the volume is open', () => cluster.isWhole())
    assert.deepEqual(
      [0, 1].map((index) => leftovers(cluster, index).length),
      [3, 3],
    )
  })

  for (const when of ['before', 'after'] as const) {
    it(`the word to begin is lost: the register, which began, says so (${when} a restart)`, async () => {
      const cluster = new Directed(2).start()
      cluster.lost = ({ kind }) => kind === 'create.commit'
      assert.equal(await settled(cluster, cluster.create()), 'made')
      assert.equal(cluster.server(1).volume, undefined)
      if (when === 'after') {
        cluster.server(1).kill()
        cluster.server(1).start()
      }
      cluster.until('both serve it', () => cluster.isWhole())
    })
  }

  for (const restarts of [false, true]) {
    it(`the creator dies before the register began: it goes, not too soon (${restarts ? 'restarted' : 'running on'})`, async () => {
      const cluster = new Directed(2).start()
      const swallowed = ({ kind }: Sending) => kind === 'create.prepared'
      cluster.lost = swallowed
      cluster.create()
      cluster.until('b has prepared', () => leftovers(cluster, 1).length === 2)
      cluster.pass(50)
      cluster.server(0).kill()
      if (restarts) {
        cluster.server(1).kill()
        cluster.server(1).start()
      }
      const beginMs = cluster.world.nowMs
      cluster.until('b is up', () => cluster.server(1).state === 'up')
      const again = cluster.create({ at: 1 })
      assert.equal(await settled(cluster, again), 'volume-exists', 'something may still come of the name')
      cluster.until('b has let it go', () => leftovers(cluster, 1).length === 0, 240_000)
      // Longer than any creation takes: its register could have begun until then.
      assert.ok(cluster.world.nowMs - beginMs > 4 * limits.createAnswerMs, `${cluster.world.nowMs - beginMs}`)
      cluster.server(0).start()
      cluster.until('a comes back', () => cluster.server(0).state === 'up')
      cluster.until('a has let it go', () => leftovers(cluster, 0).length === 0, 240_000)
      await succeeds(cluster)
    })
  }

  for (const arbiter of ['gone', 'silent'] as const) {
    it(`an arbiter that is ${arbiter} proves nothing: nothing is given up and nothing begun`, async () => {
      const cluster = new Directed(2).start()
      cluster.lost = ({ kind }) => kind === 'create.commit'
      assert.equal(await settled(cluster, cluster.create()), 'made')
      if (arbiter === 'gone') cluster.witness.kill()
      else cluster.lost = ({ kind }) => kind === 'create.commit' || kind === 'register.answer'
      cluster.pass(10 * limits.createAnswerMs)
      assert.deepEqual([leftovers(cluster, 1).length, cluster.server(1).volume], [2, undefined])
      cluster.lost = () => false
      cluster.witness.start()
      cluster.until('both serve it', () => cluster.isWhole())
    })
  }

  it('the register answers late or twice: the same creation asked again begins once', async () => {
    const cluster = new Directed(2).start()
    let answers = 0
    cluster.lost = ({ kind }) => {
      if (kind !== 'register.answer') return false
      answers += 1
      return answers <= 2
    }
    assert.equal(await settled(cluster, cluster.create()), 'made')
    assert.ok(answers >= 3)
    cluster.until('both serve it', () => cluster.isWhole())
  })

  it('words repeated, late, to a wrong server or in the wrong order change nothing', async () => {
    const cluster = new Directed(2).start()
    const seen: { readonly kind: 'create.prepare' | 'create.prepared' | 'create.commit'; readonly body: unknown }[] = []
    cluster.lost = ({ kind, message }) => {
      const isOurs = kind === 'create.prepare' || kind === 'create.prepared' || kind === 'create.commit'
      if (isOurs && message.type === 'control') seen.push({ kind, body: message.body })
      return false
    }
    assert.equal(await settled(cluster, cluster.create({ sizeBytes: 2 * MiB })), 'made')
    cluster.until('both serve it', () => cluster.isWhole())
    const write = cluster.write(cluster.attach(0), 0, 9)
    cluster.until('the write is done', () => write.answer === null)
    const volume = String(cluster.volume(0).world.volumeId)
    const words = [...seen, { kind: 'create.abandon' as const, body: { volume } }]
    assert.equal(words.length, 4)
    for (const first of words) {
      for (const second of words) {
        for (const index of [0, 1]) {
          const from = cluster.server(1 - index).id
          const { creations } = cluster.server(index).engine ?? {}
          assert.equal(creations?.onMessage(from, first.kind, first.body), true)
          assert.equal(creations?.onMessage(from, second.kind, second.body), true)
        }
      }
    }
    cluster.pass(2_000)
    assert.ok(cluster.isWhole())
    assert.deepEqual(
      [0, 1].map((index) => leftovers(cluster, index).length),
      [3, 3],
    )
    const read = cluster.read(cluster.attach(1), 0)
    cluster.until('it is read', () => read.answer === null)
    assert.equal(read.first, 9)
    for (const kind of ['create.prepare', 'create.prepared', 'create.commit', 'create.abandon'] as const) {
      assert.equal(
        cluster.server(1).engine?.creations.onMessage(cluster.server(0).id, kind, { volume: 7 }),
        false,
        kind,
      )
    }
  })
})
