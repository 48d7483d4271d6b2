/** A copy of the code with a rule broken, and how many histories the simulator needs to find it out. */
import { spawn } from 'node:child_process'
import { cp, readFile, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { z } from 'zod'
import { inFolder } from '../../kit/folder.ts'
import type { Edit, Mutant } from './kind.ts'

const project = join(import.meta.dirname, '..', '..', '..')

export interface Verdict {
  /** The first history that was found bad; null: all looked good. */
  readonly seed: number | null
  /** How many were played. */
  readonly histories: number
  readonly problem: string
  readonly seconds: number
}

/** @throws Error when the text does not stand in its file exactly once */
async function apply(folder: string, { file, from, to }: Edit): Promise<void> {
  const path = join(folder, 'agent', file)
  const pieces = (await readFile(path, 'utf8')).split(from)
  if (pieces.length !== 2) throw new Error(`agent/${file} has ${pieces.length - 1} times, not once: ${from}`)
  await writeFile(path, pieces.join(to))
}

/** Plays histories of the broken code until one is bad. @param from the first seed @param most histories at most */
export function judge(mutant: Mutant, from: number, most: number): Promise<Verdict> {
  return inFolder({}, async (folder) => {
    for (const part of ['agent', 'test/sim', 'test/kit', 'package.json']) {
      await cp(join(project, part), join(folder, part), { recursive: true })
    }
    await symlink(join(project, 'node_modules'), join(folder, 'node_modules'))
    for (const edit of mutant.edits) await apply(folder, edit)
    return await play(folder, mutant, from, most)
  })
}

const said = z.object({ seed: z.number(), problems: z.array(z.string()) })

async function play(folder: string, { weather, short }: Mutant, from: number, most: number): Promise<Verdict> {
  const beganMs = performance.now()
  const arguments_ = ['test/sim/main.ts', '--from', `${from}`, '--count', `${most}`, '--until-bad', '--quiet']
  if (short !== false) arguments_.push('--short')
  if (weather !== undefined) arguments_.push('--options', JSON.stringify(weather))
  const child = spawn(process.execPath, arguments_, { cwd: folder, stdio: ['ignore', 'pipe', 'pipe'] })
  const heard = { out: '', err: '' }
  child.stdout.on('data', (chunk) => {
    heard.out += chunk
  })
  child.stderr.on('data', (chunk) => {
    heard.err = `${heard.err}${chunk}`.slice(-2_000)
  })
  const code = await new Promise((done) => child.once('close', done))
  const seconds = (performance.now() - beganMs) / 1000
  const line = heard.out.split('\n').find((candidate) => candidate.startsWith('{"seed"'))
  if (line !== undefined) {
    const { seed, problems } = said.parse(JSON.parse(line))
    return { seed, histories: seed - from + 1, problem: problems[0] ?? '', seconds }
  }
  // A process that died says nothing about the rule: the code does not run with this edit.
  if (code !== 0) throw new Error(`the broken code does not run: ${heard.err}`)
  return { seed: null, histories: most, problem: '', seconds }
}
