/**
 * Reads server-sent events (WHATWG HTML, section 9.2) from chunks of bytes. Knows what our server sends: fields
 * `event`, `data` and `id`, lines ended by LF or CRLF; a message ends with an empty line. Bounded.
 */
import { UserError } from '../kit/failure.ts'
import { limits } from '../limits.ts'

export interface SseMessage {
  readonly event: string
  readonly data: string
}

export class SseParser {
  readonly #decoder = new TextDecoder()
  readonly #limit: number
  #text = ''
  #event = ''
  #data: string[] = []
  #size = 0

  constructor(limitBytes: number = limits.apiMessageBytes) {
    this.#limit = limitBytes
  }

  /**
   * @returns the messages that this chunk completes, in order
   * @throws UserError `bad-answer` when a message grows beyond the limit
   */
  push(chunk: Uint8Array): SseMessage[] {
    this.#text += this.#decoder.decode(chunk, { stream: true })
    const messages: SseMessage[] = []
    for (let end = this.#text.indexOf('\n'); end >= 0; end = this.#text.indexOf('\n')) {
      const line = this.#text.slice(0, end)
      this.#text = this.#text.slice(end + 1)
      const message = this.#line(line.endsWith('\r') ? line.slice(0, -1) : line)
      if (message !== null) messages.push(message)
    }
    if (this.#text.length + this.#size > this.#limit) throw badAnswer('a message is too large')
    return messages
  }

  #line(line: string): SseMessage | null {
    if (line === '') {
      const message = { event: this.#event === '' ? 'message' : this.#event, data: this.#data.join('\n') }
      const complete = this.#data.length > 0
      this.#event = ''
      this.#data = []
      this.#size = 0
      return complete ? message : null
    }
    const colon = line.indexOf(':')
    const field = colon < 0 ? line : line.slice(0, colon)
    const value = colon < 0 ? '' : line.slice(colon + 1).replace(/^ /, '')
    this.#size += line.length
    if (field === 'event') this.#event = value
    else if (field === 'data') this.#data.push(value)
    return null
  }
}

/** The other end does not speak our language: another program on that port, or another version. */
export const badAnswer = (detail: string): UserError =>
  new UserError({
    code: 'bad-answer',
    happened: `The answer was not understood: ${detail}.`,
    dataIsSafe: 'This says nothing about your data.',
    next: 'Check that this program and the Mirrorbay it asks are of the same version.',
  })
