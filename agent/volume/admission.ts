/**
 * Credit to execute (P7): a volume executes only so many requests and bytes at once; the others wait in the order in which
 * they came. Who waits here holds nothing. The wait is bounded by the frontends' limits per connection.
 */
import { limits } from '../limits.ts'

export class Admission<Request extends { readonly lengthBytes: number }> {
  readonly #enter: (request: Request) => void
  readonly #hasRoom: () => boolean
  readonly #mostBytes: () => number
  readonly #admitted = new Set<Request>()
  #bytes = 0
  #queue: Request[] = []
  #held = false

  /**
   * @param hasRoom another limit of the one who executes; whoever changes it other than by a request's leaving calls `pump`
   * @param mostBytes of all admitted requests; one alone may have more
   */
  constructor(
    enter: (request: Request) => void,
    hasRoom: () => boolean = () => true,
    mostBytes: () => number = () => limits.volumeBytes,
  ) {
    this.#enter = enter
    this.#hasRoom = hasRoom
    this.#mostBytes = mostBytes
  }

  get admitted(): number {
    return this.#admitted.size
  }

  /** Who was admitted and has not left. */
  get inside(): Iterable<Request> {
    return this.#admitted
  }

  /** Forgets who waits, in order, for somebody else to take. */
  takeWaiting(): readonly Request[] {
    const waiting = this.#queue
    this.#queue = []
    return waiting
  }

  admit(request: Request): void {
    if (this.#queue.length === 0 && !this.#held && this.#fits(request)) this.#take(request)
    else this.#queue.push(request)
  }

  leave(request: Request): void {
    this.#admitted.delete(request)
    this.#bytes -= request.lengthBytes
    this.pump()
  }

  /** Forgets waiting requests that nobody wants any more (W9); who was admitted leaves by itself. */
  drop(unwanted: (request: Request) => boolean): void {
    this.#queue = this.#queue.filter((request) => !unwanted(request))
    this.pump()
  }

  /** While held nothing new is admitted. */
  hold(held: boolean): void {
    this.#held = held
    this.pump()
  }

  /** Admits who fits now. */
  pump(): void {
    while (!this.#held) {
      const head = this.#queue[0]
      if (head === undefined || !this.#fits(head)) return
      this.#queue.shift()
      this.#take(head)
    }
  }

  #fits(request: Request): boolean {
    if (!this.#hasRoom()) return false
    if (this.#admitted.size === 0) return true
    return this.#admitted.size < limits.volumeRequests && this.#bytes + request.lengthBytes <= this.#mostBytes()
  }

  #take(request: Request): void {
    this.#admitted.add(request)
    this.#bytes += request.lengthBytes
    this.#enter(request)
  }
}
