/** Aim: rebuilding that is killed before any of its steps leaves an honest folder, and can be run again. */
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import fs from 'node:fs'
import path from 'node:path'
import { test } from 'node:test'
import { type BlockFile, type FileDone, FileError, type Files } from '../../../agent/store/files.ts'
import { inspectStore } from '../../../agent/store/inspect.ts'
import { NodeFiles } from '../../../agent/store/node-files.ts'
import { rebuild } from '../../../agent/store/rebuild.ts'
import { SqliteOpener } from '../../../agent/store/sqlite-index.ts'
import { runSteps } from '../../../agent/store/steps.ts'
import { dropIndex, MiB, mappings, mustHold, open, small, withFolder } from './rebuild-world.ts'
import { temporaryFolder } from './world.ts'

/** Counts what changes the folder, and dies before call number `last`: what came before is done, nothing comes after. */
class Death {
  readonly #last: number
  count = 0

  constructor(last: number) {
    this.#last = last
  }

  get isDead(): boolean {
    return this.count > this.#last
  }

  passes(done: (error: FileError) => void): boolean {
    this.count += 1
    if (!this.isDead) return true
    setImmediate(done, new FileError('EKILLED', 'killed'))
    return false
  }
}

function mortalFiles(files: Files, death: Death): Files {
  const mortal = (file: BlockFile): BlockFile => ({
    read: (...call) => file.read(...call),
    write: (chunks, length, offset, fresh, done) => {
      if (death.passes(done)) file.write(chunks, length, offset, fresh, done)
    },
    sync: (done) => {
      if (death.passes(done)) file.sync(done)
    },
    close: (done) => file.close(done),
  })
  return {
    open: (name, create, done) =>
      files.open(name, create, (error, file) => (file ? done(null, mortal(file)) : done(error))),
    readAll: (name, done) => files.readAll(name, done),
    list: (folder, done) => files.list(folder, done),
    makeFolder: (name, done) => files.makeFolder(name, done),
    rename: (from, to, done) => {
      if (death.passes(done)) files.rename(from, to, done)
    },
    remove: (name, done) => {
      if (death.passes(done)) files.remove(name, done)
    },
    syncFolder: (folder, done) => {
      if (death.passes(done)) files.syncFolder(folder, done)
    },
    space: (done) => files.space(done),
  }
}

/** @returns whether it came to its end */
async function rebuildUntil(dir: string, last: number): Promise<boolean> {
  const death = new Death(last)
  const thread = (name: string) => new URL(`../../../agent/store/${name}`, import.meta.url)
  const opener = new SqliteOpener(dir, thread('index-thread.ts'))
  const index = {
    lock: (done: FileDone) => opener.lock(done),
    unlock: (done: FileDone) => opener.unlock(done),
    makeAside: (...[name, contents, done]: Parameters<SqliteOpener['makeAside']>) => {
      if (death.passes(done)) opener.makeAside(name, contents, done)
      // Killed in the middle of it.
      else fs.writeFileSync(path.join(dir, name), 'SQLite format 3\0 and then the plug was pulled')
    },
  }
  const files = mortalFiles(new NodeFiles(dir, thread('small-writes-thread.ts')), death)
  const error = await new Promise((resolve) =>
    runSteps(rebuild({ files, index, told: () => undefined, confirm: async () => true }), resolve),
  )
  assert.ok(error === null || death.isDead, String(error))
  return error === null
}

/** An agent that starts now is refused with the way out, or finds the old index, or the new one and all in doubt. */
async function mustBeHonest(dir: string, before: readonly unknown[], old: number | null): Promise<void> {
  const file = path.join(dir, 'index.db')
  if (!fs.existsSync(file)) {
    await assert.rejects(open(dir), (error: { next?: string }) => /store rebuild/.test(error.next ?? ''))
    return
  }
  const isOld = fs.statSync(file).ino === old
  assert.deepEqual(mappings(dir), before)
  const look = inspectStore(dir)
  try {
    for (const { sizeBytes, region } of look.replicas) {
      for (let at = 0; !isOld && at * 16 * MiB < sizeBytes; at++) assert.equal(region(at).grade, 'lossy')
    }
  } finally {
    look.close()
  }
}

/** A copy of the folder after so many steps of rebuilding. @returns whether that was all of it */
async function diesAt(step: number, made: string, dir: string, before: readonly unknown[]): Promise<boolean> {
  fs.rmSync(dir, { recursive: true, force: true })
  execFileSync('cp', ['-r', '--sparse=always', made, dir])
  const file = path.join(dir, 'index.db')
  const old = fs.existsSync(file) ? fs.statSync(file).ino : null
  const isDone = await rebuildUntil(dir, step)
  await mustBeHonest(dir, before, old)
  assert.ok(await rebuildUntil(dir, 1000), `killed at step ${step}, it cannot be run again`)
  assert.deepEqual(mappings(dir), before)
  assert.deepEqual(
    fs.readdirSync(dir).filter((name) => /before-rebuild|rebuilt/.test(name)),
    [],
  )
  return isDone
}

for (const hasIndex of [true, false]) {
  test(`killed before each of its steps, ${hasIndex ? 'with' : 'without'} an old index: honest, and run again`, (t) =>
    withFolder(
      11,
      async (made, models) => {
        const folder = temporaryFolder()
        try {
          const before = mappings(made)
          // A killed agent leaves a log beside its index; so does somebody who removes index.db alone.
          if (!hasIndex) dropIndex(made)
          fs.writeFileSync(path.join(made, 'index.db-wal'), '')
          const dir = path.join(folder.dir, 'copy')
          let step = 0
          while (!(await diesAt(step, made, dir, before))) step++
          t.diagnostic(`${step} steps`)
          assert.ok(step > 15, `only ${step} steps`)
          await mustHold(dir, models, 'lossy')
        } finally {
          folder.remove()
        }
      },
      small,
    ))
}
