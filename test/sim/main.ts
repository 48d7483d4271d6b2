/**
 * Runs simulated histories: `--seed N [--story] [--messages]` one, `--from A --count N [--resume FILE]` many. Ends with 1
 * when one was bad. `--until-bad` ends at the first bad one and tells it as a line of JSON; `--faults JSON` sets the
 * weather (kind: weight) instead of the seed's own; `--options JSON` anything of SimOptions.
 */
import { parseArgs } from 'node:util'
import { type SimOptions, type SimResult, simulate } from './cluster.ts'
import { isMishapKind } from './mishaps.ts'
import { newProgress, type Progress, readProgress, writeProgress } from './progress.ts'

const { values } = parseArgs({
  options: {
    seed: { type: 'string' },
    from: { type: 'string', default: '1' },
    count: { type: 'string', default: '100' },
    resume: { type: 'string' },
    story: { type: 'boolean', default: false },
    messages: { type: 'boolean', default: false },
    short: { type: 'boolean', default: false },
    quiet: { type: 'boolean', default: false },
    servers: { type: 'string' },
    operations: { type: 'string' },
    mishap: { type: 'string' },
    faults: { type: 'string' },
    options: { type: 'string' },
    'until-bad': { type: 'boolean', default: false },
  },
})

/** Milliseconds of work that a killed run loses at most. */
const saveMs = 1_000

function options(seed: number): SimOptions {
  const { servers, operations, mishap, faults, story, messages, short, options: more } = values
  if (mishap !== undefined && !isMishapKind(mishap)) throw new Error(`there is no mishap "${mishap}"`)
  return {
    seed,
    short,
    story: story || messages,
    messages,
    ...(servers === undefined ? {} : { servers: Number(servers) }),
    ...(operations === undefined ? {} : { operations: Number(operations) }),
    ...(mishap === undefined ? {} : { mishap }),
    ...(faults === undefined ? {} : { faults: JSON.parse(faults) }),
    ...(more === undefined ? {} : JSON.parse(more)),
  }
}

function show(result: SimResult): void {
  for (const line of result.lines) console.log(line)
  const seconds = (result.virtualMs / 1000).toFixed(0)
  const good = result.waitsFor === null ? 'good' : `good, waits: ${result.waitsFor}`
  const verdict = result.problems.length === 0 ? good : 'BAD'
  console.log(`seed ${result.seed}: ${verdict}; ${result.operations} requests in ${seconds} s; ${result.about}`)
  for (const problem of result.problems) console.log(`  ${problem}`)
}

function add(progress: Progress, result: SimResult): void {
  progress.next = result.seed + 1
  progress.operations += result.operations
  progress.passed += result.passed
  progress.unjudged += result.unjudged
  progress.believed += result.believed
  progress.mishaps[result.mishap] = (progress.mishaps[result.mishap] ?? 0) + 1
  if (result.waitsFor !== null) progress.waits[result.waitsFor] = (progress.waits[result.waitsFor] ?? 0) + 1
  if (result.problems.length > 0) progress.bad.push({ seed: result.seed, problems: [...result.problems] })
}

async function many(progress: Progress): Promise<void> {
  const { resume, quiet } = values
  const begunAt = progress.next
  const end = progress.from + progress.count
  const cpuBefore = process.cpuUsage()
  let savedMs = performance.now()
  while (progress.next < end) {
    const seed = progress.next
    const result = await simulate(options(seed))
    add(progress, result)
    if (result.problems.length > 0 && values['until-bad']) {
      return console.log(JSON.stringify({ seed, problems: result.problems.slice(0, 3) }))
    }
    if (result.problems.length > 0) show(result)
    const done = progress.next - progress.from
    if (!quiet && done % 100 === 0) console.log(`${done} histories, ${progress.bad.length} bad`)
    if (resume === undefined || (performance.now() - savedMs < saveMs && progress.next < end)) continue
    savedMs = performance.now()
    writeProgress(resume, progress)
  }
  const { user, system } = process.cpuUsage(cpuBefore)
  const seconds = (user + system) / 1e6
  const each = (progress.next - begunAt) / seconds
  const { from, count, operations, passed, unjudged, believed, bad } = progress
  const counted = (of: Readonly<Record<string, number>>) =>
    Object.entries(of)
      .map(([name, number]) => `${name} ${number}`)
      .join(', ')
  console.log(
    `${count} histories from ${from}: ${bad.length} bad; ${operations} requests, ${passed} passed; ${unjudged} blocks not judged, rot believed in ${believed}`,
  )
  console.log(`rightly waiting: ${counted(progress.waits) || 'none'}; mishaps: ${counted(progress.mishaps)}`)
  console.log(`this run: ${seconds.toFixed(0)} s of processor time, ${each.toFixed(1)} histories a second and core`)
}

if (values.seed !== undefined) {
  const result = await simulate(options(Number(values.seed)))
  show(result)
  process.exitCode = result.problems.length === 0 ? 0 : 1
} else {
  const fresh = newProgress(Number(values.from), Number(values.count))
  const progress = values.resume === undefined ? fresh : readProgress(values.resume, fresh)
  if (progress.next > progress.from) console.log(`goes on at seed ${progress.next}`)
  for (const { seed, problems } of progress.bad) console.log(`seed ${seed} was BAD: ${problems.join('; ')}`)
  await many(progress)
  process.exitCode = progress.bad.length === 0 ? 0 : 1
}
