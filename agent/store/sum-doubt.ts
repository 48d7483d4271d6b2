/** Extents of one replica whose checksums on the disk are worth nothing: those of regions that an unclean end left marked. */
import type { ExtentMap } from './extent-map.ts'
import { regionExtents } from './format.ts'

export class SumDoubt {
  /** Per region, one bit an extent. */
  readonly #regions = new Map<number, bigint>()

  /** At opening: every extent of the region that has a slot. */
  add(region: number, map: ExtentMap): void {
    let bits = 0n
    for (let at = 0; at < regionExtents; at += 1)
      if (map.get(region * regionExtents + at) >= 0) bits |= 1n << BigInt(at)
    if (bits !== 0n) this.#regions.set(region, bits)
  }

  /** A change of it failed in the middle. */
  addExtent(extent: number): void {
    const region = Math.floor(extent / regionExtents)
    this.#regions.set(region, (this.#regions.get(region) ?? 0n) | (1n << BigInt(extent % regionExtents)))
  }

  /** Those of a region, or of all. */
  extents(region?: number): number[] {
    const extents: number[] = []
    for (const [of, bits] of this.#regions) {
      if (region !== undefined && of !== region) continue
      for (let at = 0; at < regionExtents; at += 1) {
        if (((bits >> BigInt(at)) & 1n) === 1n) extents.push(of * regionExtents + at)
      }
    }
    return extents
  }

  get isEmpty(): boolean {
    return this.#regions.size === 0
  }

  hasRegion(region: number): boolean {
    return this.#regions.has(region)
  }

  has(extent: number): boolean {
    if (this.#regions.size === 0) return false
    const bits = this.#regions.get(Math.floor(extent / regionExtents))
    return bits !== undefined && ((bits >> BigInt(extent % regionExtents)) & 1n) === 1n
  }

  /** Computed anew, or given back. */
  remove(extent: number): void {
    const region = Math.floor(extent / regionExtents)
    const bits = this.#regions.get(region)
    if (bits === undefined) return
    const left = bits & ~(1n << BigInt(extent % regionExtents))
    if (left === 0n) this.#regions.delete(region)
    else this.#regions.set(region, left)
  }
}
