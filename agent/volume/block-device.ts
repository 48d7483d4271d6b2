/**
 * The virtual shared disk as a frontend sees it: all that frontends may import from the engine.
 *
 * Every call is answered exactly once, never synchronously inside the call itself, and always from the event loop
 * that made the call. A frontend validates ranges before it calls (an out-of-range request is its protocol's own
 * error); the device asserts them again (invariant V1).
 */

/** Why a request was not done.
 * - `io`: the last replica failed; nothing is promised about the range, no bad data was returned (C6)
 * - `no-space`: no room on a disk for a first write to this place (C8)
 * - `shutdown`: the volume or the agent is stopping; the request was not started
 * - `conflict`: another client's reservation does not let this one write (W6); nothing was done
 * - `unknown-outcome`: the request may or may not have been done (W8): the frontend closes the connection, unanswered */
export type BlockFailure = 'io' | 'no-space' | 'shutdown' | 'conflict' | 'unknown-outcome'

/** `failure` is null on success. */
export type Done = (failure: BlockFailure | null) => void

/** `failure` and `differsAtBytes` are null when it was written. Without failure `differsAtBytes` is where the first byte lies
 * that is not as expected, counted from the request's offset: then nothing was written. */
export type CompareDone = (failure: BlockFailure | null, differsAtBytes: number | null) => void

/** `chunks` hold the bytes read, in order, and belong to the receiver, who may hand them back (kit/slabs.ts); empty on
 * failure. */
export type ReadDone = (failure: BlockFailure | null, chunks: readonly Uint8Array[]) => void

/** One client connection's view of the device. Requests of a closed one that have not begun never begin (W9). */
export interface BlockClient {
  /** @param offsetBytes 0 .. sizeBytes, any alignment; @param lengthBytes 1 .. limits.requestBytes */
  read(offsetBytes: number, lengthBytes: number, done: ReadDone): void
  /** The chunks (their lengths add up to `lengthBytes`) belong to the device and must not change: it hands them back
   * (kit/slabs.ts), which may be after `done`.
   * @param fua durable on every in-sync replica before the answer (W4) */
  write(offsetBytes: number, chunks: readonly Uint8Array[], lengthBytes: number, fua: boolean, done: Done): void
  /**
   * Writes the replacement if the range holds what is expected, as one step that nobody's other request comes between (W6;
   * SBC-3 COMPARE AND WRITE). Both have one length; they belong to the device until `done` and must not change.
   * @param offsetBytes a multiple of 512 @param expected 512 .. limits.compareBytes, a multiple of 512
   * @param fua durable on every in-sync replica before the answer (W4)
   */
  compareAndWrite(
    offsetBytes: number,
    expected: Uint8Array,
    replacement: Uint8Array,
    fua: boolean,
    done: CompareDone,
  ): void
  /** Afterwards the range reads as zeros. @param mayUnmap whole extents may give their space back
   * @param lengthBytes 1 .. sizeBytes (no payload, so larger than a write may be) */
  writeZeroes(offsetBytes: number, lengthBytes: number, mayUnmap: boolean, fua: boolean, done: Done): void
  /** A hint: whole extents inside the range read as zeros afterwards and give their space back, the rest is unchanged. */
  trim(offsetBytes: number, lengthBytes: number, fua: boolean, done: Done): void
  /** W4: done when all that was acknowledged before the call, at any frontend, is durable on every in-sync replica. */
  flush(done: Done): void
  /** The connection is known closed: nothing that waits is started any more, no `done` is called any more. */
  detach(): void
}

export interface ClientDescription {
  /** `nbd` or `iscsi`. */
  readonly protocol: string
  /** For people: "127.0.0.1:50312" or "unix socket". */
  readonly address: string
}

export interface BlockDevice {
  /** The volume's name: 1 to 63 characters of a-z, 0-9, '-', '_' and '.'. Of a snapshot: its volume's name, '@', its own. */
  readonly name: string
  /** Multiple of 4096. That of a volume may rise; a client keeps to what it was told when it came. */
  readonly sizeBytes: number
  /** A snapshot: its clients' writes, zeroes and trims are refused by the frontend. */
  readonly readOnly: boolean
  /** @param gone called, never inside a call, when the device is offered no more (deleted): the frontend closes the
   * connection and detaches. Requests under way stay unanswered. */
  attach(client: ClientDescription, gone: () => void): BlockClient
}

/** What this server offers to clients now. */
export interface BlockDevices {
  list(): readonly BlockDevice[]
  find(name: string): BlockDevice | undefined
}
