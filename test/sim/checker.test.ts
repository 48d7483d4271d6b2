/** The judge itself: histories made by hand that must be accepted, and others that must be refused. */
import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { seeded } from '../kit/random.ts'
import { History, sectorsPerBlock } from './checker.ts'

const block = { first: 0, last: sectorsPerBlock - 1 }
const all = () => true
const whole = (stamp: number): number[] => new Array<number>(sectorsPerBlock).fill(stamp)

/** `w1 W1`: a write of 1 begins, ends; `r1`: a read at once; `x`: power loss; `f`: flush. What is left open stays unknown. */
function play(script: string): History {
  const history = new History()
  const open = new Map<string, ReturnType<History['write']>>()
  const reads = new Map<string, number>()
  for (const word of script.split(' ')) {
    const [kind = '', ...digits] = word
    const name = digits.join('')
    if (kind === 'w') open.set(name, history.write(block, Number(name), all))
    else if (kind === 'W') open.get(name)?.('applied')
    else if (kind === 'N') open.get(name)?.('never')
    else if (kind === 'D') open.get(name)?.('durable')
    else if (kind === 'p') history.write({ first: 0, last: 3 }, Number(name), all)('applied')
    else if (kind === 'r') history.read(history.instant(), block, whole(Number(name)), all)
    else if (kind === 'b') reads.set(name, history.instant())
    else if (kind === 'e') history.read(reads.get(name) ?? 0, block, whole(Number(name)), all)
    else if (kind === 'm') history.read(history.instant(), block, [...name].map(Number), all)
    else if (kind === 'f') history.flush(history.instant())
    else if (kind === 'x') history.lost(history.instant())
  }
  return history
}

const good: Record<string, string> = {
  'a read of zeros before anything': 'r0 w1 W1 r1',
  'a concurrent write may be seen or not': 'w1 r0 r1 W1 r1',
  'a write without an answer may come late': 'w1 r0 w2 W2 r2 r1',
  'a write without an answer may never come': 'w1 w2 W2 r2 r2',
  'two at once in either order': 'w1 w2 W1 W2 r1 r1',
  'a long read may see what stood at its begin': 'b0 w1 W1 e0',
  'a part of a block': 'w1 W1 p2 m22221111',
  'zeros again': 'w1 W1 w0 W0 r0',
  'lost with the power: what was not flushed': 'w1 W1 f w2 W2 x r1',
  'lost with the power: sector by sector': 'w1 W1 f w2 W2 x m12121212 m12121212',
  'kept through a power loss': 'w1 W1 w2 W2 x r2',
  'answered after a loss, done and replaced before it': 'w1 w2 W2 f x W1 r2',
  'a read that began before a loss may show what stood then': 'w1 W1 b1 w2 W2 f x e1 r2',
  'lost twice, what was written since the first': 'w1 W1 f w2 W2 x w3 W3 x m12312312',
  'read only after three losses': 'w1 W1 f x x w2 W2 r2 x r1',
  'lost twice': 'w1 W1 f w2 W2 x r1 w3 W3 x m13131313',
}
const bad: Record<string, string> = {
  'an acknowledged write that is not seen': 'w1 W1 r0',
  'a value that comes back': 'w1 W1 w2 W2 r2 r1',
  'a value that nobody wrote': 'w1 W1 r9',
  'two readers that disagree about the order': 'w1 w2 W1 W2 r1 r2 r1',
  'a write seen before it began': 'r1 w1 W1',
  'a torn block': 'w1 W1 w2 W2 m12121212',
  'a part that came without the rest': 'w1 W1 p2 r1',
  'a refused write that was done': 'w1 N1 r1',
  'a flushed write that is gone': 'w1 W1 w2 W2 f x r1',
  'a durable write that is gone': 'w1 W1 w2 D2 x r1',
  'a loss that is not the same for all': 'w1 W1 f w2 W2 x m12121212 m21212121',
  'an acknowledged write gone without a power loss': 'w1 W1 w2 W2 r1',
  'an unanswered write that happens twice': 'w1 w2 W2 r1 w3 W3 r3 r1',
  'begun before a loss, seen first after its answer and after another value': 'w2 W2 f w1 x W1 r2 r1',
  'lost at first, back after a second loss': 'w1 W1 f w2 W2 x r1 x r2',
  'kept at first, lost by a second loss': 'w1 W1 f w2 W2 x r2 x r1',
  'flushed, lost nothing, then lost': 'w1 W1 x w2 W2 f x r1',
}

describe('the judge', () => {
  for (const [name, script] of Object.entries(good))
    it(`accepts ${name}`, () => assert.deepEqual(play(script).check(), [], script))
  for (const [name, script] of Object.entries(bad))
    it(`refuses ${name}`, () => assert.equal(play(script).check().length, 1, script))

  it('accepts what one real disk shows, however the requests overlap; refuses it with one value changed', () => {
    let refused = 0
    for (let seed = 1; seed <= 60; seed += 1) {
      const { history, changed } = oneDisk(seed)
      assert.deepEqual(history.check(), [], `seed ${seed}`)
      if (changed.check().length > 0) refused += 1
    }
    assert.ok(refused >= 50, `only ${refused} of 60 changed histories were refused`)
  })
})

/** Random requests on a register; each takes effect at one instant between its begin and its end. */
function oneDisk(seed: number): { history: History; changed: History } {
  const random = seeded(seed)
  const history = new History()
  const changed = new History()
  const wrongAt = 20 + Math.floor(random() * 40)
  let value = 0
  let reads = 0
  const open: (() => void)[] = []
  for (let number = 1; number <= 120; number += 1) {
    if (random() < 0.5) {
      const end = history.write(block, number, all)
      const endChanged = changed.write(block, number, all)
      open.push(() => {
        value = number
        open.push(() => {
          end('applied')
          endChanged('applied')
        })
      })
    } else {
      const begin = history.instant()
      const beginChanged = changed.instant()
      open.push(() => {
        const seen = value
        reads += 1
        // An older value than the one that stands there; 0 stood there long ago.
        const wrong = reads === wrongAt ? 0 : seen
        open.push(() => {
          history.read(begin, block, whole(seen), all)
          changed.read(beginChanged, block, whole(wrong), all)
        })
      })
    }
    while (open.length > 4) open.splice(Math.floor(random() * open.length), 1)[0]?.()
  }
  while (open.length > 0) open.splice(Math.floor(random() * open.length), 1)[0]?.()
  return { history, changed }
}
