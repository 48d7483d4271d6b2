/** The agents' API over their Unix sockets, as the lab needs it. */

import { connectAgent } from '../../agent/cli/connection.ts'
import type { Client } from '../../agent/contract/client.ts'
import type { Event } from '../../agent/contract/events.ts'
import type { Fault } from '../../agent/contract/operations.ts'
import type { Status } from '../../agent/contract/status.ts'
import type { Member } from './state.ts'

/** An agent answers from memory: one that needs longer is held or overloaded, and counts as not answering. */
const answerMs = 2_000
/** Creating a volume writes to every server's disk. */
const createMs = 30_000
/** A change is made and decided by every server. */
const changeMs = 60_000
/** A hold flushes all copies first. */
const holdAnswerMs = 15_000

const clientOf = (member: Member): Client => connectAgent(member.api)

const limit = (ms: number) => ({ signal: AbortSignal.timeout(ms) })

/** @throws when it does not answer within two seconds */
export const statusOf = (member: Member, limitMs = answerMs): Promise<Status> =>
  clientOf(member).call('status', {}, limit(limitMs))

/** The console's address, with its token. */
export const consoleUrl = async (member: Member): Promise<string> =>
  (await clientOf(member).call('console', {}, limit(answerMs))).url

export async function createVolume(
  member: Member,
  request: { name: string; sizeBytes: number; witness: boolean },
): Promise<void> {
  const { name, sizeBytes } = request
  const arbiter = request.witness ? 'witness' : 'preferred'
  await clientOf(member).call('createVolume', { name, sizeBytes, arbiter }, limit(createMs))
}

/** Asks a server to flush and to hold writes back for some seconds. */
export async function hold(member: Member, seconds: number): Promise<void> {
  await clientOf(member).call('hold', { seconds }, limit(holdAnswerMs))
}

export async function release(member: Member): Promise<void> {
  await clientOf(member).call('release', {}, limit(answerMs))
}

export async function stopInGoodOrder(member: Member, limitMs: number): Promise<void> {
  await clientOf(member).call('stop', {}, limit(limitMs))
}

export async function grow(member: Member, volume: string, sizeBytes: number): Promise<void> {
  await clientOf(member).call('growVolume', { volume, sizeBytes }, limit(changeMs))
}

export async function deleteVolume(member: Member, volume: string): Promise<void> {
  await clientOf(member).call('deleteVolume', { volume }, limit(changeMs))
}

/** @param id of a recently deleted volume @param as another name; null: the old one */
export async function restoreVolume(member: Member, id: string, as: string | null): Promise<void> {
  await clientOf(member).call('restoreVolume', { id, as }, limit(changeMs))
}

export async function purgeVolume(member: Member, id: string, wipe: boolean): Promise<void> {
  await clientOf(member).call('purgeVolume', { id, wipe }, limit(changeMs))
}

export async function makeSnapshot(member: Member, volume: string, name: string): Promise<void> {
  await clientOf(member).call('makeSnapshot', { volume, name }, limit(changeMs))
}

export async function deleteSnapshot(member: Member, volume: string, snapshot: string): Promise<void> {
  await clientOf(member).call('deleteSnapshot', { volume, snapshot }, limit(changeMs))
}

export async function resync(member: Member, volume: string, action: 'now' | 'pause' | 'continue'): Promise<void> {
  await clientOf(member).call('resync', { volume, action }, limit(createMs))
}

export async function setFault(member: Member, fault: Fault): Promise<void> {
  await clientOf(member).call('setFault', fault, limit(answerMs))
}

export async function eventsOf(member: Member): Promise<readonly Event[]> {
  return (await clientOf(member).call('events', { after: 0 }, limit(answerMs))).events
}
