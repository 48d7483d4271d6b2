/**
 * The thread that executes small writes one after the other (small-writes.ts). It sleeps on shared memory, never in its
 * event loop; a disk that stalls holds this thread only.
 */
import fs from 'node:fs'
import { workerData } from 'node:worker_threads'
import { at, entryFields, entryOf, type SharedMemory, wakeAfter } from './small-writes-memory.ts'

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
    done = (done + 1) | 0
    if (untold % wakeAfter === 0 || done === submitted) tell(done)
  }
}
