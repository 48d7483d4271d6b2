/**
 * A block device in memory, for the tests of frontends only: it answers in the next turn of the event loop, and can be
 * told to hold its answers back or to fail.
 */
import type {
  BlockClient,
  BlockDevice,
  BlockDevices,
  BlockFailure,
  ClientDescription,
  CompareDone,
  Done,
  ReadDone,
} from '../../agent/volume/block-device.ts'

/** One request as the device saw it, for tests that look at what a frontend asked. */
export interface SeenRequest {
  readonly kind: 'read' | 'write' | 'compare' | 'zeroes' | 'trim' | 'flush'
  readonly offsetBytes: number
  readonly lengthBytes: number
  readonly fua: boolean
  readonly mayUnmap: boolean
}

interface Waiting {
  readonly client: MemoryClient
  readonly answer: () => void
}

export class MemoryDevice implements BlockDevice {
  readonly name: string
  bytes: Buffer
  readonly readOnly: boolean
  /** Clients that are attached now. */
  readonly attached = new Set<MemoryClient>()
  /** Filled only when `recording`. */
  readonly seen: SeenRequest[] = []
  recording = false
  /** What the next requests, in order, fail with. */
  readonly failures: BlockFailure[] = []
  readonly #nextTurn: (fire: () => void) => void
  #holding = false
  #waiting: Waiting[] = []
  #armed = false

  /** @param nextTurn how answers are put off; setImmediate, or a simulated clock's */
  constructor(options: { name: string; sizeBytes: number; nextTurn: (fire: () => void) => void; readOnly?: boolean }) {
    this.readOnly = options.readOnly ?? false
    this.name = options.name
    this.bytes = Buffer.alloc(options.sizeBytes)
    this.#nextTurn = options.nextTurn
  }

  attach(description: ClientDescription, gone: () => void): BlockClient {
    const client = new MemoryClient(this, description, gone)
    this.attached.add(client)
    return client
  }

  get sizeBytes(): number {
    return this.bytes.length
  }

  grow(sizeBytes: number): void {
    this.bytes = Buffer.concat([this.bytes], sizeBytes)
  }

  /** It is deleted: nobody gets an answer any more. */
  cease(): void {
    for (const client of [...this.attached]) client.gone()
  }

  /** Requests that wait for their answer. */
  get waiting(): number {
    return this.#waiting.length
  }

  /** From now on nothing is answered (nor written) until `release`. */
  hold(): void {
    this.#holding = true
  }

  release(): void {
    this.#holding = false
    this.#arm()
  }

  begin(client: MemoryClient, request: SeenRequest, answer: () => void): void {
    if (this.recording) this.seen.push(request)
    this.#waiting.push({ client, answer })
    if (!this.#holding) this.#arm()
  }

  forget(client: MemoryClient): void {
    this.attached.delete(client)
    this.#waiting = this.#waiting.filter((one) => one.client !== client)
  }

  #arm(): void {
    if (this.#armed) return
    this.#armed = true
    this.#nextTurn(() => {
      this.#armed = false
      if (this.#holding) return
      const due = this.#waiting
      this.#waiting = []
      for (const { client, answer } of due) if (this.attached.has(client)) answer()
    })
  }
}

class MemoryClient implements BlockClient {
  readonly description: ClientDescription
  readonly gone: () => void
  readonly #device: MemoryDevice

  constructor(device: MemoryDevice, description: ClientDescription, gone: () => void) {
    this.gone = gone
    this.#device = device
    this.description = description
  }

  read(offsetBytes: number, lengthBytes: number, done: ReadDone): void {
    const device = this.#device
    device.begin(this, { kind: 'read', offsetBytes, lengthBytes, fua: false, mayUnmap: false }, () => {
      const failure = device.failures.shift() ?? null
      const copy = () => Buffer.from(device.bytes.subarray(offsetBytes, offsetBytes + lengthBytes))
      done(failure, failure === null ? [copy()] : [])
    })
  }

  write(offsetBytes: number, chunks: readonly Uint8Array[], lengthBytes: number, fua: boolean, done: Done): void {
    this.#change({ kind: 'write', offsetBytes, lengthBytes, fua, mayUnmap: false }, done, () => {
      let at = offsetBytes
      for (const chunk of chunks) {
        this.#device.bytes.set(chunk, at)
        at += chunk.length
      }
      if (at !== offsetBytes + lengthBytes) throw new Error('the chunks of a write do not add up to its length')
    })
  }

  compareAndWrite(
    offsetBytes: number,
    expected: Uint8Array,
    replacement: Uint8Array,
    fua: boolean,
    done: CompareDone,
  ): void {
    const { bytes } = this.#device
    let differsAt: number | null = null
    const request = { kind: 'compare', offsetBytes, lengthBytes: replacement.length, fua, mayUnmap: false } as const
    const ended: Done = (failure) => done(failure, failure === null ? differsAt : null)
    this.#change(request, ended, () => {
      const at = expected.findIndex((byte, index) => byte !== bytes[offsetBytes + index])
      differsAt = at < 0 ? null : at
      if (differsAt === null) bytes.set(replacement, offsetBytes)
    })
  }

  writeZeroes(offsetBytes: number, lengthBytes: number, mayUnmap: boolean, fua: boolean, done: Done): void {
    this.#change({ kind: 'zeroes', offsetBytes, lengthBytes, fua, mayUnmap }, done, () => {
      this.#device.bytes.fill(0, offsetBytes, offsetBytes + lengthBytes)
    })
  }

  trim(offsetBytes: number, lengthBytes: number, fua: boolean, done: Done): void {
    this.#change({ kind: 'trim', offsetBytes, lengthBytes, fua, mayUnmap: true }, done, () => {
      this.#device.bytes.fill(0, offsetBytes, offsetBytes + lengthBytes)
    })
  }

  flush(done: Done): void {
    this.#change({ kind: 'flush', offsetBytes: 0, lengthBytes: 0, fua: false, mayUnmap: false }, done, () => undefined)
  }

  detach(): void {
    this.#device.forget(this)
  }

  #change(request: SeenRequest, done: Done, change: () => void): void {
    const { kind, offsetBytes, lengthBytes } = request
    const fits = lengthBytes > 0 && offsetBytes >= 0 && offsetBytes + lengthBytes <= this.#device.sizeBytes
    if (kind !== 'flush' && !fits) throw new Error(`V1: a frontend let a ${kind} out of range through`)
    this.#device.begin(this, request, () => {
      const failure = this.#device.failures.shift() ?? null
      if (failure === null) change()
      done(failure)
    })
  }
}

/** These devices, in this order. */
export const devicesOf = (...devices: readonly BlockDevice[]): BlockDevices => ({
  list: () => devices,
  find: (name) => devices.find((device) => device.name === name),
})
