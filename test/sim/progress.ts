/** How far a long run of histories is, in a file: a run that was killed goes on there. */
import { readFileSync, renameSync, writeFileSync } from 'node:fs'
import { z } from 'zod'

const whole = z.number().int().min(0)
const progressSchema = z.object({
  from: whole,
  count: whole,
  /** The seed to be played next. */
  next: whole,
  operations: whole,
  /** Requests that went through a host. */
  passed: whole,
  unjudged: whole,
  believed: whole,
  /** Histories that stood still rightly, by reason; and what went wrong strangely, by kind. */
  waits: z.record(z.string(), whole),
  mishaps: z.record(z.string(), whole),
  bad: z.array(z.object({ seed: whole, problems: z.array(z.string()) })),
})
export type Progress = z.infer<typeof progressSchema>

export function newProgress(from: number, count: number): Progress {
  return {
    from,
    count,
    next: from,
    operations: 0,
    passed: 0,
    unjudged: 0,
    believed: 0,
    waits: {},
    mishaps: {},
    bad: [],
  }
}

/** @returns what the file says, or `fresh` where there is none @throws Error when it is of another run */
export function readProgress(path: string, fresh: Progress): Progress {
  let text: string
  try {
    text = readFileSync(path, 'utf8')
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return fresh
    throw error
  }
  const progress = progressSchema.parse(JSON.parse(text))
  if (progress.from !== fresh.from || progress.count !== fresh.count)
    throw new Error(`${path} is about ${progress.count} histories from ${progress.from}`)
  return progress
}

/** As a whole: a kill leaves the file as it was, or as it is to be. */
export function writeProgress(path: string, progress: Progress): void {
  writeFileSync(`${path}.new`, `${JSON.stringify(progress)}\n`)
  renameSync(`${path}.new`, path)
}
