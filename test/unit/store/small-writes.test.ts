/** Aim: the thread for small writes writes exactly what it took, says what it could not, and ends. */
import assert from 'node:assert/strict'
import fs from 'node:fs'
import path from 'node:path'
import { test } from 'node:test'
import { setImmediate as turn } from 'node:timers/promises'
import { limits } from '../../../agent/limits.ts'
import { type BlockFile, FileError, type FilePiece, writeAndSync } from '../../../agent/store/files.ts'
import { NodeFiles } from '../../../agent/store/node-files.ts'
import { SmallWrites, type SyncAnswer } from '../../../agent/store/small-writes.ts'
import { until } from '../../kit/until.ts'
import { temporaryFolder } from './world.ts'

const thread = new URL('../../../agent/store/small-writes-thread.ts', import.meta.url)
const waitMs = 20_000
const asked = <T>(call: (done: (error: Error | null, value?: T) => void) => void): Promise<T> =>
  new Promise((resolve, reject) => {
    call((error, value) => (error === null ? resolve(value as T) : reject(error))) // a call without an error has its value
  })

async function withFile(body: (writes: SmallWrites, descriptor: number, file: string) => Promise<void>): Promise<void> {
  const folder = temporaryFolder()
  const file = path.join(folder.dir, 'f')
  const descriptor = fs.openSync(file, 'w+')
  const writes = new SmallWrites(thread)
  try {
    await body(writes, descriptor, file)
  } finally {
    writes.end()
    fs.closeSync(descriptor)
    folder.remove()
  }
}

/** The first one that it takes: before the thread is up it takes none. */
const begin = (writes: SmallWrites, descriptor: number) =>
  until('the thread of small writes', waitMs, async () => {
    await turn()
    return writes.write(descriptor, [Buffer.alloc(1)], 0, () => undefined)
  })

test('many writes in one turn, in pieces, at every place of the ring: each is there when it is answered', () =>
  withFile(async (writes, descriptor, file) => {
    await begin(writes, descriptor)
    const expected = Buffer.alloc(1024 * 4096)
    const there = Buffer.alloc(4096)
    let answered = 0
    for (let block = 0; block < 1024; ) {
      const pieces = [Buffer.alloc(1000, block), Buffer.alloc(0), Buffer.alloc(3096, block + 1)]
      const offset = ((block * 389) % 1024) * 4096
      const taken = writes.write(descriptor, pieces, offset, (all) => {
        assert.equal(all, true)
        assert.equal(fs.readSync(descriptor, there, 0, 4096, offset), 4096)
        assert.ok(there.equals(Buffer.concat(pieces)))
        answered += 1
      })
      if (!taken) {
        await turn()
        continue
      }
      Buffer.concat(pieces).copy(expected, offset)
      block += 1
    }
    await until('all answers', waitMs, () => answered === 1024)
    assert.ok(fs.readFileSync(file).equals(expected))
  }))

test('takes no more than it may hold, answers in order, never inside the call', () =>
  withFile(async (writes, descriptor) => {
    await begin(writes, descriptor)
    await turn()
    const order: number[] = []
    let taken = 0
    const bytes = [Buffer.alloc(limits.smallWriteBytes)]
    const next = (number: number) => writes.write(descriptor, bytes, 0, () => order.push(number))
    while (next(taken)) taken += 1
    assert.ok(taken >= limits.diskSmallWrites - 1 && taken <= limits.diskSmallWrites)
    assert.equal(order.length, 0)
    await until('all answers', waitMs, () => order.length === taken)
    assert.deepEqual(
      order,
      Array.from({ length: taken }, (_, number) => number),
    )
  }))

test('a write that the file refuses is answered as not taken, the next one goes on', () =>
  withFile(async (writes, descriptor, file) => {
    await begin(writes, descriptor)
    const readonly = fs.openSync(file, 'r')
    try {
      const answers: boolean[] = []
      writes.write(readonly, [Buffer.alloc(4096, 1)], 0, (taken) => answers.push(taken))
      writes.write(descriptor, [Buffer.alloc(4096, 2)], 4096, (taken) => answers.push(taken))
      await until('both answers', waitMs, () => answers.length === 2)
      assert.deepEqual(answers, [false, true])
      assert.equal(fs.readFileSync(file)[4096], 2)
    } finally {
      fs.closeSync(readonly)
    }
  }))

const pieces = (...bytes: number[]) =>
  bytes.map((byte) => ({ bytes: Buffer.alloc(512, byte), offsetBytes: byte * 512 }))

test('pieces and a sync in one call: all are there when it is answered; meanwhile nobody waits behind it', () =>
  withFile(async (writes, descriptor, file) => {
    await begin(writes, descriptor)
    const answers: SyncAnswer[] = []
    const one = (...bytes: number[]) =>
      writes.writeAndSync(descriptor, pieces(...bytes), (answer) => {
        for (const byte of bytes) assert.equal(fs.readFileSync(file)[byte * 512 + 511], byte)
        answers.push(answer)
      })
    await until('the thread has nothing to do', waitMs, () => one(1, 5, 3))
    assert.equal(one(2), false)
    await until('the answer', waitMs, () => answers.length === 1)
    assert.ok(one(2, 4))
    await until('the answer', waitMs, () => answers.length === 2)
    assert.deepEqual(answers, ['done', 'done'])
  }))

