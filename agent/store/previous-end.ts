/** What the end of the run before means for marks and checksums (C2). */
import type { ExtentMap } from './extent-map.ts'
import { markState } from './format.ts'
import type { Images } from './images.ts'
import type { Marks } from './marks.ts'
import { type Steps, wait } from './steps.ts'
import type { SumDoubt } from './sum-doubt.ts'

interface Replica {
  readonly parts: {
    readonly marks: Marks
    readonly map: ExtentMap
    readonly images: Images
    readonly doubt: SumDoubt
    readonly headerDoubt: Set<number>
  }
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

/**
 * A power cut may keep the commit of a mapping and lose the header that was written beside it, in regions that carry a mark;
 * and that mark may stay through clean ends. So where one is found no header is believed to be on the disk: before it comes
 * off they are written again (sum-save.ts), or an index made anew would lack what is mapped there.
 */
export function doubtHeaders(replicas: Iterable<Replica>): void {
  for (const { parts } of replicas) {
    const { headerDoubt, marks } = parts
    for (let region = 0; region < marks.regionCount; region++) if (marks.facts(region).marked) headerDoubt.add(region)
  }
}

/**
 * What an unclean end left marked has checksums that are worth nothing; but for a slot that an image holds, too: since
 * the image was made nothing was written there, and its checksums were durable before that.
 */
export function doubtSums(replicas: Iterable<Replica>): void {
  for (const { parts } of replicas) {
    const { marks, map, images, doubt } = parts
    for (let region = 0; region < marks.regionCount; region++) {
      if (!marks.facts(region).marked) continue
      doubt.add(region, map)
      if (images.isEmpty) continue
      for (const extent of doubt.extents(region)) {
        if (images.isShared(extent, map.get(extent))) doubt.remove(extent)
      }
    }
  }
}
