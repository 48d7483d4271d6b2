/**
 * A disk that stops answering: server A's folder is a file system of its own, which is frozen (fsfreeze) as a dying
 * disk or a stuck controller would freeze it. Heartbeats and API must not wait for it (E8): nobody is removed who has
 * nothing to write; who has leaves after ten seconds, and only he.
 *
 * A frozen file system hangs whoever touches it, so a process of its own thaws it at the right time, whatever
 * happens to this test.
 */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { mkdir, rm } from 'node:fs/promises'
import path from 'node:path'
import { type TestContext, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { limits } from '../../agent/limits.ts'
import { Control } from '../kit/control.ts'
import { type TestLab, withLab } from '../kit/lab.ts'
import { connectNbd } from '../kit/nbd-client.ts'
import { needs } from '../kit/needs.ts'
import { mustRun, runTool } from '../kit/tools.ts'
import { until, within } from '../kit/until.ts'

const MiB = 1024 * 1024
/** The promise: heartbeats and API answer within this, all the while. */
const answerMs = 250
/** Milliseconds between two questions to a server. */
const askEveryMs = 20
/** A peer's round trip in the status is smoothed: each heartbeat moves it by an eighth (membership/heartbeats.ts). */
const smoothing = 8
const stepMs = 60_000

const diskOf = (dir: string) => path.join(dir, 'a')

/** Makes DIR/a a file system of its own. */
async function prepare(dir: string): Promise<void> {
  const image = path.join(dir, 'disk.img')
  await mustRun('truncate', ['-s', '256M', image])
  await mustRun('mkfs.ext4', ['-q', '-F', image])
  await mkdir(diskOf(dir))
  await mustRun('mount', ['-o', 'loop', image, diskOf(dir)])
}

async function undo(dir: string): Promise<void> {
  // Not frozen: refused, which is as well.
  await runTool('fsfreeze', ['--unfreeze', diskOf(dir)])
  await until('unmounting', stepMs, async () => (await runTool('umount', [diskOf(dir)])).code === 0)
  await rm(path.join(dir, 'disk.img'))
}

/** Freezes the disk and makes sure that it thaws, also should this process die. */
async function freeze(lab: TestLab, seconds: number): Promise<void> {
  const timer = spawn('sh', ['-c', 'sleep "$1"; exec fsfreeze --unfreeze "$2"', 'sh', `${seconds}`, diskOf(lab.dir)], {
    detached: true,
    stdio: 'ignore',
  })
  timer.unref()
  await mustRun('fsfreeze', ['--freeze', diskOf(lab.dir)])
}

/** What somebody waited for, and how long. */
interface Answer {
  readonly what: string
  readonly fromMs: number
  readonly toMs: number
}

/**
 * Asks both servers all the while, each for itself so that one which is held up hides nothing of the other, and beside
 * them the controls. This test and its agents share two processors with whatever else runs: what a control lost in the
 * same moment the machine has taken from everybody. Everything else is the server's own.
 */
class Watch {
  readonly #answers: Answer[] = []
  readonly #beats: Answer[] = []
  readonly #smoothedMs = new Map<string, number>()
  readonly #lost: string[] = []
  readonly #lab: TestLab
  readonly #control: Control
  readonly #done: Promise<unknown>
  #running = true

  static async begin(lab: TestLab): Promise<Watch> {
    return new Watch(lab, await Control.begin())
  }

  private constructor(lab: TestLab, control: Control) {
    this.#lab = lab
    this.#control = control
    this.#done = Promise.all([this.#ask('a'), this.#ask('b')])
    // Told by end(), perhaps after something else has failed.
    this.#done.catch(() => undefined)
  }

  async #ask(name: 'a' | 'b'): Promise<void> {
    while (this.#running) {
      const fromMs = performance.now()
      const status = await this.#lab.status(name)
      this.#answers.push({ what: `an API answer of ${name}`, fromMs, toMs: performance.now() })
      for (const peer of status.peers) {
        if (!peer.connected) this.#lost.push(`${name} lost ${peer.name}`)
        if (peer.roundTripMs !== null) this.#beat(`a heartbeat of ${name} to ${peer.name}`, peer.roundTripMs)
      }
      await sleep(askEveryMs)
    }
  }

  /** The newest heartbeat's own round trip, from how far it moved the smoothed one. */
  #beat(what: string, smoothedMs: number): void {
    const before = this.#smoothedMs.get(what) ?? smoothedMs
    this.#smoothedMs.set(what, smoothedMs)
    if (smoothedMs === before) return
    const toMs = performance.now()
    this.#beats.push({ what, fromMs: toMs - (before + (smoothedMs - before) * smoothing), toMs })
  }

  /** Ends the asking, whatever became of the test. */
  async stop(): Promise<void> {
    this.#running = false
    try {
      await this.#done
    } finally {
      await this.#control.end()
    }
  }

  async judge(t: TestContext): Promise<void> {
    await this.stop()
    t.diagnostic(
      `${this.#answers.length} API answers, the slowest ${longest(this.#answers)} ms; ${this.#beats.length} heartbeats, the slowest ${longest(this.#beats)} ms; the machine took ${Math.round(this.#control.allMs)} ms from the controls`,
    )
    assert.deepEqual(this.#lost, [])
    assert.ok(this.#answers.length > 40, 'hardly anybody was asked')
    assert.ok(this.#beats.length > 20, 'hardly a heartbeat was seen')
    const late = [...this.#answers, ...this.#beats].flatMap((answer) => {
      const tookMs = Math.round(answer.toMs - answer.fromMs)
      const lostMs = tookMs > answerMs ? Math.round(this.#control.lostMs(answer)) : 0
      return tookMs > answerMs + lostMs
        ? [`${answer.what} took ${tookMs} ms, the controls lost ${lostMs} ms of it`]
        : []
    })
    assert.deepEqual(late, [])
  }
}

const longest = (answers: readonly Answer[]): number =>
  Math.round(answers.reduce((most, { fromMs, toMs }) => Math.max(most, toMs - fromMs), 0))

/** Watches both servers while `use` runs, and judges what was seen. */
async function watched(t: TestContext, lab: TestLab, use: () => Promise<void>): Promise<void> {
  const watch = await Watch.begin(lab)
  try {
    await use()
  } catch (failure) {
    // What failed first is told; that the watch may have failed by it is not.
    await watch.stop().catch(() => undefined)
    throw failure
  }
  await watch.judge(t)
}

const block = (fill: number) => new Uint8Array(4096).fill(fill)

test(
  'a disk that freezes: heartbeats and API go on, and only who has to write and cannot leaves',
  needs('linux', 'root', 'loop', 'fsfreeze', 'mkfs.ext4'),
  async (t) => {
    await withLab({ witness: true, prepare, undo }, async (lab) => {
      const client = await connectNbd(lab.uri('b'))
      const stalled = await connectNbd(lab.uri('a'))
      try {
        await client.write(0, block(1))
        await client.flush()
        const { epoch } = await lab.volume('b')

        await t.test(
          'frozen for 5 s with writes waiting: nobody is removed, the writes wait and are done',
          async (t) => {
            await watched(t, lab, async () => {
              await freeze(lab, 5)
              const beganMs = performance.now()
              await within(
                'a write and its flush',
                20_000,
                client.write(MiB, block(2)).then(() => client.flush()),
              )
              t.diagnostic(`the write and flush took ${Math.round(performance.now() - beganMs)} ms`)
            })
            assert.equal((await lab.volume('b')).epoch, epoch)
            await lab.wait('Protected', 10_000)
          },
        )

        await t.test('frozen for 15 s without I/O: nobody is removed', async (t) => {
          await quiet(lab)
          await watched(t, lab, async () => {
            await freeze(lab, 15)
            await sleep(16_000)
          })
          assert.equal((await lab.volume('b')).epoch, epoch)
          await lab.wait('Protected', 10_000)
          await within('a write', 10_000, client.write(2 * MiB, block(3)))
        })

        await t.test('frozen for 15 s with writes waiting: the stalled server leaves, its peer goes on', async (t) => {
          await watched(t, lab, async () => {
            await freeze(lab, 15)
            const beganMs = performance.now()
            const atStalled = stalled.write(5 * MiB, block(6))
            await within(
              'a write and its flush',
              20_000,
              client.write(3 * MiB, block(4)).then(() => client.flush()),
            )
            const tookMs = performance.now() - beganMs
            t.diagnostic(`the write and flush took ${Math.round(tookMs)} ms`)
            const replicas = (await lab.volume('b')).replicas
            assert.deepEqual(
              replicas.filter((replica) => replica.state === 'in-sync').map((replica) => replica.serverName),
              ['b'],
            )
            assert.ok(tookMs > limits.diskOverdueMs - 1_000, `it left after ${tookMs} ms already`)
            assert.ok(tookMs < limits.memberOverdueMs + limits.leaseMs + 2_000, `it left after ${tookMs} ms only`)
            // While the disk is still frozen, the peer's clients work as if nothing was.
            const nextMs = performance.now()
            await within('the next write', 3_000, client.write(4 * MiB, block(5)))
            assert.ok(performance.now() - nextMs < 1_000, 'the next write waited too')
            // And so do those of the stalled server, through its peer: also what its disk has under way (C6, W8).
            await within('the write at the stalled server', 1_000, atStalled)
            assert.equal((await lab.volume('a')).via, 'b')
            const found = await within('a read at the stalled server', 1_000, stalled.read(3 * MiB, 4096))
            assert.equal(Buffer.compare(found, block(4)), 0)
            await lab.wait('Protected')
          })
          await client.flush()
          await readsAt(lab, 'a')
          await lab.mustBeEqual()
        })
      } finally {
        client.destroy()
        stalled.destroy()
      }
    })
  },
)

/** Waits until no server has anything left to write by itself: marks are taken off a moment after the last write. */
async function quiet(lab: TestLab): Promise<void> {
  await lab.wait('Protected')
  await sleep(1_000)
}

async function readsAt(lab: TestLab, name: 'a' | 'b'): Promise<void> {
  const client = await connectNbd(lab.uri(name))
  try {
    for (const fill of [1, 2, 3, 4, 5, 6]) {
      const found = await client.read((fill - 1) * MiB, 4096)
      assert.equal(Buffer.compare(found, block(fill)), 0, `block ${fill} is not what was written`)
    }
  } finally {
    client.destroy()
  }
}
