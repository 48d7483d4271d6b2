/**
 * Every message between servers. Hot messages have a fixed binary form (PROTOCOL.md), the others are JSON that the
 * receiver parses with the schema of the module that owns them.
 */
import type { ServerId, VolumeId } from '../kit/ids.ts'

/** What a mirrored write does to its range. `zero-keep` writes zeros without giving space back. */
export type WriteKind = 'data' | 'zero' | 'zero-keep' | 'discard'

/**
 * One client's write on its way to another replica. All numbers are integers from 0 to 2^48-1 unless said otherwise.
 */
export interface WriteMessage {
  readonly type: 'write'
  /** First 32 bits of the volume id: which volume on this link. */
  readonly volumeKey: number
  /** E1: the session this belongs to, 48 bits of a hash over configuration id and runs. Another one is refused. */
  readonly session: number
  /** C4, C10: 0 for an in-sync receiver, the attempt's number for a joiner. */
  readonly attempt: number
  /** W8: (link's peer, its run, number) names the write. */
  readonly number: number
  /** C1: every write of this origin with a smaller number is confirmed. */
  readonly lowWater: number
  /** C7: the Lamport time at which it began executing. */
  readonly time: number
  readonly kind: WriteKind
  /** Durable before it is answered (W4). */
  readonly fua: boolean
  readonly offsetBytes: number
  /** 1 .. 2^48-1; for kind `data` at most limits.requestBytes and equal to the sum of the chunks. */
  readonly lengthBytes: number
  /** Empty unless kind is `data`. Never copied together: each is handed to the socket as it is. */
  readonly chunks: readonly Uint8Array[]
}

/** The receiver's answer to writes: all of `numbers` are applied (and durable where `fua` was set). */
export interface WrittenMessage {
  readonly type: 'written'
  readonly volumeKey: number
  readonly session: number
  /** 1 .. 1024 numbers, in any order. */
  readonly numbers: readonly number[]
}

/** Blocks of a resync, a settling or a repair, applied like a write but under the sender's permission (C4). */
export interface CopyMessage {
  readonly type: 'copy'
  readonly volumeKey: number
  readonly session: number
  readonly attempt: number
  /** Answered by a JSON message that names it. */
  readonly request: number
  /** Multiple of 4096. */
  readonly offsetBytes: number
  /** Multiple of 4096, at most limits.copyPieceBytes. */
  readonly lengthBytes: number
  /** True: the range becomes zeros, no chunks follow (holes travel as holes, C4). */
  readonly zero: boolean
  readonly chunks: readonly Uint8Array[]
}

/** What a passed request asks for. */
export type PassKind = WriteKind | 'read' | 'flush' | 'compare'

/** A request of a client whose server is not in sync, passed whole to its host, which executes it as its own (P5, W9). */
export interface PassMessage {
  readonly type: 'pass'
  readonly volumeKey: number
  /** The host's session in which alone it may start (W9). */
  readonly session: number
  /** Numbered by the sender in its run; the answer names it. */
  readonly request: number
  /** The client's connection at the sender, numbered in its run. */
  readonly connection: number
  /** W9: the latest of the receiver's own times that the sender had heard when it sent this, milliseconds; 0 for none. */
  readonly heardMs: number
  readonly kind: PassKind
  readonly fua: boolean
  readonly offsetBytes: number
  /** 0 for a flush; for kind `data` and `read` at most limits.writePartBytes, for `compare` (W6) at most limits.compareBytes, a
   * multiple of 512 like its offset; for the others any length. */
  readonly lengthBytes: number
  /** Empty unless kind is `data` or `compare`: then what is expected, and behind it as many bytes of replacement. */
  readonly chunks: readonly Uint8Array[]
}

/** How a passed request ended. `dropped`: it was not started and will not be; `unknown`: it may or may not be done (W8);
 * `differs`: it compared and wrote nothing; `conflict`: its client has no right to write (W6). */
export type PassOutcome = 'done' | 'io' | 'no-space' | 'dropped' | 'unknown' | 'differs' | 'conflict'

/** The host's answer: each passed request has one. */
export interface PassedMessage {
  readonly type: 'passed'
  readonly volumeKey: number
  /** As it was passed. */
  readonly session: number
  readonly request: number
  /** W9: the sender's own time, milliseconds. */
  readonly sentMs: number
  readonly outcome: PassOutcome
  /** Of a read that is done: its bytes, at most limits.writePartBytes. Of `differs`: where, from the request's offset, the first
   * byte lies that is not as expected. Else 0. */
  readonly lengthBytes: number
  readonly chunks: readonly Uint8Array[]
}

/** Everything else: policing, membership, register, resync control. `kind` is owned by one module, e.g. `police.ask`. */
export interface ControlMessage {
  readonly type: 'control'
  /** 1 .. 40 characters of a-z, '.', '-'. */
  readonly kind: string
  /** A JSON value of at most limits.controlBytes when encoded. Parsed by the owner's schema at the receiving end. */
  readonly body: unknown
}

export type Message = WriteMessage | WrittenMessage | CopyMessage | PassMessage | PassedMessage | ControlMessage

/** The 32-bit number that stands for a volume in hot messages. */
export const volumeKeyOf = (id: VolumeId): number => Number.parseInt(id.slice(0, 8), 16)

/** How the engine sees the other servers. One numbered stream for each pair of runs (E10), whatever connections carry it. */
export interface Links {
  /**
   * Puts a message on the numbered stream: delivered once and in order while both runs live, also over lost connections.
   * Dropped when the peer's run ends. Before the peer's first run is known: dropped (returns false).
   */
  send(peer: ServerId, message: Message): boolean
  /** Outside the stream, now or never: heartbeats, register calls. False when no connection is up. */
  sendNow(peer: ServerId, message: ControlMessage): boolean
  /** The peer's present run, and whether a connection is up now. Undefined before the first handshake of this run. */
  peer(peer: ServerId): { readonly run: number; readonly connected: boolean } | undefined
  /** Bytes handed to `send` that the peer has not acknowledged yet (for flow control). */
  unacknowledgedBytes(peer: ServerId): number
  /** Of all bytes ever handed to `send` for this run of the peer, those that it has acknowledged: they are there. */
  acknowledgedBytes(peer: ServerId): number
}

/** What the links tell the engine. */
export interface LinkEvents {
  /** In stream order (`ordered`) or outside the stream. The message's session is not checked yet. */
  onMessage(from: ServerId, fromRun: number, message: Message, ordered: boolean): void
  /** A handshake showed this run of the peer: the first one, a new one, or the same one again after a lost connection. */
  onPeerRun(peer: ServerId, run: number): void
  /** The last connection to this peer went away. The stream is kept; nobody is judged by this alone. */
  onPeerDisconnected(peer: ServerId): void
}
