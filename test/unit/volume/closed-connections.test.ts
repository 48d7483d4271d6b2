/** W9: requests of connections that are known closed are forgotten where they wait; the others keep their places. */
import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { limits } from '../../../agent/limits.ts'
import { Flusher } from '../../../agent/mirror/flusher.ts'
import { Admission } from '../../../agent/volume/admission.ts'
import { idOf, openDisk, recordingSend, VirtualClock } from '../mirror/world.ts'

interface Request {
  readonly name: string
  readonly lengthBytes: number
  closed: boolean
}

describe('credit and closed connections (W9, P7)', () => {
  const request = (name: string, lengthBytes = 512): Request => ({ name, lengthBytes, closed: false })
  const full = () => {
    const entered: Request[] = []
    const gate = new Admission<Request>((one) => entered.push(one))
    const holders = Array.from({ length: limits.volumeRequests }, (_, index) => request(`holder ${index}`))
    for (const holder of holders) gate.admit(holder)
    entered.length = 0
    return { gate, entered, holders }
  }
  const names = (requests: readonly Request[]) => requests.map(({ name }) => name)

  it('forgets those that wait, and lets the others in, in their order', () => {
    const { gate, entered, holders } = full()
    const waiting = Array.from({ length: 30 }, (_, index) => request(`${index}`))
    for (const one of waiting) gate.admit(one)
    for (const one of waiting) one.closed = Number(one.name) % 3 !== 0
    gate.drop(({ closed }) => closed)
    assert.deepEqual(entered, [], 'nobody has left: there is no credit')
    for (const holder of holders.slice(0, 20)) gate.leave(holder)
    assert.deepEqual(names(entered), ['0', '3', '6', '9', '12', '15', '18', '21', '24', '27'])
    assert.equal(gate.admitted, limits.volumeRequests - 20 + 10)
  })

  it('who has credit keeps it until it leaves by itself', () => {
    const { gate, entered, holders } = full()
    for (const holder of holders) holder.closed = true
    gate.admit(request('next'))
    gate.drop(({ closed }) => closed)
    assert.deepEqual([gate.admitted, entered], [limits.volumeRequests, []])
    for (const holder of holders) gate.leave(holder)
    assert.deepEqual([gate.admitted, names(entered)], [1, ['next']])
  })

  it('one that was too large and is gone no longer keeps the next one out', () => {
    const entered: Request[] = []
    const gate = new Admission<Request>((one) => entered.push(one))
    gate.admit(request('first', limits.volumeBytes / 2))
    const large = request('large', limits.volumeBytes / 2 + 1)
    gate.admit(large)
    gate.admit(request('small'))
    assert.deepEqual(names(entered), ['first'], 'nobody overtakes')
    large.closed = true
    gate.drop(({ closed }) => closed)
    assert.deepEqual(names(entered), ['first', 'small'])
  })

  it('while held nothing enters, whatever is dropped', () => {
    const entered: Request[] = []
    const gate = new Admission<Request>((one) => entered.push(one))
    gate.hold(true)
    const gone = request('gone')
    gate.admit(gone)
    gate.admit(request('stays'))
    gone.closed = true
    gate.drop(({ closed }) => closed)
    assert.deepEqual(entered, [])
    gate.hold(false)
    assert.deepEqual(names(entered), ['stays'])
  })
})

describe('flushes and closed connections (W4, W9)', () => {
  it('those that wait for a session are forgotten; one under way, and those of others, end as they would', () => {
    const clock = new VirtualClock()
    const disk = openDisk(clock)
    const { sent, send } = recordingSend()
    const flusher = new Flusher({ clock, store: disk.replica, send, ownReplicaFailed: () => undefined })
    const answers: string[] = []
    const flush = (name: string, isWanted = () => true) => flusher.flush(() => answers.push(name), isWanted)
    let open = true
    for (let times = 0; times < 50; times += 1) flush('gone', () => open)
    flush('one')
    flush('gone', () => open)
    flush('two')
    open = false
    flusher.dropUnwanted()
    flusher.startSession(9, [idOf(1)])
    const asked = sent.flatMap(({ kind, body }) => (kind === 'flush.ask' ? [body] : []))
    assert.equal(asked.length, 2, 'only what somebody waits for is asked of the others')
    flusher.dropUnwanted()
    clock.pass(50)
    for (const { request } of asked.map((body) => body as { request: number })) {
      flusher.onDone(idOf(1), { session: 9, attempt: 0, request, failed: false })
    }
    assert.deepEqual(answers, ['one', 'two'])
  })

  it('one that its session did not finish is forgotten with its connection, too', () => {
    const clock = new VirtualClock()
    const { sent, send } = recordingSend()
    const flusher = new Flusher({ clock, store: openDisk(clock).replica, send, ownReplicaFailed: () => undefined })
    let open = true
    flusher.startSession(9, [idOf(1)])
    flusher.flush(
      () => assert.fail('nobody waits for it'),
      () => open,
    )
    flusher.endSession()
    open = false
    flusher.dropUnwanted()
    sent.length = 0
    flusher.startSession(10, [idOf(1)])
    clock.pass(50)
    assert.deepEqual(sent, [])
  })
})
