import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { InvariantBroken, invariant, never, UserError } from '../../../agent/kit/failure.ts'
import { hash48 } from '../../../agent/kit/hash.ts'
import { configurationId, isIdText, serverId, volumeId } from '../../../agent/kit/ids.ts'
import { checkLimits, limits } from '../../../agent/limits.ts'

describe('hash48', () => {
  it('gives 48-bit integers, the same in every version', () => {
    assert.equal(hash48('session'), 104_780_899_011_354)
    for (const text of ['', 'a', 'session']) assert.ok(Number.isSafeInteger(hash48(text)) && hash48(text) < 2 ** 48)
  })

  it('spreads neighbouring session vectors: no two alike among 80,000, every bit set half of the time', () => {
    const seen = new Set<number>()
    const bits = new Array<number>(48).fill(0)
    const count = 80_000
    for (let run = 0; run < count; run += 1) {
      const hash = hash48(`${'c'.repeat(32)} ${'1'.repeat(32)}:${run % 600} ${'2'.repeat(32)}:${Math.floor(run / 600)}`)
      seen.add(hash)
      for (let bit = 0; bit < 48; bit += 1) bits[bit] = (bits[bit] ?? 0) + (Math.floor(hash / 2 ** bit) % 2)
    }
    assert.equal(seen.size, count)
    for (const [bit, set] of bits.entries()) {
      assert.ok(Math.abs(set / count - 0.5) < 0.02, `bit ${bit} is set in ${set} of ${count}`)
    }
  })
})

describe('identifiers', () => {
  it('are 32 lower-case hex digits and nothing else', () => {
    const text = '0123456789abcdef0123456789abcdef'
    assert.equal(serverId(text), text)
    for (const wrong of ['', text.toUpperCase(), `${text}0`, text.slice(1), 'g'.repeat(32), `${text}\n`]) {
      assert.equal(isIdText(wrong), false, JSON.stringify(wrong))
      for (const make of [serverId, volumeId, configurationId]) assert.throws(() => make(wrong), TypeError)
    }
    assert.equal(isIdText(12), false)
  })
})

describe('failures', () => {
  it('an invariant names its number, also in production', () => {
    invariant(true, 'X1', 'fine')
    assert.throws(
      () => invariant(false, 'X1', 'not fine'),
      (error: unknown) => error instanceof InvariantBroken && error.invariant === 'X1',
    )
  })

  it('K1: a value that no case expects is found', () => {
    // Told to be impossible: that is what the test is about.
    assert.throws(() => never('surprise' as never, 'here'), /invariant K1.*surprise.*here/)
  })

  it('what a person must read says what happened, whether the data is safe, and what to do', () => {
    const error = new UserError({ code: 'a-code', happened: 'It broke.', dataIsSafe: 'Yes.', next: 'Wait.' })
    assert.deepEqual(
      [error.message, error.code, error.dataIsSafe, error.next],
      ['It broke.', 'a-code', 'Yes.', 'Wait.'],
    )
  })
})

describe('relations between limits', () => {
  type Name = keyof typeof limits
  it('hold as they stand', () => checkLimits())

  /** One wrong number for each relation. */
  const wrong: [Name, number, RegExp][] = [
    ['regionBytes', limits.regionBytes + 1, /whole number of extents/],
    ['extentBytes', limits.regionBytes / 2 ** 13, /whole number of blocks/],
    ['copyPieceBytes', limits.copyPieceBytes + 1, /whole number of blocks/],
    ['copyPieceBytes', limits.blockBytes * 3, /whole number of copy pieces/],
    ['diskCalls', limits.threadPool, /leave threads/],
    ['slotPool', 64, /half the slot pool/],
    ['heartbeatMs', limits.leaseMs / 3, /three lost heartbeats/],
    ['diskOverdueMs', limits.leaseMs, /more slowly than a lease/],
    ['memberOverdueMs', limits.diskOverdueMs, /before others judge it/],
    ['unconfirmedWrites', limits.volumeRequests, /as many writes as it may/],
    ['unconfirmedWrites', limits.unconfirmedWrites * 2, /fits a message/],
    ['toldRanges', limits.toldRanges * 6, /fits a message/],
    ['replicas', limits.replicas * 2, /fits a message/],
    ['clientBytes', limits.requestBytes - 1, /send the largest request/],
    ['refusedPayloadBytes', limits.requestBytes - 1, /refused without closing/],
    ['volumeBytes', limits.requestBytes - 1, /execute the largest request/],
    ['frameBytes', limits.requestBytes, /holds the largest write/],
    ['linkWindowBytes', limits.linkBacklogBytes, /less than the stream behind it/],
    ['linkUrgentBytes', limits.linkWindowBytes, /overtake/],
    ['linkAcknowledgeBytes', limits.linkBacklogBytes, /runs out of credit/],
    ['apiStreamBeatMs', limits.apiStreamStalledMs, /looked at before it is dropped/],
    ['holdSeconds', limits.apiLongCallMs / 1000, /longer than it lasts/],
    ['linkBacklogBytes', limits.volumeBytes, /all that a volume executes/],
  ]
  for (const [name, value, words] of wrong) {
    it(`${name} = ${value} is refused: ${words.source}`, () => {
      assert.throws(
        () => checkLimits({ ...limits, [name]: value }),
        (error: unknown) => error instanceof InvariantBroken && error.invariant === 'L1' && words.test(error.message),
      )
    })
  }
})
