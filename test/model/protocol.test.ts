/** Policing as a model (policing.pml), every state of it; and that the model finds what is wrong when a rule is broken. */
import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { needs } from '../kit/needs.ts'
import { type Configuration, type Verdict, verdictOf, verify } from './spin.ts'

const model = 'policing.pml'

type Defines = Configuration['defines']

/** A bit for each portion of the volume that a request is of. */
const [first, second, third] = [1, 2, 4]

/** Two servers with one request each: reads and writes of ranges that overlap in part. */
const one: Defines = { SERVERS: 2, SLOTS: 1, RANGE_A: first + second, RANGE_B: second + third }
const tied: Defines = { ...one, TIES: true }
/** The same, of ranges that do not overlap, with something between them that grants grow over. */
const apart: Defines = { SERVERS: 2, SLOTS: 1, RANGE_A: first, RANGE_B: third }
/** Two servers with two requests each: writes of ranges that overlap in part. */
const two: Defines = { SERVERS: 2, SLOTS: 2, RANGE_A: first + second, RANGE_B: second + third, ONLY_EXCLUSIVE: true }
/** The same, reads and writes of one range. */
const twoReading: Defines = { SERVERS: 2, SLOTS: 2, PORTIONS: 2, RANGE_A: first + second, RANGE_B: 0, ASKS: 4 }
/** A writes one end and the other, B both: who holds a part goes on there while the other one asks. */
const ends: Defines = {
  SERVERS: 2,
  SLOTS: 2,
  PORTIONS: 2,
  RANGE_A: first,
  RANGE_B: second,
  RANGE_LAST: first + second,
  ONLY_EXCLUSIVE: true,
  ASKS: 5,
}
/** Both write the two ends: all that is under way at once, asks whose use has begun by another grant. */
const twoBeside: Defines = {
  SERVERS: 2,
  SLOTS: 2,
  PORTIONS: 2,
  RANGE_A: first,
  RANGE_B: second,
  ONLY_EXCLUSIVE: true,
  ASKS: 5,
}
/** Three servers with one request each: writes of a range and of a part of it. */
const three: Defines = {
  SERVERS: 3,
  SLOTS: 1,
  PORTIONS: 2,
  RANGE_A: first + second,
  RANGE_B: second,
  ONLY_EXCLUSIVE: true,
}
/** The same, writes of ranges that overlap in part: each may grow. */
const threeGrowing: Defines = {
  SERVERS: 3,
  SLOTS: 1,
  RANGE_A: first + second,
  RANGE_B: second + third,
  ONLY_EXCLUSIVE: true,
}
/** The same, reads and writes of one range. */
const threeReading: Defines = { SERVERS: 3, SLOTS: 1, PORTIONS: 2, RANGE_A: first + second, RANGE_B: 0 }

const inWords = (defines: Defines) =>
  Object.entries(defines)
    .map(([name, value]) => (value === true ? name : `${name} ${value}`))
    .join(', ')

function report(configuration: Configuration, { states, depth, seconds, memoryMB, error }: Verdict): void {
  const figures = `${states} states, depth ${depth}, ${seconds} s, ${memoryMB} MB`
  console.log(`${inWords(configuration.defines)}: ${configuration.check}: ${figures}, error: ${error}`)
}

async function holds(configuration: Configuration): Promise<void> {
  const verdict = await verify(configuration)
  report(configuration, verdict)
  assert.equal(verdict.error, 'none', verdict.said)
  assert.equal(verdict.cutShort, null, verdict.said)
  assert.ok(verdict.states > 4_000, `so few states cannot be all: ${verdict.said}`)
}

async function fails(configuration: Configuration, error: Verdict['error']): Promise<void> {
  const verdict = await verify(configuration)
  report(configuration, verdict)
  assert.equal(verdict.error, error, verdict.said)
}

const tools = needs('spin', 'gcc')

