/** The words for every state a volume can be in: always one of six headlines, and never more than the facts promise. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { replicaState, type Status, type VolumeStatus, waitingFor } from '../../../agent/contract/status.ts'
import {
  clientsWords,
  headlineOf,
  headlines,
  mayStop,
  statusWords,
  volumeWords,
} from '../../../agent/contract/words.ts'
import { idOf, replica, statusOf, volume } from '../control/recording-port.ts'

const nowMs = new Date(2026, 10, 22, 15, 0).getTime()
const at1402 = new Date(2026, 10, 22, 14, 2).getTime()
const names = ['nas-1', 'nas-2', 'nas-3']

const witness = (reachable: boolean): VolumeStatus['arbiter'] => ({
  kind: 'witness',
  serverId: idOf('arbiter-w'),
  serverName: 'arbiter-w',
  reachable,
})
const preferred: VolumeStatus['arbiter'] = {
  kind: 'preferred',
  serverId: idOf('nas-1'),
  serverName: 'nas-1',
  reachable: true,
}
const resync = (server: string, over: Partial<NonNullable<VolumeStatus['resync']>> = {}) => ({
  serverId: idOf(server),
  serverName: server,
  phase: 'comparing' as const,
  totalBytes: 1e12,
  doneBytes: 588e9,
  movedBytes: 0,
  bytesPerSecond: 380e6,
  remainingSeconds: 1084,
  startedMs: 0,
  ...over,
})

const out = { state: 'out', connected: false, reason: 'silent', sinceMs: at1402 } as const
const told = (over: Partial<VolumeStatus>) => {
  const { headline, second } = volumeWords(volume(over), nowMs)
  return `${headline} | ${second}`
}

test('the words of each state, as people read them', () => {
  const cases: [Partial<VolumeStatus>, string][] = [
    [{ arbiter: witness(true), survives: names }, 'Protected | Any one server may stop: work goes on.'],
    [
      {},
      'Protected | If nas-2 stops, work goes on. If nas-1 stops, work waits for it; a tiebreaker would change that.',
    ],
    [
      { arbiter: witness(false), survives: [] },
      'Protected | If nas-1 or nas-2 stops, work waits for that server, because the tiebreaker arbiter-w does not ' +
        'answer. Bring the tiebreaker arbiter-w back.',
    ],
    [
      { replicas: [replica('nas-1'), replica('nas-2', out)], survives: [] },
      'One copy | nas-2 stopped answering at 14:02: new data is not mirrored there. If nas-1 stops, work waits for ' +
        'it: it has the only complete copy. Check that nas-2 has power and network and that Mirrorbay runs there; it ' +
        'catches up by itself.',
    ],
    [
      {
        replicas: [replica('nas-1'), replica('nas-2', { ...out, connected: true, reason: 'disk-failed' })],
        survives: [],
      },
      'One copy | nas-2 lost its copy to a failed disk at 14:02: new data is not mirrored there. If nas-1 stops, work ' +
        'waits for it: it has the only complete copy. Replace the failed disk of nas-2.',
    ],
    [
      { replicas: [replica('nas-1'), replica('nas-2', { state: 'joining' })], survives: [], resync: resync('nas-2') },
      'Catching up | 58 % - 412 GB left - 380 MB/s - about 18 min. nas-2 is being brought up to date. If nas-1 ' +
        'stops, work waits for it: it has the only complete copy.',
    ],
    [
      {
        replicas: [replica('nas-1'), replica('nas-2', { state: 'out' })],
        survives: [],
        resync: resync('nas-2', { phase: 'paused' }),
      },
      'One copy | 58 % - 412 GB left - paused. Copying to nas-2 is paused: new data is not mirrored there. If nas-1 ' +
        'stops, work waits for it: it has the only complete copy. Choose Continue to go on copying to nas-2.',
    ],
    [
      {
        arbiter: witness(true),
        replicas: [replica('nas-1'), replica('nas-2'), replica('nas-3', { state: 'joining' })],
        survives: names,
        resync: resync('nas-3', { totalBytes: 0, bytesPerSecond: null, remainingSeconds: null }),
      },
      'Protected, catching up | just begun. nas-3 is being brought up to date. Any one of nas-1 and nas-2 may stop: ' +
        'work goes on.',
    ],
    [
      {
        serving: false,
        waiting: 'arbiter',
        replicas: [replica('nas-1', { connected: false }), replica('nas-2')],
        survives: [],
      },
      'Waiting | Work waits for nas-1: it decides who goes on, and does not answer. Bring nas-1 back: check power and ' +
        'network there. Going on without it is not possible in this version.',
    ],
    [
      { serving: false, waiting: 'peers', replicas: [replica('nas-1', { connected: false }), replica('nas-2')] },
      'Waiting | Work waits for nas-1, which may hold newer data. Nothing that was saved is lost. Bring nas-1 back: ' +
        'check power and network there. Going on without it is not possible in this version.',
    ],
    [
      { serving: false, waiting: 'forming' },
      'Waiting | The servers are agreeing on what was written last. This takes moments.',
    ],
    [
      {
        serving: false,
        waiting: 'resync',
        replicas: [replica('nas-1'), replica('nas-2', { state: 'joining' })],
        survives: [],
        resync: resync('nas-2', { phase: 'joining', totalBytes: 1e6, doneBytes: 1e6 }),
      },
      'Catching up | taking its place - 99 %. nas-2 is being brought up to date. Computers connected to this server ' +
        'wait until its copy is complete. If nas-1 stops, work waits for it: it has the only complete copy.',
    ],
    [
      {
        serving: false,
        waiting: 'disk',
        via: 'nas-1',
        replicas: [replica('nas-1'), replica('nas-2', { state: 'out', reason: 'disk-failed' })],
        survives: [],
      },
      'One copy | nas-2 lost its copy to a failed disk: new data is not mirrored there. Computers connected to this ' +
        'server work through nas-1. If nas-1 stops, work waits for it: it has the only complete copy. Replace the ' +
        'failed disk of nas-2.',
    ],
    [
      { serving: false, waiting: 'split-brain' },
      'Two versions | Servers went on separately and each has data that the other has not. Both versions are kept as ' +
        'they are. Leave both servers as they are and delete nothing. Choosing a version is not possible in this ' +
        'version.',
    ],
  ]
  for (const [over, words] of cases) assert.equal(told(over), words)
})

/** Every combination of what two or three replicas, the arbiter and the session may say; contradictions too. */
function* everyVolume(): Generator<VolumeStatus> {
  const kinds = replicaState.options.flatMap((state) => [true, false].map((connected) => ({ state, connected })))
  // The second and third of three servers differ by name only, so their order need not be tried both ways.
  const sets = kinds.flatMap((a) => [
    [a],
    ...kinds.flatMap((b, index) => [[a, b], ...kinds.slice(index).map((c) => [a, b, c])]),
  ])
  for (const set of sets) {
    const replicas = set.map((over, index) => replica(names[index] ?? '', over))
    for (const arbiter of [preferred, witness(true), witness(false)]) {
      for (const waiting of waitingFor.options) {
        for (const serving of [true, false]) {
          for (const resyncing of [null, resync('nas-2'), resync('nas-2', { phase: 'paused' })]) {
            for (const survives of [[], set.length === 2 ? ['nas-2'] : names]) {
              yield volume({ replicas, arbiter, waiting, serving, resync: resyncing, survives })
            }
          }
        }
      }
    }
  }
}

