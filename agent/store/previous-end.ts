/** What the end of the run before means for marks and checksums (C2). */
import type { ExtentMap } from './extent-map.ts'
import { markState } from './format.ts'
import type { Marks } from './marks.ts'
import { type Steps, wait } from './steps.ts'
import type { SumDoubt } from './sum-doubt.ts'

interface Replica {
  readonly parts: { readonly marks: Marks; readonly map: ExtentMap; readonly doubt: SumDoubt }
}

/** What is marked gets at least that grade, durably; never a better one than it has. */
export function* gradeMarks(replicas: Iterable<Replica>, end: 'torn' | 'lossy'): Steps<void> {
  const state = end === 'torn' ? markState.torn : markState.lossy
  for (const { parts } of replicas) {
    const { marks } = parts
    let changed = false
    for (let region = 0; region < marks.regionCount; region++) changed = marks.worsen(region, state) || changed
    if (changed) yield* wait((done) => marks.save(done))
  }
}

/** What an unclean end left marked has checksums that are worth nothing. */
export function doubtSums(replicas: Iterable<Replica>): void {
  for (const { parts } of replicas) {
    const { marks, map, doubt } = parts
    for (let region = 0; region < marks.regionCount; region++) {
      if (marks.facts(region).marked) doubt.add(region, map)
    }
  }
}