describe('the protocol, exhaustively', { concurrency: 2 }, () => {
  for (const [name, defines, watched] of [
    ['two servers, one request each', one, [0, 1]],
    ['two servers, one request each, times that tie', tied, []],
    ['two servers, one request each, ranges apart', apart, [0, 1]],
    ['two servers, overlapping ranges', two, [0, 2]],
    ['two servers, reads and writes', twoReading, [0, 2]],
    ['two servers, one needs what the other one uses by halves', ends, [0, 2]],
    ['two servers, side by side', twoBeside, []],
    ['three servers, overlapping ranges', three, [0, 1, 2]],
    ['three servers, overlapping ranges, grants that grow', threeGrowing, []],
    ['three servers, reads and writes', threeReading, [0, 1, 2]],
  ] as const) {
    it(`${name}: never two that exclude each other, nothing held twice, never stuck (W2, P2, P5)`, tools, () =>
      holds({ model, defines, check: 'safety' }),
    )
    for (const slot of watched) {
      const server = 'ABC'[slot / (defines.SLOTS === 2 ? 2 : 1)]
      it(`${name}: every request of server ${server} is granted (P2)`, tools, () =>
        holds({ model, defines: { ...defines, WATCHED: slot }, check: 'liveness' }),
      )
    }
  }
})

describe('a broken rule is found, as what it is', { concurrency: 2 }, () => {
  for (const [rule, mutation, defines, error] of [
    ['yields while it uses', 'BROKEN_YIELDS_IN_USE', one, 'assertion'],
    ['of two with one time, both yield', 'BROKEN_TIES_YIELD', tied, 'assertion'],
    ['of two with one time, both wait', 'BROKEN_TIES_WAIT', tied, 'invalid end state'],
    ['of two asks that cross, none goes first', 'BROKEN_NOBODY_FIRST', twoReading, 'assertion'],
    ['who waits keeps what it was granted', 'BROKEN_WAITS_HOLDING', three, 'invalid end state'],
    ['what was yielded is not asked for again', 'BROKEN_NEVER_ASKS_AGAIN', ends, 'invalid end state'],
    ['what was put off is not yielded after the grant', 'BROKEN_NEVER_YIELDS_LATER', twoReading, 'invalid end state'],
    ['keeps what it has grown a grant by', 'BROKEN_KEEPS_GROWN', one, 'assertion'],
    ['grows over what it uses', 'BROKEN_GROWS_OVER_USES', apart, 'assertion'],
    ['grows over what it asks for', 'BROKEN_GROWS_OVER_ASKS', twoBeside, 'assertion'],
    ['grows over what both may read, while it asks itself', 'BROKEN_GROWS_OVER_SHARED', apart, 'assertion'],
    ['grows over what it does not hold', 'BROKEN_GROWS_OVER_ANY', apart, 'assertion'],
    ['both servers of a pair begin with all (P3)', 'BROKEN_BOTH_BEGIN_WITH_ALL', one, 'assertion'],
  ] as const) {
    it(`${rule}: ${error}`, tools, () =>
      fails({ model, defines: { ...defines, [mutation]: true }, check: 'safety' }, error),
    )
  }
  it('a younger use begins once another server asked: acceptance cycle', tools, () =>
    fails(
      { model, defines: { ...ends, WATCHED: 2, BROKEN_BEGINS_YOUNGER: true }, check: 'liveness' },
      'acceptance cycle',
    ),
  )
})

describe('a search that was cut short proves nothing', () => {
  it('paths longer than the limit', tools, async () => {
    const verdict = await verify({ model, defines: three, check: 'safety', deepest: 60 })
    assert.equal(verdict.error, 'none')
    assert.match(verdict.cutShort ?? '', /depth too small/)
  })

  it('more states than fit', tools, async () => {
    const verdict = await verify({ model, defines: three, check: 'safety', memoryMB: 230 })
    assert.match(verdict.cutShort ?? '', /not completed|MEMLIM/)
  })

  const full = `Full statespace search for:
\tassertion violations\t+
\tinvalid end states\t+
State-vector 104 byte, depth reached 202, errors: 0
      879 states, stored
pan: elapsed time 0 seconds`

  it('reads a full search as one', () => {
    assert.equal(verdictOf(full, 0, 'safety').cutShort, null)
  })

  for (const [what, said, code] of [
    ['a hash instead of the state', full.replace('Full', 'Hash-Compact 4'), 0],
    ['a bit instead of the state', full.replace('Full', 'Bit'), 0],
    ['end states that were not looked at', full.replace('states\t+', 'states\t- (disabled by never claim)'), 0],
    ['a verifier that was ended', full, null],
  ] as const) {
    it(what, () => assert.notEqual(verdictOf(said, code, 'safety').cutShort, null))
  }

  it('a liveness search without fairness, or of something else', () => {
    assert.notEqual(verdictOf(full, 0, 'liveness').cutShort, null)
  })
})
