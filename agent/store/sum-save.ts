/** Brings the checksums of regions, and doubtful slot headers, to the disk, durably, so that their marks may come off (C1). */
import { invariant } from '../kit/failure.ts'
import type { Commits } from './commits.ts'
import type { ExtentMap } from './extent-map.ts'
import { FileError } from './files.ts'
import { regionExtents } from './format.ts'
import { runSteps, type Steps, wait } from './steps.ts'
import type { SumDoubt } from './sum-doubt.ts'
import type { SumOwner } from './sum-page.ts'
import type { Sums } from './sums.ts'
import type { Syncs } from './syncs.ts'

export interface SumSaveParts {
  readonly map: ExtentMap
  readonly sums: Sums
  readonly doubt: SumDoubt
  readonly syncs: Syncs
  readonly commits: Commits
  /** Regions whose slot headers may not be on the disk as they were written. */
  readonly headerDoubt: Set<number>
  /** Hands the headers of a region to the commit that is being gathered. */
  readonly writeHeaders: (region: number) => void
  /** The volume is deleted: its slots may be somebody else's. */
  readonly isGone: () => boolean
  readonly failed: () => boolean
  readonly fail: (error: FileError) => void
  /** A call of the disk that nobody waits for counts all the same when it hangs (E8). */
  readonly timed: (call: Call) => Call
}

type Call = (done: (error: FileError | null) => void) => void

/** Region after region; computes anew what an unclean end left in doubt (C2). `failed`: their marks have to stay. */
export function saveSums(
  parts: SumSaveParts,
  owner: SumOwner,
  regions: readonly number[],
  done: (failed: boolean) => void,
): void {
  runSteps(saveSteps(parts, owner, regions), (error) => {
    if (error !== null && !(error instanceof FileError)) invariant(false, 'S6', `checksums were not saved: ${error}`)
    done(error !== null || parts.failed())
  })
}

function* saveSteps(parts: SumSaveParts, owner: SumOwner, regions: readonly number[]): Steps<void> {
  let isChanged = false
  for (const region of regions) {
    if (parts.headerDoubt.has(region)) {
      yield* saveHeaders(parts, owner, region)
      isChanged = true
    }
    const extents = extentsToSave(parts, region)
    isChanged ||= extents.length > 0
    for (const extent of extents) {
      if (parts.sums.isClosing) throw new FileError('ECANCELED', 'the store closes')
      const slot = parts.map.get(extent)
      // Given back meanwhile.
      if (slot < 0) continue
      const page = parts.sums.page(slot, owner, extent)
      page.pins += 1
      try {
        // An extent that is given back meanwhile has nothing to save any more: that is no failure.
        yield* wait(parts.timed((next) => parts.sums.load(page, (error) => next(page.slot === slot ? error : null))))
        yield* wait(parts.timed((next) => parts.sums.clean(page, next)))
      } finally {
        page.pins -= 1
      }
      // The whole volume is given back, and its slots may be somebody else's by now.
      if (page.slot !== slot && parts.map.get(extent) === slot) throw new FileError('ENOENT', 'the volume is gone')
    }
  }
  if (!isChanged) return
  const sync: Call = (next) =>
    parts.syncs.request((error) => {
      // A failed sync says nothing about what it was to cover, ever: the store takes nothing more (C2).
      if (error !== null) parts.fail(error)
      next(error)
    })
  yield* wait(parts.timed(sync))
}

/** The next sync makes them durable. */
function* saveHeaders(parts: SumSaveParts, owner: SumOwner, region: number): Steps<void> {
  if (parts.sums.isClosing) throw new FileError('ECANCELED', 'the store closes')
  if (parts.isGone()) throw new FileError('ENOENT', 'the volume is gone')
  const first = region * regionExtents
  owner.sumsBegin(first)
  try {
    parts.writeHeaders(region)
    yield* wait(parts.timed((next) => parts.commits.wait(next)))
  } finally {
    owner.sumsEnd(first)
  }
  parts.headerDoubt.delete(region)
}

function extentsToSave({ map, sums, doubt }: Pick<SumSaveParts, 'map' | 'sums' | 'doubt'>, region: number): number[] {
  const extents: number[] = []
  for (let extent = region * regionExtents; extent < (region + 1) * regionExtents; extent += 1) {
    const slot = map.get(extent)
    if (slot >= 0 && (doubt.has(extent) || sums.isChanged(slot))) extents.push(extent)
  }
  return extents
}

/** C1: whether the disk holds all that memory knows of the region's checksums. */
export function sumsAreSaved(parts: Pick<SumSaveParts, 'map' | 'sums' | 'doubt'>, region: number): boolean {
  return extentsToSave(parts, region).length === 0
}
