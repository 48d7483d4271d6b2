/** `grow`, `delete`, `restore`, `purge`, `snapshot`: what a person changes of the shared disk, asked of one server. */
import { formatSize, parseSize } from '../../agent/contract/sizes.ts'
import type { DeletedVolumeStatus } from '../../agent/contract/status.ts'
import { UserError } from '../../agent/kit/failure.ts'
import { until } from '../kit/until.ts'
import { type Answer, CouldNot, messageOf, no, yes } from './answer.ts'
import * as api from './api.ts'
import { isRunning } from './processes.ts'
import { type LabState, type Member, memberNamed, saveVolume } from './state.ts'

/** @returns the answer when it was done, "no" with the agent's words when it refused. @throws CouldNot when it does not answer */
async function asked(member: Member, ask: () => Promise<void>, done: string): Promise<Answer> {
  if (!isRunning(member.process)) throw new CouldNot(`${member.name} is not running`)
  try {
    await ask()
    return yes(done)
  } catch (failure) {
    if (failure instanceof UserError && !notAnswers.has(failure.code)) {
      return no(`${member.name} refused (${failure.code}): ${failure.message}`)
    }
    throw new CouldNot(`${member.name}: ${messageOf(failure)}`)
  }
}

/** What the client says when the agent did not. */
const notAnswers: ReadonlySet<string> = new Set(['agent-lost', 'agent-not-running', 'agent-silent', 'bad-answer'])

export async function grow(state: LabState, name: string, size: string): Promise<Answer> {
  const sizeBytes = parseSize(size)
  const { volume } = state
  const member = memberNamed(state, name)
  const said = `${volume.name} has ${formatSize(sizeBytes)} now`
  const answer = await asked(member, () => api.grow(member, volume.name, sizeBytes), said)
  if (answer.yes) await saveVolume(state.dir, { ...volume, sizeBytes })
  return answer
}

export async function remove(state: LabState, name: string): Promise<Answer> {
  const { volume } = state
  const member = memberNamed(state, name)
  return asked(member, () => api.deleteVolume(member, volume.name), `${volume.name} is deleted`)
}

/** The lab's disk among the recently deleted ones: the one deleted last, where several had its name. */
async function deletedOne(state: LabState, member: Member): Promise<DeletedVolumeStatus> {
  const { deletedVolumes } = await api.statusOf(member)
  const named = deletedVolumes.filter((volume) => volume.name === state.volume.name)
  const last = named.sort((a, b) => b.deletedMs - a.deletedMs)[0]
  if (last === undefined) throw new CouldNot(`${member.name} knows no deleted disk "${state.volume.name}"`)
  return last
}

export async function restore(state: LabState, name: string, as: string | null): Promise<Answer> {
  const member = memberNamed(state, name)
  const { id, name: before } = await deletedOne(state, member)
  const answer = await asked(member, () => api.restoreVolume(member, id, as), `${as ?? before} is back`)
  if (answer.yes && as !== null) await saveVolume(state.dir, { ...state.volume, name: as })
  return answer
}

export async function purge(
  state: LabState,
  name: string,
  of: { readonly wipe: boolean; readonly limitMs: number },
): Promise<Answer> {
  const member = memberNamed(state, name)
  const { id, name: before } = await deletedOne(state, member)
  const answer = await asked(member, () => api.purgeVolume(member, id, of.wipe), `${before} is gone for good`)
  if (!answer.yes) return answer
  try {
    await until(`the end of ${before} at ${name}`, of.limitMs, async () => {
      return !(await api.statusOf(member)).deletedVolumes.some((volume) => volume.id === id)
    })
    return answer
  } catch (failure) {
    // The limit passed: that is the answer "no".
    return no(messageOf(failure))
  }
}

export async function makeSnapshot(state: LabState, name: string, snapshot: string): Promise<Answer> {
  const { volume } = state
  const member = memberNamed(state, name)
  const said = `${volume.name}@${snapshot} is made`
  return asked(member, () => api.makeSnapshot(member, volume.name, snapshot), said)
}

export async function deleteSnapshot(state: LabState, name: string, snapshot: string): Promise<Answer> {
  const { volume } = state
  const member = memberNamed(state, name)
  return asked(member, () => api.deleteSnapshot(member, volume.name, snapshot), `${volume.name}@${snapshot} is deleted`)
}
