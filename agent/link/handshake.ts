/**
 * Who is at the other end (PROTOCOL.md, "Handshake"): both ends prove that they know the secret without sending it.
 * Pure: bytes in, bytes and an outcome out; the keyed hash, its comparison and the nonce are handed in.
 *
 *   dialer                              accepter
 *     hello ------------------------------->        who I am, my nonce
 *     <------------------------------- hello        who I am, my nonce
 *     proof ------------------------------->        HMAC over both hellos: the dialer proves first, so that a port
 *     <----------------------------- welcome        scanner never gets anything computed from the secret
 *     (frames)                      (frames)
 *
 * Either end may answer `refused` with a reason instead, and then closes.
 */
import { isIdText, type ServerId, serverId } from '../kit/ids.ts'
import { limits } from '../limits.ts'
import { protocolVersion } from './codec.ts'

export type Role = 'storage' | 'tiebreaker'

/** What a server tells about itself. */
export interface Identity {
  readonly id: ServerId
  readonly name: string
  readonly role: Role
  /** Durable number of this life of the agent, 1 or more. */
  readonly run: number
  /** Random, of this life: two servers that tell the same id and run but another instance are a cloned folder. */
  readonly instance: string
}

/** Why a connection is not made. The words stand in logs of both ends; PROTOCOL.md explains each. */
export const refusals = [
  'not-this-protocol',
  'other-version',
  'malformed',
  'too-slow',
  'wrong-secret',
  'connected-to-itself',
  'unknown-name',
  'other-name',
  'other-role',
  'other-id',
  'duplicate-id',
  'older-run',
  'already-connected',
  'impossible-position',
  'closed',
] as const
export type Refusal = (typeof refusals)[number]

export interface HandshakeCrypto {
  /** HMAC-SHA-256. */
  hmac(secret: string, parts: readonly Uint8Array[]): Uint8Array
  /** Takes the same time wherever two arrays of one length differ. */
  equal(one: Uint8Array, other: Uint8Array): boolean
}

/** What the handshake asks of its owner. */
export interface HandshakeOwner {
  /** Before anything is proved: may this be our peer at all? `hush` says nothing and waits (a cut cable). */
  expects(told: Identity): Refusal | 'hush' | undefined
  /** Once proved, before the accepter welcomes and before the dialer is content. */
  admits(told: Identity): Refusal | undefined
  /** The last number received from this run of that server; 0 when none. */
  lastReceived(told: Identity): number
}

export type Outcome =
  | { readonly state: 'going' }
  | { readonly state: 'hush' }
  | { readonly state: 'refused'; readonly reason: Refusal; readonly byPeer: boolean }
  | { readonly state: 'done'; readonly peer: Identity; readonly peerReceived: number; readonly rest: Buffer }

/** What receive() answers: the bytes to send first, then where the handshake stands. */
export interface Step {
  readonly output: Uint8Array | undefined
  readonly outcome: Outcome
}

const magic = Buffer.from('MBLK', 'latin1')
const prefixBytes = 8
const messageType = { hello: 1, proof: 2, welcome: 3, refused: 4 } as const
const going: Outcome = { state: 'going' }
const nameText = /^[a-z0-9][a-z0-9._-]{0,62}$/
const nonceText = /^[0-9a-f]{64}$/
const proofText = /^[0-9a-f]{64}$/

function encode(type: number, body: Readonly<Record<string, unknown>>): Buffer {
  const json = Buffer.from(JSON.stringify(body), 'utf8')
  const prefix = Buffer.alloc(prefixBytes)
  magic.copy(prefix)
  prefix[4] = protocolVersion
  prefix[5] = type
  prefix.writeUInt16BE(json.length, 6)
  return Buffer.concat([prefix, json])
}

export const refusedMessage = (reason: Refusal): Uint8Array => encode(messageType.refused, { reason })

interface Received {
  readonly type: number
  readonly bytes: Buffer
  readonly body: Readonly<Record<string, unknown>>
}

export class Handshake {
  readonly #side: 'dialer' | 'accepter'
  readonly #secret: string
  readonly #crypto: HandshakeCrypto
  readonly #owner: HandshakeOwner
  readonly #ownHello: Buffer
  readonly #ownId: ServerId
  #awaits: 'hello' | 'proof' | 'welcome' | 'nothing' = 'hello'
  #buffer: Buffer = Buffer.alloc(0)
  #peer: Identity | undefined
  #peerHello: Buffer = Buffer.alloc(0)

  /** @param options.nonce 64 lower-case hex digits that were never used before and cannot be foreseen */
  constructor(options: {
    side: 'dialer' | 'accepter'
    self: Identity
    secret: string
    nonce: string
    crypto: HandshakeCrypto
    owner: HandshakeOwner
  }) {
    this.#side = options.side
    this.#secret = options.secret
    this.#crypto = options.crypto
    this.#owner = options.owner
    this.#ownId = options.self.id
    const { id, name, role, run, instance } = options.self
    this.#ownHello = encode(messageType.hello, { id, name, role, run, instance, nonce: options.nonce })
  }

  /** The dialer's first bytes; the accepter waits. */
  start(): Uint8Array | undefined {
    return this.#side === 'dialer' ? this.#ownHello : undefined
  }

