/**
 * The victim of store.test.ts: opens the store in argv[2] and writes until it is killed. One line of JSON for each thing
 * that is true, in the pipe before anything else happens: a message that waited in memory would die with it.
 */
import fs from 'node:fs'
import { volumeId } from '../../agent/kit/ids.ts'
import { openStore } from '../../agent/store/open-store.ts'
import type { ReplicaStore } from '../../agent/store/replica.ts'
import { quiet, realClock, seeded } from '../unit/store/world.ts'

const [dir = '', seed = '1'] = process.argv.slice(2)
const store = await openStore({ dir, clock: realClock, log: quiet })
const random = seeded(Number(seed))
const replica: ReplicaStore = await new Promise((resolve, reject) => {
  const [known] = store.replicas()
  if (known) resolve(known)
  else {
    store.createReplica(volumeId('0123456789abcdef0123456789abcdef'), 256 * 1024 * 1024, (failure, made) =>
      made ? resolve(made) : reject(new Error(`${failure}`)),
    )
  }
})

/** A pipe that is full takes it a little later. */
function tell(what: object): void {
  const line = Buffer.from(`${JSON.stringify(what)}\n`)
  const nothing = new Int32Array(new SharedArrayBuffer(4))
  for (let at = 0; at < line.length; ) {
    try {
      at += fs.writeSync(1, line, at)
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') throw error // node's errors carry a code
      Atomics.wait(nothing, 0, 0, 1)
    }
  }
}

tell({ run: store.run, end: store.previousEnd })

const busy = new Set<number>()
let value = store.run * 1_000_000

function next(): void {
  const block = Math.floor(random.unit() * 65_536)
  if (busy.has(block)) {
    next()
    return
  }
  busy.add(block)
  value += 1
  const bytes = Buffer.alloc(4096)
  for (let at = 0; at < 4096; at += 8) bytes.writeDoubleLE(value, at)
  const written = value
  tell({ begin: block, value: written })
  replica.write(block * 4096, [bytes], 4096, (failure) => {
    if (failure) throw new Error(`write failed: ${failure}`)
    tell({ done: block, value: written })
    busy.delete(block)
    next()
  })
}
for (let depth = 0; depth < 16; depth++) next()
