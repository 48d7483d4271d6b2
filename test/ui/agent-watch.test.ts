/** What the window believes: the picture kept by agent-watch.ts, with a bridge and a clock of the test's own. */
import assert from 'node:assert/strict'
import { afterEach, beforeEach, describe, mock, test } from 'node:test'
import type { Bridge, News, Outcome } from '../../agent/contract/bridge.ts'
import { AgentWatch } from '../../renderer/agent-watch.ts'
import { history, states } from './states.ts'

/** Milliseconds, larger than any interval of the watch that it is to outlast. */
const gathered = 50
const longestRetryMs = 3_000

/** A bridge that does what the test says. */
class ScriptedBridge implements Bridge {
  opened = 0
  stopped = 0
  told: (news: News) => void = () => undefined
  answer: () => Promise<Outcome> = () => Promise.resolve({ kind: 'done', value: states.protected })

  call(): Promise<Outcome> {
    return this.answer()
  }

  watch(told: (news: News) => void): () => void {
    this.opened += 1
    this.told = told
    return () => {
      this.stopped += 1
    }
  }
}

/** Lets promises that are settled already run their course. */
const settle = async () => {
  for (let turn = 0; turn < 10; turn += 1) await Promise.resolve()
}

describe('the watch over an agent', () => {
  let bridge: ScriptedBridge
  let watch: AgentWatch
  let leave: () => void

  beforeEach(() => {
    mock.timers.enable({ apis: ['setTimeout', 'setInterval'] })
    bridge = new ScriptedBridge()
    watch = new AgentWatch(bridge)
    leave = watch.listen(() => undefined)
  })
  afterEach(() => {
    leave()
    mock.timers.reset()
  })

  const goLive = () => {
    bridge.told({ kind: 'status', data: states.protected })
    mock.timers.tick(gathered)
    assert.equal(watch.view().phase, 'live')
  }

  test('connecting until the first status; many news become one change of the picture', () => {
    let changes = 0
    const stop = watch.listen(() => {
      changes += 1
    })
    assert.equal(watch.view().phase, 'connecting')
    bridge.told({ kind: 'status', data: states.protected })
    history.forEach((event, index) => {
      bridge.told({ kind: 'event', data: { ...event, number: index + 1 } })
    })
    assert.equal(watch.view().phase, 'connecting')
    mock.timers.tick(gathered)
    assert.deepEqual([watch.view().phase, watch.view().events.length, changes], ['live', history.length, 1])
    stop()
  })

  test('lost when the stream ends: the old picture stays, and is tried for again, ever more slowly', () => {
    goLive()
    bridge.told({ kind: 'end', refusal: null })
    assert.deepEqual([watch.view().phase, watch.view().status], ['lost', states.protected])
    const opened: number[] = []
    for (let second = 0; second < 10; second += 1) {
      mock.timers.tick(1_000)
      if (bridge.opened > 1 + opened.length) {
        opened.push(second)
        bridge.told({ kind: 'end', refusal: null })
      }
    }
    assert.ok(opened.length >= 3 && opened.length <= 6, `tried after ${opened.join(', ')} s`)
    mock.timers.tick(longestRetryMs)
    bridge.told({ kind: 'status', data: states['one-copy'] })
    mock.timers.tick(gathered)
    assert.deepEqual([watch.view().phase, watch.view().status], ['live', states['one-copy']])
  })

  test('an agent that hangs with its connection open is lost within eight seconds', async () => {
    goLive()
    bridge.answer = () => new Promise(() => undefined)
    mock.timers.tick(4_000)
    await settle()
    assert.equal(watch.view().phase, 'live')
    mock.timers.tick(4_000)
    await settle()
    assert.equal(watch.view().phase, 'lost')
    assert.equal(bridge.stopped, 1, 'the dead stream was closed')
  })

  test('what no news told of is seen when it is asked for, but an old answer hides no newer news', async () => {
    goLive()
    bridge.answer = () => Promise.resolve({ kind: 'done', value: states['waiting-for-server'] })
    mock.timers.tick(2_000)
    await settle()
    mock.timers.tick(gathered)
    assert.deepEqual(watch.view().status, states['waiting-for-server'])
    let answerLate: (outcome: Outcome) => void = () => undefined
    bridge.answer = () =>
      new Promise((resolve) => {
        answerLate = resolve
      })
    mock.timers.tick(2_000)
    goLive()
    answerLate({ kind: 'done', value: states['one-copy'] })
    await settle()
    mock.timers.tick(gathered)
    assert.deepEqual(watch.view().status, states.protected)
  })

  test('an answer that is late, from a stream that has ended since, changes nothing', async () => {
    goLive()
    let answerLate: (outcome: Outcome) => void = () => undefined
    bridge.answer = () =>
      new Promise((resolve) => {
        answerLate = resolve
      })
    mock.timers.tick(4_000)
    bridge.told({ kind: 'end', refusal: null })
    mock.timers.tick(400)
    goLive()
    answerLate({ kind: 'lost' })
    await settle()
    assert.equal(watch.view().phase, 'live')
  })

  test('a refusal is shown with its words and no old picture, and tried again', () => {
    goLive()
    const refusal = { code: 'not-signed-in', happened: 'No token.', dataIsSafe: 'Safe.', next: 'Get one.' }
    bridge.told({ kind: 'end', refusal })
    assert.deepEqual(watch.view(), { phase: 'refused', status: null, events: [], refusal })
    mock.timers.tick(longestRetryMs)
    assert.equal(bridge.opened, 2)
  })

  test('an agent of another version is not shown with a wrong picture', () => {
    bridge.told({ kind: 'status', data: { ...states.protected, volumes: 'many' } })
    const view = watch.view()
    assert.equal(view.phase === 'refused' && view.refusal.code, 'other-version')
  })

  test('after the last listener has left nothing is asked, told or tried', () => {
    goLive()
    leave()
    mock.timers.tick(60_000)
    assert.deepEqual([bridge.opened, bridge.stopped], [1, 1])
    leave = watch.listen(() => undefined)
    assert.equal(bridge.opened, 2)
  })

  test('a command without an answer says that nobody knows whether it was done', async () => {
    bridge.answer = () => Promise.resolve({ kind: 'lost' })
    const error = await watch.command('resync', { volume: 'fileserver', action: 'now' })
    assert.match(error?.dataIsSafe ?? '', /not known whether this was done/)
  })
})
