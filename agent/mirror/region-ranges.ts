/** Regions told to other servers as few ranges: a message has a limit, and a range too wide only costs comparing (C2, C4). */

export interface RegionRange<Kind> {
  readonly first: number
  readonly last: number
  readonly kind: Kind
}

/**
 * @param regions ascending
 * @param most ranges that may be told; more are joined over the smallest gaps, the regions between taken along
 * @param worse which kind a joined range has
 */
export function regionRanges<Kind>(
  regions: Iterable<readonly [region: number, kind: Kind]>,
  most: number,
  worse: (one: Kind, other: Kind) => Kind,
): RegionRange<Kind>[] {
  let ranges: RegionRange<Kind>[] = []
  for (const [region, kind] of regions) {
    const before = ranges.at(-1)
    if (before?.last === region - 1 && before.kind === kind) ranges[ranges.length - 1] = { ...before, last: region }
    else ranges.push({ first: region, last: region, kind })
  }
  for (let gap = 1; ranges.length > most; gap *= 2) ranges = joined(ranges, gap, worse)
  return ranges
}

/** @returns the ranges, those joined that are at most `gap` regions apart */
function joined<Kind>(ranges: readonly RegionRange<Kind>[], gap: number, worse: (one: Kind, other: Kind) => Kind) {
  const wider: RegionRange<Kind>[] = []
  for (const range of ranges) {
    const before = wider.at(-1)
    if (before === undefined || range.first - before.last > gap) wider.push(range)
    else wider[wider.length - 1] = { first: before.first, last: range.last, kind: worse(before.kind, range.kind) }
  }
  return wider
}
