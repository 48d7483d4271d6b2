/**
 * Option haggling ("Fixed newstyle negotiation"): from the client's flags to the choice of an export. Pure.
 *
 *   flags ──► options ──► chosen          (EXPORT_NAME, GO)
 *     │          ├──────► goodbye         (ABORT, an option too large to read)
 *     └──────────┴──────► refused         (no answer is possible: the connection is closed)
 */
import { never } from '../../kit/failure.ts'
import { limits } from '../../limits.ts'
import type { BlockDevice, BlockDevices } from '../../volume/block-device.ts'
import type { ByteQueue } from './bytes.ts'
import {
  decodeInfoQuestion,
  decodeText,
  encodeExportAnswer,
  encodeInfoBlockSize,
  encodeInfoExport,
  encodeInfoText,
  encodeOptionReply,
  encodeServer,
  encodeText,
  handshakeFlag,
  information,
  option,
  optionMagic,
  optionReply,
  transmissionFlag,
  wireBytes,
} from './codec.ts'
import type { Replies } from './replies.ts'

export type Haggled =
  /** A message was handled; there may be another. */
  | { readonly kind: 'again' }
  /** More bytes are needed. */
  | { readonly kind: 'hungry' }
  /** Transmission begins. */
  | { readonly kind: 'chosen'; readonly device: BlockDevice; readonly structured: boolean }
  /** What was said is still to be sent, then the connection ends. */
  | { readonly kind: 'goodbye' }
  /** The connection ends at once. */
  | { readonly kind: 'refused' }

const again: Haggled = { kind: 'again' }
const hungry: Haggled = { kind: 'hungry' }
const goodbye: Haggled = { kind: 'goodbye' }
const refused: Haggled = { kind: 'refused' }
const nothing = new Uint8Array(0)

/** The flags that an export shows: of a read-only one, none of what changes it ("Transmission flags", NBD_FLAG_READ_ONLY). */
export function exportFlags(structured: boolean, readOnly: boolean): number {
  const f = transmissionFlag
  const always = f.hasFlags | f.sendFlush | f.canMultiConn
  const kind = readOnly ? f.readOnly : f.sendFua | f.sendTrim | f.sendWriteZeroes
  return always | kind | (structured ? f.sendDontFragment : 0)
}

export class Negotiation {
  readonly #devices: BlockDevices
  readonly #replies: Replies
  #state: 'flags' | 'option-header' | 'option-data' = 'flags'
  #fixedNewstyle = false
  #padded = true
  #structured = false
  #option = 0
  #optionBytes = 0

  constructor(devices: BlockDevices, replies: Replies) {
    this.#devices = devices
    this.#replies = replies
  }

  /** Takes the next message of the queue, if it is there. */
  step(queue: ByteQueue): Haggled {
    switch (this.#state) {
      case 'flags':
        return queue.fixed(wireBytes.clientFlags) ? this.#flags(queue.view.getUint32(queue.at)) : hungry
      case 'option-header':
        return queue.fixed(wireBytes.optionHeader) ? this.#header(queue.view, queue.at) : hungry
      case 'option-data': {
        const data = queue.whole(this.#optionBytes)
        if (data === null) return hungry
        this.#state = 'option-header'
        return this.#handle(data)
      }
      default:
        return never(this.#state, 'Negotiation.step')
    }
  }

  #flags(flags: number): Haggled {
    const known = handshakeFlag.fixedNewstyle | handshakeFlag.noZeroes
    if ((flags & ~known) !== 0) return refused
    this.#fixedNewstyle = (flags & handshakeFlag.fixedNewstyle) !== 0
    this.#padded = (flags & handshakeFlag.noZeroes) === 0
    this.#state = 'option-header'
    return again
  }

  #header(view: DataView, at: number): Haggled {
    if (view.getUint32(at) !== optionMagic.high || view.getUint32(at + 4) !== optionMagic.low) {
      return refused
    }
    this.#option = view.getUint32(at + 8)
    this.#optionBytes = view.getUint32(at + 12)
    // "Newstyle negotiation": without the fixed flag there is one option, and no way to answer others.
    if (!this.#fixedNewstyle && this.#option !== option.exportName) {
      return refused
    }
    if (this.#option === option.exportName && this.#optionBytes > wireBytes.string) {
      return refused
    }
    if (this.#optionBytes > limits.optionBytes) {
      this.#reply(optionReply.tooBig, encodeText(`at most ${limits.optionBytes} bytes of option data are read`))
      return goodbye
    }
    this.#state = 'option-data'
    return again
  }

