/** Opens the real store: node:fs, SQLite in a thread, the machine's boot id. */
import crypto from 'node:crypto'
import fs from 'node:fs/promises'
import { UserError } from '../kit/failure.ts'
import type { Clock, Log } from '../kit/world.ts'
import { openCore } from './core.ts'
import { type StoreFaults, withFaults } from './faults.ts'
import { NodeFiles } from './node-files.ts'
import type { Store } from './replica.ts'
import { SqliteOpener } from './sqlite-index.ts'

export interface OpenOptions {
  /** The storage folder; must be there. Other files in it (config.json, lost+found) are left alone. */
  readonly dir: string
  readonly clock: Clock
  readonly log: Log
  /** The store that must be there (CoreOptions); without it a folder that is no store is made one. */
  readonly expectedId?: string
  /** A switchboard of disk faults, for tests and drills; none by default. */
  readonly faults?: StoreFaults
  /** Where the threads' code is; a bundle says so itself. */
  readonly threadFile?: URL
  readonly writesThreadFile?: URL
}

/**
 * Opens the folder as a store, or makes it one; takes its lock (E12).
 * @throws UserError codes: store-in-use, store-index-in-use, store-version, store-garbage, store-damaged, store-missing, store-other,
 * store-not-a-folder, store-no-permission, store-read-only, store-full, store-disk-error, store-runtime
 */
export async function openStore(options: OpenOptions): Promise<Store> {
  if (Number(process.versions.napi ?? 0) < 10) {
    // better-sqlite3 13 would crash the whole process.
    throw new UserError({
      code: 'store-runtime',
      happened: `This Node.js (${process.version}) is too old for the store.`,
      dataIsSafe: 'Nothing in the folder was touched.',
      next: 'Start Mirrorbay through its own launcher, or with Node.js 24.',
    })
  }
  const plain = new NodeFiles(
    options.dir,
    options.writesThreadFile ?? new URL('./small-writes-thread.ts', import.meta.url),
  )
  const files = options.faults ? withFaults(plain, options.faults, options.clock) : plain
  const bootId = await readBootId()
  const opener = new SqliteOpener(options.dir, options.threadFile ?? new URL('./index-thread.ts', import.meta.url))
  const random = { id: () => crypto.randomBytes(16).toString('hex'), unit: Math.random }
  return new Promise((resolve, reject) => {
    const { clock, log, expectedId } = options
    const expected = expectedId === undefined ? {} : { expectedId }
    openCore({ files, opener, clock, random, log, bootId, ...expected }, (error, store) => {
      if (!store) return reject(error)
      options.faults?.changed.push(() => store.measureSpace())
      resolve(store)
    })
  })
}

/** Linux tells one number for each start of the machine; elsewhere it is unknown, and an unclean end counts as lossy. */
async function readBootId(): Promise<string | null> {
  try {
    return (await fs.readFile('/proc/sys/kernel/random/boot_id', 'utf8')).trim()
  } catch {
    return null
  }
}
