/** Bytes of a simulated file, in pages; and zeros that are known to be zeros, so that many of them cost nothing. */

const pageBytes = 4096
/** The largest single write of zeros is a slot; a simulated cluster writes many of them. */
export const zeros = Buffer.alloc(256 * 1024)

/** Bytes at any offset, zeros where nothing was written. */
export class Image {
  readonly #pages = new Map<number, Uint8Array>()
  /** No page at this number or above: most zeros are written to slots that nobody has used yet. */
  #endPage = 0
  sizeBytes = 0

  write(bytes: Uint8Array, offsetBytes: number): void {
    let at = bytes.buffer === zeros.buffer && offsetBytes >= this.#endPage * pageBytes ? bytes.length : 0
    while (at < bytes.length) {
      const number = Math.floor((offsetBytes + at) / pageBytes)
      const inPage = (offsetBytes + at) % pageBytes
      const length = Math.min(pageBytes - inPage, bytes.length - at)
      let page = this.#pages.get(number)
      if (page === undefined && bytes.buffer === zeros.buffer) {
        at += length
        continue
      }
      if (page === undefined) {
        page = new Uint8Array(pageBytes)
        this.#pages.set(number, page)
        this.#endPage = Math.max(this.#endPage, number + 1)
      }
      page.set(bytes.subarray(at, at + length), inPage)
      at += length
    }
    this.sizeBytes = Math.max(this.sizeBytes, offsetBytes + bytes.length)
  }

  get usedBytes(): number {
    return this.#pages.size * pageBytes
  }

  /** @returns the bytes there were before the end */
  read(into: Uint8Array, offsetBytes: number): number {
    const got = Math.max(0, Math.min(into.length, this.sizeBytes - offsetBytes))
    let at = 0
    while (at < got) {
      const page = this.#pages.get(Math.floor((offsetBytes + at) / pageBytes))
      const inPage = (offsetBytes + at) % pageBytes
      const length = Math.min(pageBytes - inPage, got - at)
      if (page) into.set(page.subarray(inPage, inPage + length), at)
      else into.fill(0, at, at + length)
      at += length
    }
    return got
  }

  /** Flips the first bit of every page that begins with these bytes. */
  rot(bytes: Uint8Array): number {
    let found = 0
    for (const page of this.#pages.values()) {
      if (Buffer.compare(page.subarray(0, bytes.length), bytes) !== 0) continue
      page[0] = (page[0] ?? 0) ^ 1
      found += 1
    }
    return found
  }

  /** Where pages that hold something begin. */
  *pagesAt(): IterableIterator<number> {
    for (const number of this.#pages.keys()) yield number * pageBytes
  }

  /** @returns whether something was stored there */
  flipBit(offsetBytes: number, bit: number): boolean {
    const page = this.#pages.get(Math.floor(offsetBytes / pageBytes))
    const at = offsetBytes % pageBytes
    if (page !== undefined) page[at] = (page[at] ?? 0) ^ (1 << bit)
    return page !== undefined
  }

  copy(): Image {
    const copy = new Image()
    for (const [number, page] of this.#pages) copy.#pages.set(number, page.slice())
    copy.#endPage = this.#endPage
    copy.sizeBytes = this.sizeBytes
    return copy
  }
}
