/** Arbitrary messages, within the ranges of agent/link/messages.ts, for the property tests of the link. */
import fc from 'fast-check'
import { passOutcomes, writeKinds } from '../../../agent/link/codec.ts'
import type { Message } from '../../../agent/link/messages.ts'

const uint48 = fc.oneof(
  fc.nat(100),
  fc.maxSafeNat().map((value) => value % 2 ** 48),
  fc.constant(2 ** 48 - 1),
)
const uint32 = fc.integer({ min: 0, max: 2 ** 32 - 1 })

/** Cuts bytes into chunks, none of them empty. */
const chunks = (bytes: Uint8Array, cutAt: number): Uint8Array[] => {
  const middle = cutAt % bytes.length
  return middle === 0 ? [bytes] : [bytes.subarray(0, middle), bytes.subarray(middle)]
}

const common = { volumeKey: uint32, session: uint48 }
const dataWrite = fc
  .record({
    ...common,
    attempt: uint48,
    number: uint48,
    lowWater: uint48,
    time: uint48,
    fua: fc.boolean(),
    offsetBytes: uint48,
    payload: fc.uint8Array({ minLength: 1, maxLength: 300 }),
    cutAt: fc.nat(300),
  })
  .map(
    ({ payload, cutAt, ...rest }): Message => ({
      type: 'write',
      kind: 'data',
      lengthBytes: payload.length,
      chunks: chunks(payload, cutAt),
      ...rest,
    }),
  )
const otherWrite = fc
  .record({
    ...common,
    attempt: uint48,
    number: uint48,
    lowWater: uint48,
    time: uint48,
    fua: fc.boolean(),
    offsetBytes: uint48,
    kind: fc.constantFrom(...writeKinds.slice(1)),
    lengthBytes: uint48.map((value) => Math.max(value, 1)),
  })
  .map((rest): Message => ({ type: 'write', chunks: [], ...rest }))
const written = fc
  .record({ ...common, numbers: fc.array(uint48, { minLength: 1, maxLength: 20 }) })
  .map((rest): Message => ({ type: 'written', ...rest }))
const copy = fc
  .record({
    ...common,
    attempt: uint48,
    request: uint48,
    block: fc.nat(2 ** 30),
    zero: fc.boolean(),
    fill: fc.nat(255),
  })
  .map(
    ({ block, zero, fill, ...rest }): Message => ({
      type: 'copy',
      offsetBytes: block * 4096,
      lengthBytes: 4096,
      zero,
      chunks: zero ? [] : [new Uint8Array(4096).fill(fill)],
      ...rest,
    }),
  )
const passCommon = {
  ...common,
  request: uint48,
  connection: uint48,
  heardMs: uint48,
  fua: fc.boolean(),
  offsetBytes: uint48,
}
const passWrite = fc
  .record({ ...passCommon, payload: fc.uint8Array({ minLength: 1, maxLength: 300 }), cutAt: fc.nat(300) })
  .map(
    ({ payload, cutAt, ...rest }): Message => ({
      type: 'pass',
      kind: 'data',
      lengthBytes: payload.length,
      chunks: chunks(payload, cutAt),
      ...rest,
    }),
  )
const passOther = fc
  .record({
    ...passCommon,
    kind: fc.constantFrom(...writeKinds.slice(1), 'read' as const),
    lengthBytes: fc.integer({ min: 1, max: 2 ** 22 }),
  })
  .map((rest): Message => ({ type: 'pass', chunks: [], ...rest }))
const passCompare = fc
  .record({
    ...passCommon,
    sector: fc.nat(2 ** 30),
    sectors: fc.integer({ min: 1, max: 3 }),
    fill: fc.nat(255),
    cutAt: fc.nat(3072),
  })
  .map(
    ({ sector, sectors, fill, cutAt, ...rest }): Message => ({
      type: 'pass',
      kind: 'compare',
      ...rest,
      offsetBytes: sector * 512,
      lengthBytes: sectors * 512,
      chunks: chunks(new Uint8Array(sectors * 1024).fill(fill), cutAt),
    }),
  )
const passFlush = fc
  .record(passCommon)
  .map((rest): Message => ({ type: 'pass', kind: 'flush', lengthBytes: 0, chunks: [], ...rest }))
const passedRead = fc
  .record({
    ...common,
    request: uint48,
    sentMs: uint48,
    payload: fc.uint8Array({ minLength: 1, maxLength: 300 }),
    cutAt: fc.nat(300),
  })
  .map(
    ({ payload, cutAt, ...rest }): Message => ({
      type: 'passed',
      outcome: 'done',
      lengthBytes: payload.length,
      chunks: chunks(payload, cutAt),
      ...rest,
    }),
  )
const passedOther = fc
  .record({ ...common, request: uint48, sentMs: uint48, outcome: fc.constantFrom(...passOutcomes) })
  .map((rest): Message => ({ type: 'passed', lengthBytes: 0, chunks: [], ...rest }))
const control = fc
  .record({ kind: fc.constantFrom('police.ask', 'a', 'member.hello-again'), body: fc.jsonValue() })
  .map(({ kind, body }): Message => ({ type: 'control', kind, body: JSON.parse(JSON.stringify(body)) }))

export const anyMessage: fc.Arbitrary<Message> = fc.oneof(
  dataWrite,
  otherWrite,
  written,
  copy,
  passWrite,
  passOther,
  passFlush,
  passCompare,
  passedRead,
  passedOther,
  control,
)

/** The same message whatever the cuts of its payload. */
export function flat(message: Message | undefined): unknown {
  if (!message || !('chunks' in message)) return message
  return { ...message, chunks: Buffer.concat(message.chunks).toString('hex') }
}

/** Cuts bytes at random places, given as fractions. */
export function cutAt(bytes: Buffer, fractions: readonly number[]): Buffer[] {
  const places = [...new Set(fractions.map((each) => Math.floor(each * bytes.length)))].sort(
    (one, other) => one - other,
  )
  const pieces: Buffer[] = []
  let from = 0
  for (const place of [...places, bytes.length]) {
    if (place > from) pieces.push(bytes.subarray(from, place))
    from = Math.max(from, place)
  }
  return pieces
}
