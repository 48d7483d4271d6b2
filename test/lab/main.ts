/** `npm run -s lab -- …`. Results go to the standard output, explanations to the error; the exit code answers. */

import { nameText } from '../../agent/contract/config.ts'
import { parseSize } from '../../agent/contract/sizes.ts'
import { never, UserError } from '../../agent/kit/failure.ts'
import { limits } from '../../agent/limits.ts'
import { type Answer, CouldNot, messageOf, yes } from './answer.ts'
import { helpText, type Invocation, parseInvocation, secondsIn } from './arguments.ts'
import * as changes from './changes.ts'
import { equal } from './equal.ts'
import { cut, fault, heal } from './faults.ts'
import { describe, down, statusReport, up, wait } from './lab.ts'
import { kill, start, stop } from './members.ts'
import { loadState } from './state.ts'

async function bringUp(invocation: Invocation): Promise<Answer> {
  const { words, text, flag } = invocation
  const client = text('client')
  if (client !== 'tcp' && client !== 'unix') throw new CouldNot(`--client takes tcp or unix, not "${client}"`)
  const servers = Number(text('servers'))
  if (!Number.isInteger(servers) || servers < 2 || servers > 3) throw new CouldNot('--servers takes 2 or 3')
  const folders = Number(text('folders'))
  if (!Number.isInteger(folders) || folders < 0 || folders > limits.folders)
    throw new CouldNot(`--folders takes 0 to ${limits.folders}`)
  const volume = nameText.safeParse(text('volume'))
  if (!volume.success) throw new CouldNot(`--volume: ${volume.error.issues[0]?.message ?? 'not a name'}`)
  const request = {
    dir: words.DIR ?? '',
    servers,
    witness: flag('witness'),
    sizeBytes: parseSize(text('size') ?? ''),
    volume: volume.data,
    client,
    folders,
  } as const
  const giveUp = new AbortController()
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => giveUp.abort())
  const limitMs = secondsIn(text('timeout'), 'timeout') * 1000
  const state = await up(request, { limitMs, giveUp: giveUp.signal })
  return yes(JSON.stringify(await describe(state)))
}

async function answerTo(invocation: Invocation): Promise<Answer> {
  const { command, words, text, flag } = invocation
  if (command === 'up') return bringUp(invocation)
  const state = await loadState(words.DIR ?? '')
  const server = words.SERVER ?? ''
  const limitMs = () => secondsIn(text('timeout'), 'timeout') * 1000
  switch (command) {
    case 'kill':
      return kill(state, server, text('signal') ?? '')
    case 'start':
      return start(state, server, limitMs())
    case 'stop':
      return stop(state, server, limitMs())
    case 'wait':
      return wait(state, text('headline') ?? '', limitMs())
    case 'grow':
      return changes.grow(state, server, words.SIZE ?? '')
    case 'delete':
      return changes.remove(state, server)
    case 'restore':
      return changes.restore(state, server, text('as') ?? null)
    case 'purge':
      return changes.purge(state, server, { wipe: flag('wipe'), limitMs: limitMs() })
    case 'snapshot':
      return flag('delete')
        ? changes.deleteSnapshot(state, server, words.NAME ?? '')
        : changes.makeSnapshot(state, server, words.NAME ?? '')
    case 'equal':
      return equal(state)
    case 'status':
      return yes(await statusText(state, flag('json')))
    case 'cut':
      return cut(state, [server, words.SERVER2 ?? ''], { oneWay: flag('one-way'), path: text('path') })
    case 'heal':
      return heal(state)
    case 'fault':
      return fault(state, server, words.FAULT ?? '', text('folder'))
    case 'down':
      return down(state, { keep: flag('keep') })
    default:
      return never(command, 'answerTo')
  }
}

async function statusText(state: Awaited<ReturnType<typeof loadState>>, json: boolean): Promise<string> {
  const report = await statusReport(state)
  if (json) return JSON.stringify(report)
  const members = [
    ...report.servers.map(({ name, pid, nbd }) => ({ name, pid, nbd })),
    ...(report.witness === null ? [] : [{ name: 'witness', pid: report.witness.pid, nbd: '' }]),
  ]
  return members
    .map(({ name, pid, nbd }) => {
      const runs = pid === null ? 'not running' : `process ${pid}`
      return [name.padEnd(8), runs.padEnd(16), (report.headlines[name] ?? '').padEnd(24), nbd].join(' ').trimEnd()
    })
    .join('\n')
}

try {
  const invocation = parseInvocation(process.argv.slice(2))
  if (invocation === null) {
    process.stdout.write(`${helpText()}\n`)
    // Help that was not asked for is a command that could not be done.
    process.exitCode = process.argv.length > 2 ? 0 : 2
  } else {
    const answer = await answerTo(invocation)
    ;(answer.yes ? process.stdout : process.stderr).write(`${answer.says}\n`)
    process.exitCode = answer.yes ? 0 : 1
  }
} catch (failure) {
  const next = failure instanceof UserError ? ` ${failure.next}` : ''
  process.stderr.write(`lab: ${messageOf(failure)}${next}\n`)
  process.exitCode = 2
}
