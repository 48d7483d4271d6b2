/**
 * The thread that executes small writes one after the other (small-writes.ts). It sleeps on shared memory, never in its
 * event loop; a disk that stalls holds this thread only.
 */
import fs from 'node:fs'
import os from 'node:os'
import { workerData } from 'node:worker_threads'
import { at, entryFields, entryOf, type SharedMemory, syncState, wakeAfter } from './small-writes-memory.ts'

const { control, entries, bytes, entryBytes } = workerData as SharedMemory // given by small-writes.ts, by nobody else

/** @returns how many bytes the file took; -1 when it refused: the asker tries again and hears why */
function write(entry: number): number {
  const fields = entry * entryFields
  const descriptor = entries[fields] ?? -1
  const length = entries[fields + 1] ?? 0
  try {
    return fs.writeSync(descriptor, bytes, entry * entryBytes, length, entries[fields + 2] ?? 0)
  } catch {
    // Errors do not pass through shared memory: the asker's own call meets the same one.
    return -1
  }
}

/** Never twice: a second one would say nothing of what the first should have covered. */
function sync(entry: number): number {
  try {
    fs.fdatasyncSync(entries[entry * entryFields] ?? -1)
    return syncState.done
  } catch (error) {
    const number = error instanceof Error && 'errno' in error ? Number(error.errno) : Number.NaN
    return number < 0 ? number : -os.constants.errno.EIO
  }
}

const tell = (done: number): void => {
  Atomics.store(control, at.done, done)
  Atomics.notify(control, at.done)
}

let done = 0
Atomics.store(control, at.ready, 1)
for (;;) {
  const submitted = Atomics.load(control, at.submitted)
  if (submitted === done) {
    Atomics.wait(control, at.submitted, submitted)
    continue
  }
  for (let untold = 1; done !== submitted; untold += 1) {
    const entry = entryOf(done)
    entries[entry * entryFields + 3] = write(entry)
    if (entries[entry * entryFields + 4] === syncState.asked) entries[entry * entryFields + 4] = sync(entry)
    done = (done + 1) | 0
    if (untold % wakeAfter === 0 || done === submitted) tell(done)
  }
}
