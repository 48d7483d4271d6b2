/** The run record (E12, C2): which life of the agent this is, and how the one before ended. */

import { FileError, type Files } from './files.ts'
import { encodeRecord } from './format.ts'
import { readRecordFile, replaceFile } from './records.ts'
import type { Steps } from './steps.ts'
import { damaged } from './trouble.ts'

const path = 'run.json'

export interface RunRecord {
  readonly run: number
  /** Of the machine; null where the system tells none: then an unclean end counts as lossy. */
  readonly bootId: string | null
  /** `running` until the end: found by the next run, it says that there was no clean end. */
  readonly end: 'running' | 'clean'
  /** A sync or write failed in that run: what its marks cover counts as lossy. */
  readonly failed: boolean
  /** A clean end that left every block checksum on the disk, also those of marked regions. */
  readonly sums: boolean
  /** C12: durable commits of this folder when it was written; 0 when an older agent wrote it. */
  readonly commits: number
  /** Commits of the index that were durable then; 0 when an older agent wrote it. */
  readonly index: number
}

export type PreviousEnd = 'first' | 'clean' | 'torn' | 'lossy'

/** @returns null when the folder never had a run. @throws UserError when the record is damaged */
export function* readRun(files: Files): Steps<RunRecord | null> {
  let value: unknown
  try {
    value = yield* readRecordFile(files, path)
  } catch (error) {
    if (error instanceof FileError && error.code === 'ENOENT') return null
    throw error
  }
  return parseRun(value)
}

const isCount = (value: unknown): value is number =>
  typeof value === 'number' && Number.isSafeInteger(value) && value >= 0

/** @throws UserError when it is no run record */
export function parseRun(value: unknown): RunRecord {
  if (typeof value !== 'object' || value === null) throw damaged(path, 'it is not a run record')
  const { run, bootId, end, failed, sums, commits = 0, index = 0 } = value as Record<string, unknown> // checked field by field below
  const shape =
    typeof run === 'number' &&
    Number.isSafeInteger(run) &&
    run > 0 &&
    (bootId === null || typeof bootId === 'string') &&
    (end === 'running' || end === 'clean') &&
    typeof failed === 'boolean' &&
    typeof sums === 'boolean' &&
    isCount(commits) &&
    isCount(index)
  if (!shape) throw damaged(path, 'it is not a run record')
  return { run, bootId, end, failed, sums, commits, index }
}

export function* writeRun(files: Files, record: RunRecord): Steps<void> {
  yield* replaceFile(files, '', path, encodeRecord(record))
}

/** `torn` only when it is proven that the machine went on (same boot id) and no write was lost. */
export function endOf(record: Omit<RunRecord, 'commits' | 'index'> | null, bootIdNow: string | null): PreviousEnd {
  if (record === null) return 'first'
  if (record.end === 'clean') return 'clean'
  if (record.failed || record.bootId === null || record.bootId !== bootIdNow) return 'lossy'
  return 'torn'
}
