/** Runs simulated histories: `--seed N [--story] [--messages]` one, `--from A --count N` many. Ends with 1 when one was bad. */
import { parseArgs } from 'node:util'
import { type SimResult, simulate } from './cluster.ts'

const { values } = parseArgs({
  options: {
    seed: { type: 'string' },
    from: { type: 'string', default: '1' },
    count: { type: 'string', default: '100' },
    story: { type: 'boolean', default: false },
    messages: { type: 'boolean', default: false },
    short: { type: 'boolean', default: false },
    quiet: { type: 'boolean', default: false },
  },
})

function show(result: SimResult): void {
  for (const line of result.lines) console.log(line)
  const seconds = (result.virtualMs / 1000).toFixed(0)
  const good = result.waitsForPerson ? 'good, waits for a person' : 'good'
  const verdict = result.problems.length === 0 ? good : 'BAD'
  console.log(`seed ${result.seed}: ${verdict}; ${result.operations} requests in ${seconds} s; ${result.about}`)
  for (const problem of result.problems) console.log(`  ${problem}`)
}

async function many(from: number, count: number): Promise<number> {
  let bad = 0
  let operations = 0
  let passed = 0
  let waiting = 0
  const startMs = performance.now()
  for (let seed = from; seed < from + count; seed += 1) {
    const result = await simulate({ seed, short: values.short })
    operations += result.operations
    passed += result.passed
    if (result.waitsForPerson) waiting += 1
    if (result.problems.length > 0) {
      bad += 1
      show(result)
    }
    if (!values.quiet && (seed - from + 1) % 100 === 0) console.log(`${seed - from + 1} histories, ${bad} bad`)
  }
  const seconds = (performance.now() - startMs) / 1000
  console.log(
    `${count} histories from ${from}: ${bad} bad, ${waiting} wait for a person; ${operations} requests, ${passed} passed; ${seconds.toFixed(0)} s`,
  )
  return bad
}

if (values.seed !== undefined) {
  const result = await simulate({
    seed: Number(values.seed),
    short: values.short,
    story: values.story || values.messages,
    messages: values.messages,
  })
  show(result)
  process.exitCode = result.problems.length === 0 ? 0 : 1
} else {
  process.exitCode = (await many(Number(values.from), Number(values.count))) === 0 ? 0 : 1
}
