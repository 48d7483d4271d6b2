/** Policing as a model (policing.pml), every state of it; and that the model finds what is wrong when a rule is broken. */
import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { needs } from '../kit/needs.ts'
import { type Configuration, type Verdict, verdictOf, verify } from './spin.ts'

const model = 'policing.pml'

type Defines = Configuration['defines']

/** Two servers with two requests each, of ranges that overlap in part: local order, younger uses, deferral. */
const two: Defines = { SERVERS: 2, SLOTS: 2, RANGES: 2 }
/** The same, and requests never overlap: a server has several in use, and goes on asking while others are. */
const twoBusy: Defines = { SERVERS: 2, SLOTS: 2, RANGES: 0 }
/** Three servers with one request each. There is only one permission, so more than one range changes nothing. */
const three: Defines = { SERVERS: 3, SLOTS: 1, RANGES: 1 }

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
  assert.ok(verdict.states > 10_000, `so few states cannot be all: ${verdict.said}`)
}

async function fails(configuration: Configuration, error: Verdict['error']): Promise<void> {
  const verdict = await verify(configuration)
  report(configuration, verdict)
  assert.equal(verdict.error, error, verdict.said)
}

const tools = needs('spin', 'gcc')

describe('the protocol, exhaustively', { concurrency: 2 }, () => {
  for (const [name, defines, watched] of [
    ['two servers, overlapping ranges', two, [0, 2]],
    ['two servers, several uses at once', twoBusy, [0, 2]],
    ['three servers', three, [0, 1, 2]],
  ] as const) {
    it(`${name}: never two that exclude each other, never stuck (W2, P2)`, tools, () =>
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
    ['yields while it uses', 'BROKEN_YIELDS_IN_USE', two, 'assertion'],
    ['of two with one time, both yield', 'BROKEN_TIES_YIELD', three, 'assertion'],
    ['of two with one time, both wait', 'BROKEN_TIES_WAIT', three, 'invalid end state'],
    ['who waits keeps what it was granted', 'BROKEN_WAITS_HOLDING', three, 'invalid end state'],
    ['what was yielded is not asked for again', 'BROKEN_NEVER_ASKS_AGAIN', three, 'invalid end state'],
    ['an older one does not ask back', 'BROKEN_NEVER_ASKS_BACK', two, 'invalid end state'],
  ] as const) {
    it(`${rule}: ${error}`, tools, () =>
      fails({ model, defines: { ...defines, [mutation]: true }, check: 'safety' }, error),
    )
  }
  it('a younger use begins once another server asked: acceptance cycle', tools, () =>
    fails(
      { model, defines: { ...twoBusy, WATCHED: 0, BROKEN_BEGINS_YOUNGER: true }, check: 'liveness' },
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
