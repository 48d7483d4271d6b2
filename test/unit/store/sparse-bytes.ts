/** Bytes at any offset, zeros where nothing was written. Pages are never changed in place, so that a copy costs little. */
const pageBytes = 4096
const zeroPage = Buffer.alloc(pageBytes)

export class SparseBytes {
  readonly #pages: Map<number, Uint8Array>
  sizeBytes: number

  constructor(of?: SparseBytes) {
    this.#pages = new Map(of === undefined ? [] : of.#pages)
    this.sizeBytes = of?.sizeBytes ?? 0
  }

  write(bytes: Uint8Array, offsetBytes: number): void {
    for (let at = 0; at < bytes.length; ) {
      const number = Math.floor((offsetBytes + at) / pageBytes)
      const inPage = (offsetBytes + at) % pageBytes
      const length = Math.min(pageBytes - inPage, bytes.length - at)
      this.#put(number, inPage, bytes.subarray(at, at + length))
      at += length
    }
    this.sizeBytes = Math.max(this.sizeBytes, offsetBytes + bytes.length)
  }

  /** @returns the bytes there were before the end */
  read(into: Uint8Array, offsetBytes: number): number {
    const got = Math.max(0, Math.min(into.length, this.sizeBytes - offsetBytes))
    for (let at = 0; at < got; ) {
      const page = this.#pages.get(Math.floor((offsetBytes + at) / pageBytes))
      const inPage = (offsetBytes + at) % pageBytes
      const length = Math.min(pageBytes - inPage, got - at)
      if (page === undefined) into.fill(0, at, at + length)
      else into.set(page.subarray(inPage, inPage + length), at)
      at += length
    }
    return got
  }

  #put(number: number, inPage: number, bytes: Uint8Array): void {
    const before = this.#pages.get(number)
    const isWhole = bytes.length === pageBytes
    if ((isWhole || before === undefined) && zeroPage.compare(bytes, 0, bytes.length, 0, bytes.length) === 0) {
      if (before !== undefined) this.#pages.delete(number)
      return
    }
    const page = isWhole || before === undefined ? new Uint8Array(pageBytes) : before.slice()
    page.set(bytes, inPage)
    this.#pages.set(number, page)
  }
}