  #handle(data: Uint8Array): Haggled {
    switch (this.#option) {
      case option.exportName:
        return this.#exportName(data)
      case option.abort:
        this.#reply(optionReply.ack)
        return goodbye
      case option.list:
        this.#list(data)
        return again
      case option.startTls:
        this.#reply(optionReply.policy, encodeText('this server offers no TLS here'))
        return again
      case option.info:
      case option.go:
        return this.#info(data)
      case option.structuredReply:
        if (data.length > 0) this.#reply(optionReply.invalid, encodeText('this option takes no data'))
        else {
          this.#structured = true
          this.#reply(optionReply.ack)
        }
        return again
      default: // a number from the wire, so any other value is the client's, not a forgotten case
        this.#reply(optionReply.unsupported)
        return again
    }
  }

  #exportName(data: Uint8Array): Haggled {
    const device = this.#find(decodeText(data))
    if (device === undefined) return refused
    this.#replies.raw(encodeExportAnswer(device.sizeBytes, this.#flagsOf(device), this.#padded))
    return { kind: 'chosen', device, structured: this.#structured }
  }

  #list(data: Uint8Array): void {
    if (data.length > 0) {
      this.#reply(optionReply.invalid, encodeText('this option takes no data'))
      return
    }
    for (const device of this.#devices.list()) this.#reply(optionReply.server, encodeServer(device.name))
    this.#reply(optionReply.ack)
  }

  #info(data: Uint8Array): Haggled {
    const question = decodeInfoQuestion(data)
    if (question === null) {
      this.#reply(optionReply.invalid, encodeText('the lengths in this option do not agree'))
      return again
    }
    const device = this.#find(question.name)
    if (device === undefined) {
      this.#reply(optionReply.unknown, encodeText('no volume of that name is offered here'))
      return again
    }
    this.#reply(optionReply.info, encodeInfoExport(device.sizeBytes, this.#flagsOf(device)))
    if (question.wanted.includes(information.name)) {
      this.#reply(optionReply.info, encodeInfoText(information.name, device.name))
    }
    if (question.wanted.includes(information.description)) {
      const kind = device.readOnly ? 'snapshot' : 'volume'
      this.#reply(optionReply.info, encodeInfoText(information.description, `Mirrorbay ${kind} ${device.name}`))
    }
    if (question.wanted.includes(information.blockSize)) {
      const sizes = { minimumBytes: 1, preferredBytes: limits.blockBytes, maximumBytes: limits.requestBytes }
      this.#reply(optionReply.info, encodeInfoBlockSize(sizes))
    }
    this.#reply(optionReply.ack)
    return this.#option === option.go ? { kind: 'chosen', device, structured: this.#structured } : again
  }

  /** The empty name is the default export: the only volume, if there is exactly one, whatever snapshots it has. */
  #find(name: string | null): BlockDevice | undefined {
    if (name === null) return undefined
    if (name !== '') return this.#devices.find(name)
    const volumes = this.#devices.list().filter(({ readOnly }) => !readOnly)
    return volumes.length === 1 ? volumes[0] : undefined
  }

  #flagsOf(device: BlockDevice): number {
    return exportFlags(this.#structured, device.readOnly)
  }

  #reply(type: number, data: Uint8Array = nothing): void {
    this.#replies.raw(encodeOptionReply(this.#option, type, data))
  }
}
