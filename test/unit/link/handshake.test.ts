import assert from 'node:assert/strict'
import { createHmac, timingSafeEqual } from 'node:crypto'
import { describe, it } from 'node:test'
import fc from 'fast-check'
import { limits } from '../../../agent/limits.ts'
import { protocolVersion } from '../../../agent/link/codec.ts'
import {
  Handshake,
  type HandshakeCrypto,
  type HandshakeOwner,
  type Identity,
  type Outcome,
} from '../../../agent/link/handshake.ts'
import { idOf, seeded } from './world.ts'

const crypto: HandshakeCrypto = {
  hmac(secret, parts) {
    const hmac = createHmac('sha256', secret)
    for (const part of parts) hmac.update(part)
    return hmac.digest()
  },
  equal: (one, other) => one.length === other.length && timingSafeEqual(one, other),
}

const random = seeded(7)
const identity = (letter: string, more: Partial<Identity> = {}): Identity => ({
  id: idOf(letter),
  name: letter,
  role: 'storage',
  run: 3,
  instance: idOf('c'),
  ...more,
})
const open: HandshakeOwner = {
  expects: () => undefined,
  admits: () => undefined,
  lastReceived: (told) => told.run * 10,
}

function side(
  which: 'dialer' | 'accepter',
  more: { self?: Identity; secret?: string; owner?: Partial<HandshakeOwner>; nonce?: string } = {},
): Handshake {
  return new Handshake({
    side: which,
    self: more.self ?? identity(which === 'dialer' ? 'a' : 'b'),
    secret: more.secret ?? 'the right secret of the test',
    nonce: more.nonce ?? random.id() + random.id(),
    crypto,
    owner: { ...open, ...more.owner },
  })
}

interface Played {
  readonly dialer: Outcome
  readonly accepter: Outcome
  /** What each end sent, in order: dialer, accepter, dialer, … */
  readonly sent: Buffer[]
}

const going = { state: 'going' } as const satisfies Outcome

/** Carries bytes between both ends until nothing moves. */
function play(dialer: Handshake, accepter: Handshake): Played {
  const sent: Buffer[] = []
  const outcomes: { dialer: Outcome; accepter: Outcome } = { dialer: going, accepter: going }
  let bytes = dialer.start()
  let to: 'dialer' | 'accepter' = 'accepter'
  while (bytes && outcomes[to].state === 'going') {
    sent.push(Buffer.from(bytes))
    const step = (to === 'accepter' ? accepter : dialer).receive(Buffer.from(bytes))
    outcomes[to] = step.outcome
    bytes = step.output
    to = to === 'accepter' ? 'dialer' : 'accepter'
  }
  return { ...outcomes, sent }
}

const reasonOf = (outcome: Outcome): string => (outcome.state === 'refused' ? outcome.reason : outcome.state)

