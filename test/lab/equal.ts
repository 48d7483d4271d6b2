/**
 * `lab equal`: are all in-sync copies the same, byte for byte, in the stores' files? Running agents flush and hold
 * writes while a stretch is compared: a few seconds at a time, then they let go for a moment, so that a large volume can
 * be compared without clients taking it for dead.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { formatSize } from '../../agent/contract/sizes.ts'
import { type Answer, CouldNot, messageOf, no, yes } from './answer.ts'
import { hold, release } from './api.ts'
import { type Comparison, compareCopies } from './compare.ts'
import { type OpenCopies, openInSyncCopies } from './copies.ts'
import { runningMembers } from './members.ts'
import type { LabState, Member } from './state.ts'

/** Seconds that a hold may last, should the lab die meanwhile; and how long one stretch is compared, milliseconds. */
const holdSeconds = 8
const stretchMs = 4_000
/** Between two stretches clients get their turn, milliseconds. */
const breatheMs = 1_000
/** A comparison that is not done after this many stretches is given up: 64 TiB are not for the lab. */
const mostStretches = 200

/** @throws CouldNot when a running agent does not hold, or a store cannot be read */
export async function equal(state: LabState): Promise<Answer> {
  let from: Position = { subject: 0, extent: 0 }
  for (let stretch = 0; stretch < mostStretches; stretch++) {
    if (stretch > 0) await sleep(breatheMs)
    const result = await held(state, () => compareStretch(state, from))
    if ('yes' in result) return result
    from = result
  }
  throw new CouldNot(`not done after ${mostStretches} stretches`)
}

/** Where the next stretch begins: 0 is the disk itself, then its snapshots. */
interface Position {
  readonly subject: number
  readonly extent: number
}

async function held<T>(state: LabState, use: () => Promise<T>): Promise<T> {
  const running = runningMembers(state).filter((member) => member.nbdPort !== null)
  const asked = await Promise.allSettled(running.map((member) => hold(member, holdSeconds)))
  try {
    const refusal = asked.findIndex((answer) => answer.status === 'rejected')
    if (refusal >= 0) throw new CouldNot(`${running[refusal]?.name} did not hold writes: ${reasonOf(asked[refusal])}`)
    return await use()
  } finally {
    await Promise.all(running.map(letGo))
  }
}

const reasonOf = (answer: PromiseSettledResult<void> | undefined): string =>
  answer?.status === 'rejected' ? messageOf(answer.reason) : ''

/** A hold ends by itself: that it could not be ended early is no reason to hide what was found. */
async function letGo(member: Member): Promise<void> {
  await release(member).catch((failure: unknown) => {
    process.stderr.write(`lab: ${member.name} holds writes a few seconds longer: ${messageOf(failure)}\n`)
  })
}

async function compareStretch(state: LabState, from: Position): Promise<Answer | Position> {
  const opened = openInSyncCopies(state)
  try {
    const endMs = performance.now() + stretchMs
    const hidden = { name: 'hidden range', copies: opened.hidden }
    const snapshots = opened.snapshots.map(({ name, copies }) => ({ name: `snapshot ${name}`, copies }))
    const subjects = [{ name: null, copies: opened.copies }, hidden, ...snapshots]
    let result: Comparison = { kind: 'equal' }
    for (let { subject, extent } = from; subject < subjects.length; subject += 1, extent = 0) {
      const { name = null, copies = [] } = subjects[subject] ?? {}
      result = await compareCopies(copies, extent, () => performance.now() > endMs)
      if (result.kind === 'unfinished' && opened.copies.length > 1) return { subject, extent: result.nextExtent }
      if (result.kind !== 'equal') return answerOf(result, opened, name === null ? '' : `${name}: `)
    }
    return answerOf(result, opened, '')
  } catch (failure) {
    if (failure instanceof CouldNot) throw failure
    throw new CouldNot(`the stores could not be read: ${messageOf(failure)}`)
  } finally {
    opened.close()
  }
}

/** @param where before the words of a difference */
function answerOf(result: Comparison, opened: OpenCopies, where: string): Answer {
  const { copies, epoch, outside } = opened
  const names = copies.map((copy) => copy.server)
  if (copies.length < 2) {
    const others = outside.length === 0 ? '' : `; ${outside.join(', ')} is not`
    return no(`nothing to compare: only one copy is in sync (${names.join(', ')}, epoch ${epoch}${others})`)
  }
  if (result.kind === 'differ') {
    const extent = Math.floor(result.atByte / (256 * 1024))
    return no(
      `${where}the copies on ${result.first} and ${result.second} differ, first at byte ${result.atByte} (extent ${extent})`,
    )
  }
  if (result.kind === 'rotten') {
    return no(
      `${where}the block at byte ${result.atByte} on ${result.server} does not fit its checksum, or cannot be read`,
    )
  }
  const size = formatSize(copies[0]?.sizeBytes ?? 0)
  const held = formatSize(opened.heldBytes)
  const snapshots = opened.snapshots.length === 0 ? '' : `, ${opened.snapshots.length} snapshots`
  return yes(`equal: ${size} on ${names.join(' and ')} (${held} in use${snapshots}, epoch ${epoch})`)
}
