/** The open data files of a store, by number. */
import { invariant } from '../kit/failure.ts'
import type { BlockFile, Files } from './files.ts'
import { dataFilePath, encodeFileHeader, fileHeaderBytes, isFileHeader } from './format.ts'
import { type Steps, wait } from './steps.ts'
import { damaged } from './trouble.ts'

export class DataFiles {
  readonly #files: Files
  readonly #storeId: string
  readonly #open = new Map<number, BlockFile>()

  constructor(files: Files, storeId: string) {
    this.#files = files
    this.#storeId = storeId
  }

  /** The file must have been opened or made before. */
  get(number: number): BlockFile {
    const file = this.#open.get(number)
    invariant(file !== undefined, 'S1', `data file ${number} is not open`)
    return file
  }

  has(number: number): boolean {
    return this.#open.has(number)
  }

  numbers(): IterableIterator<number> {
    return this.#open.keys()
  }

  /** Opens a file that must be there. @throws UserError when it is missing or is not this store's. */
  *openExisting(number: number): Steps<void> {
    const path = dataFilePath(number)
    const file = yield* wait<BlockFile>((done) => this.#files.open(path, false, done))
    const header = Buffer.alloc(fileHeaderBytes)
    const got = yield* wait<number>((done) => file.read(header, 0, fileHeaderBytes, 0, done))
    if (got !== fileHeaderBytes || !isFileHeader(header, this.#storeId, number)) {
      yield* wait((done) => file.close(done))
      throw damaged(path, 'it is not a data file of this store')
    }
    this.#open.set(number, file)
  }

  /** Makes a new data file, durable, name and all, before any slot in it is handed out. */
  *make(number: number): Steps<void> {
    const file = yield* wait<BlockFile>((done) => this.#files.open(dataFilePath(number), true, done))
    const header = encodeFileHeader(this.#storeId, number)
    yield* wait((done) => file.write([header], header.length, 0, true, done))
    yield* wait((done) => file.sync(done))
    yield* wait((done) => this.#files.syncFolder('data', done))
    this.#open.set(number, file)
  }

  *closeAll(): Steps<void> {
    for (const file of this.#open.values()) yield* wait((done) => file.close(done))
    this.#open.clear()
  }
}