describe('link handshake', () => {
  it('shows each end the other, and what the other received', () => {
    const { dialer, accepter, sent } = play(side('dialer'), side('accepter', { self: identity('b', { run: 5 }) }))
    assert.ok(dialer.state === 'done' && accepter.state === 'done')
    assert.deepEqual([dialer.peer.name, dialer.peer.run, dialer.peerReceived], ['b', 5, 30])
    assert.deepEqual([accepter.peer.name, accepter.peer.run, accepter.peerReceived], ['a', 3, 50])
    assert.equal(sent.length, 4)
    assert.ok(!Buffer.concat(sent).includes('the right secret'), 'the secret is never sent')
  })

  it('takes its messages in any pieces, and leaves the frames behind them alone', () => {
    const script = play(side('dialer', { nonce: '1'.repeat(64) }), side('accepter', { nonce: '2'.repeat(64) })).sent
    const input = Buffer.concat([script[0] ?? assert.fail(), script[2] ?? assert.fail(), Buffer.from('frames')])
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 400 }), (pieceBytes) => {
        const accepter = side('accepter', { nonce: '2'.repeat(64) })
        let outcome: Outcome = { ...going }
        let rest = Buffer.alloc(0)
        for (let from = 0; from < input.length; from += pieceBytes) {
          const piece = input.subarray(from, from + pieceBytes)
          if (outcome.state === 'done') rest = Buffer.concat([rest, piece])
          else outcome = accepter.receive(piece).outcome
          if (outcome.state === 'done' && rest.length === 0) rest = Buffer.from(outcome.rest)
        }
        assert.equal(outcome.state, 'done')
        assert.equal(rest.toString(), 'frames')
      }),
      { seed: 4, numRuns: 100 },
    )
  })

  it('refuses a wrong secret at both ends, and tells why; a stranger gets nothing computed from the secret', () => {
    const { dialer, accepter, sent } = play(side('dialer', { secret: 'a wrong secret' }), side('accepter'))
    assert.deepEqual(accepter, { state: 'refused', reason: 'wrong-secret', byPeer: false })
    assert.deepEqual(dialer, { state: 'refused', reason: 'wrong-secret', byPeer: true })
    const fromAccepter = Buffer.concat([sent[1] ?? assert.fail(), sent[3] ?? assert.fail()]).toString('latin1')
    assert.ok(!fromAccepter.includes('proof'))
  })

  it('an accepter without the secret cannot welcome', () => {
    // The impostor plays the accepter well up to its welcome, which it computes with what it has.
    const impostor = side('accepter', { secret: 'a guess' })
    const dialer = side('dialer')
    const hello = impostor.receive(Buffer.from(dialer.start() ?? assert.fail())).output
    dialer.receive(Buffer.from(hello ?? assert.fail()))
    const body = JSON.stringify({ received: 0, proof: 'ab'.repeat(32) })
    const prefix = Buffer.from([0x4d, 0x42, 0x4c, 0x4b, protocolVersion, 3, 0, body.length])
    assert.equal(reasonOf(dialer.receive(Buffer.concat([prefix, Buffer.from(body)])).outcome), 'wrong-secret')
  })

  it('a recorded handshake played again is refused: the nonce differs', () => {
    const { sent } = play(side('dialer'), side('accepter'))
    const victim = side('accepter')
    victim.receive(Buffer.from(sent[0] ?? assert.fail()))
    assert.equal(reasonOf(victim.receive(Buffer.from(sent[2] ?? assert.fail())).outcome), 'wrong-secret')
    const dialer = side('dialer')
    dialer.start()
    dialer.receive(Buffer.from(sent[1] ?? assert.fail()))
    assert.equal(reasonOf(dialer.receive(Buffer.from(sent[3] ?? assert.fail())).outcome), 'wrong-secret')
  })

  it('its own bytes sent back prove nothing, neither as they are nor with another name on them', () => {
    const dialer = side('dialer')
    const hello = Buffer.from(dialer.start() ?? assert.fail())
    assert.equal(reasonOf(dialer.receive(hello).outcome), 'connected-to-itself')
    const victim = side('dialer')
    const forged = Buffer.from(
      Buffer.from(victim.start() ?? assert.fail())
        .toString('latin1')
        .replaceAll('aaaa', 'eeee'),
      'latin1',
    )
    const proof = Buffer.from(victim.receive(forged).output ?? assert.fail())
    proof[5] = 3 // the dialer's own proof, called a welcome
    assert.equal(reasonOf(victim.receive(proof).outcome), 'wrong-secret')
  })

  it('binds what was told: a changed run, name, role or position on the way is refused', () => {
    for (const [from, to] of [
      ['"run":3', '"run":4'],
      ['"name":"a"', '"name":"x"'],
      ['storage"', 'storage" '],
    ] as const) {
      const dialer = side('dialer')
      const accepter = side('accepter')
      const hello = Buffer.from(dialer.start() ?? assert.fail())
        .toString('latin1')
        .replace(from, to)
      const changed = Buffer.from(hello, 'latin1')
      changed.writeUInt16BE(changed.length - 8, 6)
      const answer = accepter.receive(changed).output ?? assert.fail()
      const proof = dialer.receive(Buffer.from(answer)).output ?? assert.fail()
      assert.equal(reasonOf(accepter.receive(Buffer.from(proof)).outcome), 'wrong-secret', from)
    }
    const dialer = side('dialer')
    const accepter = side('accepter')
    const answer = accepter.receive(Buffer.from(dialer.start() ?? assert.fail())).output ?? assert.fail()
    const proof = Buffer.from(dialer.receive(Buffer.from(answer)).output ?? assert.fail())
    const moved = Buffer.from(proof.toString('latin1').replace('"received":30', '"received":31'), 'latin1')
    assert.equal(reasonOf(accepter.receive(moved).outcome), 'wrong-secret')
  })

  it('refuses another version, garbage, oversize and messages out of order', () => {
    const hello = Buffer.from(side('dialer').start() ?? assert.fail())
    const other = Buffer.from(hello)
    other[4] = protocolVersion + 1
    assert.equal(reasonOf(side('accepter').receive(other).outcome), 'other-version')
    const garbage = side('accepter').receive(Buffer.from('GET / HTTP/1.1\r\n\r\n'))
    assert.deepEqual([reasonOf(garbage.outcome), garbage.output], ['not-this-protocol', undefined])
    assert.equal(reasonOf(side('accepter').receive(Buffer.from('X')).outcome), 'not-this-protocol')
    const large = Buffer.from(hello)
    large.writeUInt16BE(limits.linkHandshakeBytes, 6)
    assert.equal(reasonOf(side('accepter').receive(large).outcome), 'malformed')
    const early = Buffer.from(hello)
    early[5] = 2
    assert.equal(reasonOf(side('accepter').receive(early).outcome), 'malformed')
    const accepter = side('accepter')
    accepter.receive(hello)
    assert.equal(reasonOf(accepter.receive(hello).outcome), 'malformed')
  })

  it('takes any bytes without throwing, and never lets them through', () => {
    const hello = Buffer.from(side('dialer').start() ?? assert.fail())
    const changed = fc.tuple(fc.nat(hello.length - 1), fc.nat(255)).map(([place, value]) => {
      const bytes = Buffer.from(hello)
      bytes[place] = value
      return bytes
    })
    const anyBytes = fc.oneof(
      fc.uint8Array({ maxLength: 600 }).map((bytes) => Buffer.from(bytes)),
      changed,
    )
    fc.assert(
      fc.property(fc.array(anyBytes, { minLength: 1, maxLength: 4 }), (pieces) => {
        const accepter = side('accepter')
        for (const piece of pieces) {
          const { outcome } = accepter.receive(piece)
          assert.notEqual(outcome.state, 'done')
          if (outcome.state !== 'going') return
        }
      }),
      { seed: 5, numRuns: 500 },
    )
  })

  it("its owner's doubts refuse: before the proof what is not configured, after it what is older", () => {
    const early = play(side('dialer'), side('accepter', { owner: { expects: () => 'unknown-name' } }))
    assert.deepEqual([reasonOf(early.dialer), reasonOf(early.accepter)], ['unknown-name', 'unknown-name'])
    assert.equal(early.sent.length, 2)
    const late = play(side('dialer'), side('accepter', { owner: { admits: () => 'older-run' } }))
    assert.deepEqual([reasonOf(late.dialer), reasonOf(late.accepter)], ['older-run', 'older-run'])
    assert.equal(late.sent.length, 4)
    const hushed = play(side('dialer'), side('accepter', { owner: { expects: () => 'hush' } }))
    assert.deepEqual([hushed.dialer.state, hushed.accepter.state, hushed.sent.length], ['going', 'hush', 1])
  })
})