/** A file system of small pages ends at 16 TiB; some do not. */
function canHold(descriptor: number, { bytes, offsetBytes }: FilePiece): boolean {
  try {
    return fs.writeSync(descriptor, bytes, 0, bytes.length, offsetBytes) === bytes.length
  } catch {
    // EFBIG: what is asked here.
    return false
  }
}

test('a piece that the file refuses: not taken; a sync that fails: its error, and never a second attempt', () =>
  withFile(async (writes, descriptor, file) => {
    await begin(writes, descriptor)
    const answerOf = async (of: number, what = pieces(1, 2)): Promise<SyncAnswer> => {
      const answers: SyncAnswer[] = []
      await until('the thread has nothing to do', waitMs, () =>
        writes.writeAndSync(of, what, (answer) => answers.push(answer)),
      )
      await until('the answer', waitMs, () => answers.length === 1)
      return answers[0] ?? 'not-taken'
    }
    const readonly = fs.openSync(file, 'r')
    // Takes every write and has nothing to sync: EINVAL.
    const nothing = fs.openSync('/dev/null', 'r+')
    try {
      assert.equal(await answerOf(readonly), 'not-taken')
      const far = { bytes: Buffer.alloc(512), offsetBytes: 2 ** 46 }
      assert.equal(await answerOf(descriptor, [far, ...pieces(1)]), canHold(descriptor, far) ? 'done' : 'not-taken')
      const failed = await answerOf(nothing)
      assert.ok(failed instanceof FileError && failed.code === 'EINVAL', String(failed))
      assert.equal(await answerOf(descriptor), 'done')
      const files = new NodeFiles('/dev', thread)
      const device = await asked<BlockFile>((done) => files.open('null', false, done))
      for (let number = 0; number < 40; number += 1) {
        const error = await new Promise((resolve) => writeAndSync(device, pieces(1, 2), resolve))
        assert.ok(error instanceof FileError && error.code === 'EINVAL', String(error))
      }
      await asked((done) => device.close(done))
    } finally {
      fs.closeSync(readonly)
      fs.closeSync(nothing)
    }
  }))

test('files of a folder, many syncs with pieces at once: each is right, with the thread and without', async () => {
  const folder = temporaryFolder()
  const files = new NodeFiles(folder.dir, thread)
  try {
    const names = ['a', 'b', 'c']
    const open = await Promise.all(names.map((name) => asked<BlockFile>((done) => files.open(name, true, done))))
    for (let round = 1; round <= 60; round += 1) {
      const sync = (file: BlockFile, at: number) =>
        asked((done) => writeAndSync(file, pieces(round + at, 100 + at, 99), done))
      await Promise.all(open.map(sync))
      for (const [at, name] of names.entries()) {
        const bytes = fs.readFileSync(path.join(folder.dir, name))
        for (const byte of [round + at, 100 + at, 99]) assert.equal(bytes[byte * 512], byte)
      }
    }
    for (const file of open) await asked((done) => file.close(done))
  } finally {
    folder.remove()
  }
})

test('takes nothing before the thread is up, nor after the end', async () => {
  const writes = new SmallWrites(thread)
  assert.equal(
    writes.write(0, [Buffer.alloc(1)], 0, () => undefined),
    false,
  )
  writes.end()
  assert.equal(
    writes.write(0, [Buffer.alloc(1)], 0, () => undefined),
    false,
  )
})

test('a thread that dies: what it had is answered as not taken, nothing more is taken', async () => {
  // It says that it is up, waits for work, and throws.
  const code = `import { workerData } from 'node:worker_threads'
    const { control } = workerData
    Atomics.store(control, 2, 1)
    Atomics.wait(control, 0, 0)
    throw new Error('dies')`
  const writes = new SmallWrites(new URL(`data:text/javascript,${encodeURIComponent(code)}`))
  const answers: boolean[] = []
  const one = () => writes.write(0, [Buffer.alloc(8)], 0, (taken) => answers.push(taken))
  await until('the thread', waitMs, one)
  one()
  await until('the answers', waitMs, () => answers.length >= 2)
  assert.ok(writes.ended && answers.every((taken) => !taken))
  assert.equal(one(), false)
})

test('a thread that dies in a sync: nobody knows how it ended, so it failed', async () => {
  const code = `import { workerData } from 'node:worker_threads'
    const { control } = workerData
    Atomics.store(control, 2, 1)
    Atomics.wait(control, 0, 0)
    throw new Error('dies')`
  const writes = new SmallWrites(new URL(`data:text/javascript,${encodeURIComponent(code)}`))
  const answers: SyncAnswer[] = []
  await until('the thread', waitMs, () => writes.writeAndSync(0, pieces(1, 2), (answer) => answers.push(answer)))
  await until('the answer', waitMs, () => answers.length === 1)
  assert.ok(answers[0] instanceof FileError && answers[0].code === 'EIO', String(answers[0]))
})

test('a thread that cannot start is no disaster: nothing is taken', async () => {
  const writes = new SmallWrites(new URL('./no-such-thread.ts', import.meta.url))
  await until('its end', waitMs, async () => {
    await turn()
    return writes.ended
  })
  assert.equal(
    writes.write(0, [Buffer.alloc(1)], 0, () => undefined),
    false,
  )
})