/** Words that belong to the trade, and traces of a missing value. */
const jargon =
  /epoch|quorum|target|initiator|\bLUN\b|session|replica|arbiter\b(?!-w)|witness|undefined|null|NaN|\[object| {2}|\.\./i

test('every combination of facts has one headline, plain words, and promises no more than the facts', () => {
  let count = 0
  const seen = new Set<string>()
  const sentences = new Set<string>()
  for (const one of everyVolume()) {
    count += 1
    const words = volumeWords(one, nowMs)
    seen.add(words.headline)
    assert.ok(headlines.includes(words.headline))
    sentences.add(words.second)
    checkPromises(one, words)
  }
  assert.ok(count > 50_000)
  for (const sentence of sentences) {
    assert.ok(sentence.endsWith('.'), sentence)
    assert.doesNotMatch(sentence, jargon)
  }
  assert.deepEqual([...seen].sort(), [...headlines].sort())
})

function checkPromises(one: VolumeStatus, words: ReturnType<typeof volumeWords>): void {
  const said = () => `${JSON.stringify(one)} says ${JSON.stringify(words)}`
  const sound = one.replicas.filter((each) => each.state === 'in-sync' && each.connected)
  if (words.headline === 'Protected') {
    assert.ok(one.serving && one.waiting === 'none' && one.resync === null, said())
    assert.ok(sound.length >= 2 && sound.length === one.replicas.length, said())
  }
  if (words.headline === 'Protected, catching up') assert.ok(sound.length >= 2, said())
  if (words.headline === 'Catching up') assert.ok(one.replicas.length >= 2 || one.resync !== null, said())
  if (one.waiting === 'split-brain') assert.equal(words.headline, 'Two versions', said())
  else if (one.waiting !== 'none' && one.waiting !== 'resync') assert.equal(words.headline, 'Waiting', said())
  if (!one.serving && one.waiting === 'none') assert.equal(words.headline, 'Waiting', said())
  if (words.headline === 'Waiting' || words.headline === 'Two versions') {
    assert.doesNotMatch(words.second, /work goes on|may stop/, said())
    assert.equal(words.ifAServerStops, null)
  } else {
    assert.notEqual(words.ifAServerStops, null, said())
  }
  for (const name of promised(
    words.second,
    sound.map((each) => each.serverName),
  )) {
    assert.ok(one.survives.includes(name), said())
    assert.ok(sound.length >= 2, said())
    assert.ok(one.arbiter.kind === 'witness' ? one.arbiter.reachable : one.arbiter.serverName !== name, said())
  }
}

/** The servers of which the words say that they may stop. */
function promised(text: string, good: readonly string[]): readonly string[] {
  if (/Any one (server )?(of .* )?may stop/.test(text)) return good
  return [...text.matchAll(/If (\S+) stops, work goes on/g)].map((match) => match[1] ?? '')
}

test('the promise to survive a stop is narrowed where the facts contradict each other', () => {
  assert.deepEqual(mayStop(volume({ survives: names })), ['nas-2'])
  assert.deepEqual(mayStop(volume({ survives: names, arbiter: witness(true) })), ['nas-1', 'nas-2'])
  assert.deepEqual(mayStop(volume({ survives: names, arbiter: witness(false) })), [])
  assert.deepEqual(mayStop(volume({ survives: names, serving: false })), [])
  assert.deepEqual(mayStop(volume({ survives: names, replicas: [replica('nas-1')] })), [])
})

test('progress never says 100 % and never guesses, whatever the numbers are', () => {
  const number = fc.oneof(fc.nat(), fc.double({ min: 0, max: 1e15, noNaN: true }))
  fc.assert(
    fc.property(number, number, fc.option(number), fc.option(number), (totalBytes, doneBytes, speed, left) => {
      const numbers = { totalBytes, doneBytes, bytesPerSecond: speed, remainingSeconds: left }
      const words = volumeWords(
        volume({
          replicas: [replica('nas-1'), replica('nas-2', { state: 'joining' })],
          resync: resync('nas-2', numbers),
        }),
        nowMs,
      )
      assert.doesNotMatch(words.progress ?? '', /\b\d{3,} %|NaN|Infinity|-\d/)
      assert.equal(words.headline, 'Catching up')
      if (speed === null) assert.doesNotMatch(words.progress ?? '', /\/s/)
    }),
    { seed: 7, numRuns: 500 },
  )
})

test('of several volumes the most urgent comes first and the others are counted', () => {
  const well = volume({ name: 'a' })
  const ill = volume({ name: 'b', replicas: [replica('nas-1'), replica('nas-2', out)], survives: [] })
  const waits = volume({ name: 'c', serving: false, waiting: 'forming' })
  const words = statusWords(statusOf([well, ill, waits]), nowMs)
  assert.equal(words.headline, 'Waiting')
  assert.match(words.second, /^c: .* 1 more disk needs attention\.$/)
  assert.deepEqual(
    words.volumes.map((each) => each.name),
    ['c', 'b', 'a'],
  )
  assert.match(statusWords(statusOf([well, { ...well, name: 'd' }]), nowMs).second, /^a: /)
  assert.equal(headlineOf(well), 'Protected')
})

test('a server without volumes says what comes next', () => {
  const facts = statusOf([])
  const peers = (over: Partial<Status['peers'][number]>) => facts.peers.map((peer) => ({ ...peer, ...over }))
  const say = (over: Partial<Status>) => statusWords({ ...facts, ...over }, nowMs)
  assert.equal(say({}).headline, null)
  assert.match(say({}).second, /Create one/)
  assert.match(say({ peers: peers({ connected: false }) }).second, /nas-2 does not answer/)
  assert.match(say({ peers: [] }).second, /no second server/)
  assert.match(say({ server: { ...facts.server, role: 'tiebreaker' } }).second, /is a tiebreaker/)
})

test('who is connected is listed, and through which server it is served', () => {
  const clients = [
    { protocol: 'nbd', address: '10.0.0.7:9' },
    { protocol: 'nbd', address: 'unix socket' },
  ]
  assert.equal(clientsWords(volume({ clients: [] })), null)
  assert.equal(clientsWords(volume({ clients })), '10.0.0.7:9 (NBD), unix socket (NBD)')
  assert.equal(
    clientsWords(volume({ clients, via: 'nas-1' })),
    '10.0.0.7:9 (NBD), unix socket (NBD), served through nas-1',
  )
})
