/** The table that `npm run bench` prints: medians, and medians of the ratios of runs that stood side by side. */
import type { Run, Target } from './measure.ts'

/** As much of a job as a table needs. */
export interface TableJob {
  readonly name: string
  readonly words: string
  readonly unit: string
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b)
  const middle = sorted.length >> 1
  const upper = sorted[middle] ?? Number.NaN
  return sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] ?? Number.NaN) + upper) / 2
}

export interface Row {
  readonly job: string
  readonly words: string
  readonly unit: string
  readonly medians: Readonly<Record<string, number>>
  /** Server processor time for one operation, microseconds; null where not told. */
  readonly cpuMicroseconds: Readonly<Record<string, number | null>>
  /** First target over second, repetition by repetition; null with a single target. */
  readonly ratio: { readonly median: number; readonly least: number; readonly most: number } | null
}

export function rowsOf(jobs: readonly TableJob[], targets: readonly Target[], runs: readonly Run[]): Row[] {
  const [ours, theirs] = targets
  return jobs.map((job) => {
    const of = (target: Target | undefined) => runs.filter((run) => run.job === job.name && run.target === target?.name)
    const ratios = of(ours).flatMap((run) => {
      const beside = of(theirs).find((other) => other.repetition === run.repetition)
      return beside === undefined ? [] : [run.value / beside.value]
    })
    const cpu = (target: Target) => {
      const costs = of(target).flatMap((run) =>
        run.serverCpuSeconds === null ? [] : [(run.serverCpuSeconds / run.operations) * 1e6],
      )
      return costs.length === 0 ? null : median(costs)
    }
    return {
      job: job.name,
      words: job.words,
      unit: job.unit,
      medians: Object.fromEntries(targets.map((target) => [target.name, median(of(target).map((run) => run.value))])),
      cpuMicroseconds: Object.fromEntries(targets.map((target) => [target.name, cpu(target)])),
      ratio:
        ratios.length === 0 ? null : { median: median(ratios), least: Math.min(...ratios), most: Math.max(...ratios) },
    }
  })
}

const figure = (value: number): string =>
  value >= 100 ? Math.round(value).toLocaleString('en-US') : value.toFixed(value >= 10 ? 1 : 2)

export function tableOf(rows: readonly Row[], targets: readonly Target[]): string {
  const head = ['job', 'unit', ...targets.map((target) => target.name)]
  if (targets.length > 1) head.push('ratio (least - most)')
  head.push(...targets.map((target) => `CPU us/op ${target.name}`))
  const lines = rows.map((row) => {
    const cells = [row.words, row.unit, ...targets.map((target) => figure(row.medians[target.name] ?? Number.NaN))]
    if (targets.length > 1) {
      const { ratio } = row
      cells.push(
        ratio === null ? '-' : `${ratio.median.toFixed(2)} (${ratio.least.toFixed(2)} - ${ratio.most.toFixed(2)})`,
      )
    }
    cells.push(
      ...targets.map((target) => {
        const cost = row.cpuMicroseconds[target.name] ?? null
        return cost === null ? '-' : figure(cost)
      }),
    )
    return cells
  })
  const widths = head.map((title, column) => Math.max(title.length, ...lines.map((line) => line[column]?.length ?? 0)))
  const lineOf = (cells: readonly string[]) =>
    cells
      .map((cell, column) => (column < 2 ? cell.padEnd(widths[column] ?? 0) : cell.padStart(widths[column] ?? 0)))
      .join('  ')
      .trimEnd()
  return [lineOf(head), widths.map((width) => '-'.repeat(width)).join('  '), ...lines.map(lineOf)].join('\n')
}
