/** Opening one storage folder beside the main one: only what belongs there is opened, and an empty mount point never is. */
import { realpath } from 'node:fs/promises'
import { UserError } from '../kit/failure.ts'
import type { ServerId } from '../kit/ids.ts'
import type { Clock, Log } from '../kit/world.ts'
import type { StoreFaults } from '../store/faults.ts'
import { openStore } from '../store/open-store.ts'
import { peekStore } from '../store/peek.ts'
import type { Store } from '../store/replica.ts'
import { anotherStore, notThere } from '../store/trouble.ts'
import type { FolderState } from '../volume/folders.ts'
import { describeFound, foundWords, isBlank } from './found.ts'
import { put, serverIn } from './identity.ts'
import { refusals } from './refusals.ts'

export interface Opening {
  readonly path: string
  /** The store that was there before, as main remembers it; undefined for a folder that this server never used. */
  readonly expectedId: string | undefined
  /** This server: a folder of another one is left alone. */
  readonly self: ServerId
  readonly clock: Clock
  readonly log: Log
  readonly faults: StoreFaults | undefined
  /** Takes a store's id for this folder. @returns the folder that has it already, or null when it was free */
  claim(storeId: string): string | null
}

/** @throws UserError when it is not there, or not this server's; then nothing in it was changed */
export async function openFolder(opening: Opening): Promise<Store> {
  const { path, expectedId, self, clock, log, faults } = opening
  const peeked = await peekStore(path)
  if (peeked.kind === 'absent') throw absent(path)
  if (peeked.kind === 'empty' && expectedId !== undefined) throw notThere()
  if (peeked.kind === 'store') {
    const { storeId } = peeked.store
    const other = opening.claim(storeId)
    if (other !== null) throw refusals.clone(other)
    if (expectedId !== undefined && storeId !== expectedId) throw anotherStore()
    const found = describeFound(peeked.store)
    const isOurs = found.kind !== 'main' && (found.serverId === self || isBlank(found))
    if (!isOurs) throw refusals.elsewhere(foundWords(found, clock.wallMs()))
  }
  // Between the look and now its disk may have gone: then another folder stands there, and must not be made a store.
  const expected = peeked.kind === 'store' ? { expectedId: peeked.store.storeId } : {}
  const store = await openStore({ dir: await realpath(path), clock, log, ...expected, ...(faults ? { faults } : {}) })
  if (peeked.kind === 'empty') opening.claim(store.storeId)
  try {
    if (serverIn(store.records.get('owner')) !== self) await put(store.records, 'owner', { serverId: self })
  } catch (error) {
    await closeStore(store).catch((failure: unknown) => log.warn({ path, failure: String(failure) }, 'did not close'))
    throw error
  }
  return store
}

const absent = (path: string): UserError =>
  new UserError({
    code: 'store-missing',
    happened: `There is no folder ${path}.`,
    dataIsSafe: 'Nothing was changed.',
    next: 'Mount the disk that belongs there.',
  })

export const closeStore = (store: Store): Promise<void> =>
  new Promise((resolve, reject) => {
    store.close((failure) => (failure === null ? resolve() : reject(new Error(`the store did not close: ${failure}`))))
  })

const states: Readonly<Record<string, Exclude<FolderState, 'ok'>>> = {
  'store-missing': 'missing',
  'store-not-a-folder': 'missing',
  'store-in-use': 'in-use',
  'store-other': 'foreign',
  'folder-clone': 'foreign',
  'folder-of-another-server': 'foreign',
  'store-damaged': 'damaged',
  'store-garbage': 'damaged',
  'store-version': 'damaged',
}

/** @returns what people are told of a folder that could not be opened */
export function stateOfRefusal(error: unknown): [state: Exclude<FolderState, 'ok'>, why: string] {
  if (error instanceof UserError) return [states[error.code] ?? 'failed', error.message]
  return ['failed', error instanceof Error ? error.message : String(error)]
}
