/** `cut`, `heal`, `fault`: what the agents' faults operation can break; and a bit on the disk, which no agent is told. */
import fs from 'node:fs'
import path from 'node:path'
import type { Fault } from '../../agent/contract/operations.ts'
import { type Answer, CouldNot, messageOf, yes } from './answer.ts'
import { setFault } from './api.ts'
import { findReplica } from './copies.ts'
import { runningMembers } from './members.ts'
import { isRunning } from './processes.ts'
import { type LabState, type Member, memberNamed } from './state.ts'

async function ask(member: Member, fault: Fault): Promise<void> {
  if (!isRunning(member.process)) throw new CouldNot(`${member.name} is not running`)
  try {
    await setFault(member, fault)
  } catch (failure) {
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

/** One bit of the volume's byte at that offset, in this server's data file. */
export interface BitFlip {
  readonly kind: 'bitflip'
  readonly offsetBytes: number
}

type DiskFault = Extract<Fault, { folder?: string | undefined }>

/** @throws CouldNot with the list, for a word that is no fault */
export function faultFrom(text: string): DiskFault | BitFlip {
  const [kind, value] = text.split('=', 2)
  const number = value === undefined || !/^\d+$/.test(value) ? undefined : Number(value)
  if (value === undefined && (kind === 'disk-fail' || kind === 'disk-full' || kind === 'off')) return { kind }
  if (kind === 'slow' && number !== undefined && number > 0) return { kind: 'disk-slow', delayMs: number }
  if (kind === 'bitflip' && number !== undefined) return { kind: 'bitflip', offsetBytes: number }
  throw new CouldNot(`a fault is disk-fail, disk-full, slow=MS, bitflip=OFFSET or off, not "${text}"`)
}

/** @param folder of a disk fault: only there; else in all folders. A bit is flipped wherever the copy lies. */
export async function fault(state: LabState, name: string, text: string, folder?: string): Promise<Answer> {
  const member = memberNamed(state, name)
  const asked = faultFrom(text)
  if (asked.kind === 'bitflip') return flipBit(state, member, asked.offsetBytes)
  await ask(member, folder === undefined ? asked : { ...asked, folder })
  return yes(`${name}: ${text}${folder === undefined ? '' : ` in ${folder}`}`)
}

/** As a failing disk does it: whether the agent runs or not, it is not asked. @throws CouldNot where nothing is stored */
function flipBit(state: LabState, member: Member, offsetBytes: number): Answer {
  const { sizeBytes, name } = state.volume
  if (offsetBytes >= sizeBytes) throw new CouldNot(`byte ${offsetBytes} is outside of ${name}, which has ${sizeBytes}`)
  const found = findReplica(member, name)
  try {
    const place = found.replica.placeOf(offsetBytes)
    if (place === null) {
      throw new CouldNot(`byte ${offsetBytes} of ${name} is in a hole on ${member.name}: there is no bit to flip`)
    }
    flipBitIn(path.join(found.dir, place.path), place.offsetBytes)
    return yes(`${member.name}: a bit of byte ${offsetBytes} is flipped (${place.path}, byte ${place.offsetBytes})`)
  } finally {
    found.store.close()
  }
}

function flipBitIn(file: string, atByte: number): void {
  const fd = fs.openSync(file, 'r+')
  try {
    const byte = Buffer.alloc(1)
    // A slot beyond the end of the file was never written: zeros.
    fs.readSync(fd, byte, 0, 1, atByte)
    byte.writeUInt8(byte.readUInt8(0) ^ 1)
    fs.writeSync(fd, byte, 0, 1, atByte)
    fs.fdatasyncSync(fd)
  } finally {
    fs.closeSync(fd)
  }
}
