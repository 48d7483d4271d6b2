/** `cut`, `heal`, `fault`: what the agents' faults operation can break. What it cannot yet, it says itself. */

import type { Fault } from '../../agent/contract/operations.ts'
import { UserError } from '../../agent/kit/failure.ts'
import { type Answer, CouldNot, messageOf, yes } from './answer.ts'
import { setFault } from './api.ts'
import { runningMembers } from './members.ts'
import { isRunning } from './processes.ts'
import { type LabState, type Member, memberNamed } from './state.ts'

async function ask(member: Member, fault: Fault): Promise<void> {
  if (!isRunning(member.process)) throw new CouldNot(`${member.name} is not running`)
  try {
    await setFault(member, fault)
  } catch (failure) {
    if (failure instanceof UserError && failure.code === 'not-built') {
      throw new CouldNot(`${member.name} cannot do "${fault.kind}" yet: ${failure.message}`)
    }
    throw new CouldNot(`${member.name} did not take "${fault.kind}": ${messageOf(failure)}`)
  }
}

export async function cut(
  state: LabState,
  names: readonly [string, string],
  of: { oneWay: boolean; path: string | undefined },
): Promise<Answer> {
  if (of.path !== undefined) throw new CouldNot('--path: servers have only one path to each other so far')
  const [from, to] = names.map((name) => memberNamed(state, name))
  if (from === undefined || to === undefined || from === to) throw new CouldNot('cut takes two different servers')
  await ask(from, { kind: 'cut', peer: to.name, oneWay: of.oneWay })
  // One end drops what it sends and hears; both ends, so that the cut outlives a restart of either.
  if (!of.oneWay && isRunning(to.process)) await ask(to, { kind: 'cut', peer: from.name, oneWay: false })
  return yes(of.oneWay ? `${to.name} hears nothing from ${from.name} any more` : `${from.name} and ${to.name} are cut`)
}

export async function heal(state: LabState): Promise<Answer> {
  const members = runningMembers(state)
  for (const member of members) await ask(member, { kind: 'heal' })
  return yes(`no cut is left at ${members.map((member) => member.name).join(', ') || 'anybody: nobody runs'}`)
}

/** @throws CouldNot with the list, for a word that is no fault */
export function faultFrom(text: string): Fault {
  const [kind, value] = text.split('=', 2)
  const number = value === undefined || !/^\d+$/.test(value) ? undefined : Number(value)
  if (value === undefined && (kind === 'disk-fail' || kind === 'disk-full' || kind === 'off')) return { kind }
  if (kind === 'slow' && number !== undefined && number > 0) return { kind: 'disk-slow', delayMs: number }
  if (kind === 'bitflip' && number !== undefined) return { kind: 'bitflip', offsetBytes: number }
  throw new CouldNot(`a fault is disk-fail, disk-full, slow=MS, bitflip=OFFSET or off, not "${text}"`)
}

export async function fault(state: LabState, name: string, text: string): Promise<Answer> {
  const member = memberNamed(state, name)
  await ask(member, faultFrom(text))
  return yes(`${name}: ${text}`)
}