  /** Takes received bytes. After an outcome other than `going` it must not be called again. */
  receive(chunk: Buffer): Step {
    this.#buffer = this.#buffer.length === 0 ? chunk : Buffer.concat([this.#buffer, chunk])
    let output: Uint8Array | undefined
    for (;;) {
      const message = this.#next()
      if (message === undefined) return { output, outcome: going }
      const step = typeof message === 'string' ? this.#refuse(message) : this.#take(message)
      output = joined(output, step.output)
      if (step.outcome.state !== 'going') return { output, outcome: step.outcome }
    }
  }

  /** @returns the next whole message, undefined when it is not complete, or why it is refused */
  #next(): Received | undefined | Refusal {
    const buffer = this.#buffer
    const known = Math.min(buffer.length, magic.length)
    if (buffer.compare(magic, 0, known, 0, known) !== 0) return 'not-this-protocol'
    if (buffer.length < prefixBytes) return undefined
    if (buffer[4] !== protocolVersion) return 'other-version'
    const end = prefixBytes + buffer.readUInt16BE(6)
    if (end > limits.linkHandshakeBytes) return 'malformed'
    if (buffer.length < end) return undefined
    this.#buffer = buffer.subarray(end)
    const body = recordFrom(buffer.toString('utf8', prefixBytes, end))
    return body ? { type: buffer[5] ?? 0, bytes: Buffer.from(buffer.subarray(0, end)), body } : 'malformed'
  }

  #take(message: Received): Step {
    if (message.type === messageType.refused) {
      const told = refusals.find((each) => each === message.body.reason)
      return end({ state: 'refused', reason: told ?? 'malformed', byPeer: true })
    }
    if (message.type === messageType.hello && this.#awaits === 'hello') return this.#hello(message)
    const final = this.#side === 'dialer' ? messageType.welcome : messageType.proof
    if (message.type === final && this.#peer && this.#awaits !== 'hello') return this.#final(message, this.#peer)
    return this.#refuse('malformed')
  }

  #hello(message: Received): Step {
    const told = identityFrom(message.body)
    if (told === undefined) return this.#refuse('malformed')
    if (told.id === this.#ownId) return this.#refuse('connected-to-itself')
    const refusal = this.#owner.expects(told)
    if (refusal === 'hush') return end({ state: 'hush' })
    if (refusal) return this.#refuse(refusal)
    this.#peer = told
    this.#peerHello = message.bytes
    if (this.#side === 'accepter') {
      this.#awaits = 'proof'
      return { output: this.#ownHello, outcome: going }
    }
    this.#awaits = 'welcome'
    return { output: this.#proof(messageType.proof, told), outcome: going }
  }

  #final(message: Received, peer: Identity): Step {
    const { received, proof } = message.body
    if (!isCount(received) || typeof proof !== 'string' || !proofText.test(proof)) return this.#refuse('malformed')
    const theirs = this.#side === 'dialer' ? 'accepter' : 'dialer'
    if (!this.#crypto.equal(Buffer.from(proof, 'hex'), this.#hmac(theirs, received)))
      return this.#refuse('wrong-secret')
    const refusal = this.#owner.admits(peer)
    if (refusal) return this.#refuse(refusal)
    const output = this.#side === 'accepter' ? this.#proof(messageType.welcome, peer) : undefined
    this.#awaits = 'nothing'
    return { output, outcome: { state: 'done', peer, peerReceived: received, rest: this.#buffer } }
  }

  #proof(type: number, peer: Identity): Buffer {
    const received = this.#owner.lastReceived(peer)
    return encode(type, { received, proof: Buffer.from(this.#hmac(this.#side, received)).toString('hex') })
  }

  /**
   * Bound in: which end speaks (a proof sent back proves nothing), version, both identities, both runs and both nonces
   * (the hellos as they were sent: a recorded proof is worthless), and the position in the stream.
   */
  #hmac(side: 'dialer' | 'accepter', received: number): Uint8Array {
    const label = Buffer.from(`mirrorbay link ${protocolVersion} ${side} ${received}\n`, 'latin1')
    const hellos = this.#side === 'dialer' ? [this.#ownHello, this.#peerHello] : [this.#peerHello, this.#ownHello]
    return this.#crypto.hmac(this.#secret, [label, ...hellos])
  }

  #refuse(reason: Refusal): Step {
    this.#awaits = 'nothing'
    // Who does not even speak this protocol is not answered.
    const output = reason === 'not-this-protocol' ? undefined : refusedMessage(reason)
    return { output, outcome: { state: 'refused', reason, byPeer: false } }
  }
}

const end = (outcome: Outcome): Step => ({ output: undefined, outcome })

function joined(one: Uint8Array | undefined, other: Uint8Array | undefined): Uint8Array | undefined {
  return one && other ? Buffer.concat([one, other]) : (one ?? other)
}

const isCount = (value: unknown): value is number =>
  Number.isInteger(value) && Number(value) >= 0 && Number(value) < 2 ** 48

function recordFrom(json: string): Readonly<Record<string, unknown>> | undefined {
  try {
    const value: unknown = JSON.parse(json)
    if (typeof value !== 'object' || value === null || Array.isArray(value)) return undefined
    return { ...value }
  } catch {
    return undefined
  }
}

function identityFrom(body: Readonly<Record<string, unknown>>): Identity | undefined {
  const { id, name, role, run, instance, nonce } = body
  if (!isIdText(id) || !isIdText(instance) || typeof name !== 'string' || !nameText.test(name)) return undefined
  if (role !== 'storage' && role !== 'tiebreaker') return undefined
  if (!isCount(run) || run === 0 || typeof nonce !== 'string' || !nonceText.test(nonce)) return undefined
  return { id: serverId(id), name, role, run, instance }
}
