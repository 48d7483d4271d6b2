/** One agent of the lab: begin, end, and whether it answers. The state file follows every step. */
import { rm } from 'node:fs/promises'
import { TookTooLong, until } from '../kit/until.ts'
import { type Answer, CouldNot, messageOf, no, yes } from './answer.ts'
import { statusOf, stopInGoodOrder } from './api.ts'
import { isRunning, isStopped, lastLines, signal, startAgent, waitForEnd, withDescendants } from './processes.ts'
import { type LabState, type Member, memberNamed, membersOf, type ProcessIdentity, saveMember } from './state.ts'

/** After SIGKILL a process is gone as soon as the kernel has freed its memory. */
const killedMs = 10_000
/** After SIGTERM an agent hands over and flushes. */
const endedMs = 30_000

/** Signals that end an agent, and so are waited for. */
const ending = new Set(['SIGKILL', 'SIGTERM', 'SIGINT', 'SIGHUP', 'SIGQUIT', 'SIGABRT', 'SIGSEGV'])

/** Starts the agent's process and remembers it. Does not wait for its answer. @throws CouldNot */
export async function launch(state: LabState, member: Member): Promise<ProcessIdentity> {
  // A killed agent leaves its sockets behind: files on which nobody listens. Only the lab's own names are removed.
  for (const socket of [member.api, member.nbdSocket]) if (socket !== null) await rm(socket, { force: true })
  const started = await startAgent(member.dir, member.log, member.enter)
  member.process = started
  await saveMember(state.dir, member)
  return started
}

/** Waits until the agent's API answers, and learns its identity. @throws CouldNot when its process ends; TookTooLong */
export async function waitForAnswer(member: Member, limitMs: number, giveUp?: AbortSignal): Promise<void> {
  const answer = async () => (isRunning(member.process) ? (await statusOf(member)).server.id : 'ended')
  const id = await until(`answer of ${member.name}`, limitMs, answer, giveUp)
  if (id === 'ended') throw new CouldNot(`${member.name} ended at once; its last words:\n${lastLines(member.log)}`)
  member.serverId = id
}

export async function start(state: LabState, name: string, limitMs: number): Promise<Answer> {
  const member = memberNamed(state, name)
  if (isRunning(member.process)) return yes(`${name} is running already`)
  const { pid } = await launch(state, member)
  await waitForAnswer(member, limitMs)
  return yes(`${name} is up (process ${pid})`)
}

/** @throws CouldNot for an unknown signal */
export async function kill(state: LabState, name: string, signalName: string): Promise<Answer> {
  const member = memberNamed(state, name)
  const wanted = signalNamed(signalName)
  const identity = member.process
  if (!isRunning(identity)) return no(`${name} is not running`)
  if (!signal(identity, wanted)) return no(`${name} has just ended`)
  if (!ending.has(wanted)) return yes(`${wanted} sent to ${name} (process ${identity.pid})`)
  // A process that SIGSTOP holds hears nothing but SIGKILL and SIGCONT: it will end when it is continued.
  if (wanted !== 'SIGKILL' && isStopped(identity)) return yes(`${wanted} sent to ${name}, which is held by SIGSTOP`)
  await waitForEnd(identity, wanted === 'SIGKILL' ? killedMs : endedMs)
  member.process = null
  await saveMember(state.dir, member)
  return yes(`${name} is gone`)
}

const signalNames: readonly NodeJS.Signals[] = [
  'SIGKILL',
  'SIGTERM',
  'SIGINT',
  'SIGHUP',
  'SIGQUIT',
  'SIGABRT',
  'SIGSEGV',
  'SIGSTOP',
  'SIGCONT',
  'SIGUSR1',
  'SIGUSR2',
]

function signalNamed(text: string): NodeJS.Signals {
  const full = text.toUpperCase().startsWith('SIG') ? text.toUpperCase() : `SIG${text.toUpperCase()}`
  const found = signalNames.find((each) => each === full)
  if (found === undefined) {
    throw new CouldNot(`--signal takes ${signalNames.map((each) => each.slice(3)).join(', ')}, not "${text}"`)
  }
  return found
}

/** E7: planned. @returns no when the agent refuses or does not end in time */
export async function stop(state: LabState, name: string, limitMs: number): Promise<Answer> {
  const member = memberNamed(state, name)
  const identity = member.process
  if (!isRunning(identity)) return no(`${name} is not running`)
  try {
    await stopInGoodOrder(member, limitMs)
    await waitForEnd(identity, limitMs)
  } catch (failure) {
    return no(`${name} did not stop: ${messageOf(failure)}`)
  }
  member.process = null
  await saveMember(state.dir, member)
  return yes(`${name} has stopped`)
}

/** The processes of one member, for judges that count processor time; empty when it does not run. */
export const pidsOf = (member: Member): number[] =>
  isRunning(member.process) ? withDescendants(member.process.pid) : []

export const runningMembers = (state: LabState): Member[] =>
  membersOf(state).filter((member) => isRunning(member.process))

/**
 * Ends every agent; only processes that are still those the lab started.
 * @param gentlyMs how long each may hand over after SIGTERM before it is killed; 0: killed at once. Gently, they go one
 * after the other, so that each still has somebody to hand over to.
 */
export async function endAll(state: LabState, gentlyMs: number): Promise<void> {
  // The witness last: it decides who may go on.
  const running = runningMembers(state)
  if (gentlyMs === 0) await Promise.all(running.map((member) => end(member, 0)))
  else for (const member of running) await end(member, gentlyMs)
}

async function end(member: Member, gentlyMs: number): Promise<void> {
  const { process: identity } = member
  if (identity === null) return
  if (gentlyMs > 0) {
    // A held process would not hear SIGTERM.
    signal(identity, 'SIGCONT')
    signal(identity, 'SIGTERM')
    try {
      await waitForEnd(identity, gentlyMs)
    } catch (failure) {
      if (!(failure instanceof TookTooLong)) throw failure
    }
  }
  signal(identity, 'SIGKILL')
  await waitForEnd(identity, killedMs)
  member.process = null
}
