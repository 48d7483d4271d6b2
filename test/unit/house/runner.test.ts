import assert from 'node:assert/strict'
import { spawn, spawnSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { join } from 'node:path'
import { describe, type TestContext, test } from 'node:test'
import { pathToFileURL } from 'node:url'
import { inFolder } from '../../kit/folder.ts'
import { closingOf } from '../../run/closing.ts'
import { endProcesses, leftoversOf, stampName } from '../../run/leftovers.ts'
import type { TestResult } from '../../run/outcome.ts'

const runner = join(import.meta.dirname, '../../run')

const script = `import { runFiles } from ${JSON.stringify(pathToFileURL(join(runner, 'files.ts')))}
  const signal = new AbortController().signal
  const { tests } = await runFiles({ ...JSON.parse(process.argv[2]), signal, journal: null })
  console.log('RESULTS' + JSON.stringify(tests))`

/** Runs planted test files as a part does: in a process of its own, since node:test runs no tests inside a test. */
async function runPlanted(files: Record<string, string>, fileMs = 20_000): Promise<TestResult[]> {
  return await inFolder({ ...files, 'planted.mjs': script }, (root) => {
    const options = { part: 'planted', root, glob: '**/*.test.mjs', concurrency: 2, fileMs }
    const environment: NodeJS.ProcessEnv = { ...process.env }
    delete environment.NODE_TEST_CONTEXT // says "inside a test"
    const { stdout, stderr } = spawnSync(process.execPath, [join(root, 'planted.mjs'), JSON.stringify(options)], {
      encoding: 'utf8',
      env: environment,
    })
    const line = stdout.split('\n').find((text) => text.startsWith('RESULTS'))
    assert.ok(line, `the runner printed no results: ${stdout} ${stderr}`)
    return JSON.parse(line.slice('RESULTS'.length))
  })
}

const inShort = (results: readonly TestResult[]) => results.map(({ name, outcome }) => `${name}: ${outcome}`).sort()
const head = "import { describe, test } from 'node:test'\n"

describe('a part of test files', () => {
  test('counts tests, not suites, with their full names', async () => {
    const text = `${head}describe('a', () => { test('b', () => {}); test('c', { skip: 'no c' }, () => {}) })
      test('d', async (t) => { await t.test('e', () => {}) })`
    const results = await runPlanted({ 'one.test.mjs': text })
    assert.deepEqual(inShort(results), ['a > b: passed', 'a > c: skipped', 'd > e: passed', 'd: passed'])
    assert.equal(results.find(({ outcome }) => outcome === 'skipped')?.reason, 'no c')
    assert.ok(results.every(({ file }) => file === 'one.test.mjs'))
  })

  test('that has no file has failed', async () => {
    assert.deepEqual(inShort(await runPlanted({ 'other.mjs': '' })), ['has tests: failed'])
  })

  test('whose file has no test has failed', async () => {
    const files = { 'empty.test.mjs': 'console.log(1)', 'good.test.mjs': `${head}test('good', () => {})` }
    assert.deepEqual(inShort(await runPlanted(files)), ['good: passed', 'has tests: failed'])
  })

  test('tells a failing test, a failing hook and a file that ends by itself', async () => {
    const files = {
      'fails.test.mjs': `${head}describe('suite', () => { test('fails', () => { throw new Error('boom') }) })`,
      'hook.test.mjs': `import { after, test } from 'node:test'\nafter(() => { throw new Error('hook') })\ntest('ok', () => {})`,
      'exits.test.mjs': 'process.exit(3)',
      'todo.test.mjs': `${head}test('later', { todo: true }, () => {})`,
    }
    const results = await runPlanted(files)
    const failed = results.filter(({ outcome }) => outcome === 'failed')
    assert.deepEqual(
      new Set(failed.map(({ file }) => file)),
      new Set(['fails.test.mjs', 'hook.test.mjs', 'exits.test.mjs']),
    )
    assert.deepEqual(
      failed.filter(({ file }) => file === 'fails.test.mjs').map(({ name, reason }) => [name, reason]),
      [['suite > fails', 'boom']],
    )
    assert.equal(results.find(({ name }) => name === 'later')?.outcome, 'skipped')
  })

  test('stops a file that hangs after its last test', async () => {
    const files = { 'hangs.test.mjs': `${head}test('quick', () => { setInterval(() => 0, 1e6) })` }
    const results = await runPlanted(files, 800)
    assert.ok(inShort(results).includes('ends in time: failed'), JSON.stringify(results))
  })

  test('stops a file that neither ends nor listens', async () => {
    const text = `${head}process.on('SIGTERM', () => 0)\ntest('stuck', () => { for (;;); })`
    const results = await runPlanted(
      { 'stuck.test.mjs': text, 'good.test.mjs': `${head}test('good', () => {})` },
      1_500,
    )
    assert.ok(inShort(results).includes('ends in time: failed'), JSON.stringify(results))
    assert.ok(inShort(results).includes('good: passed'), JSON.stringify(results))
  })

  test('names and ends a process that a test left behind', async () => {
    const text = `${head}import { spawn } from 'node:child_process'
      test('leaves', () => { spawn('sleep', ['987'], { detached: true, stdio: 'ignore' }).unref() })`
    const results = await runPlanted({ 'leaves.test.mjs': text })
    assert.deepEqual(inShort(results), ['leaves no process behind: failed', 'leaves: passed'])
    const pid = Number(/: (\d+) sleep 987/.exec(results.at(-1)?.reason ?? '')?.[1])
    assert.ok(pid > 0)
    // An ended process may stay in the table until its new parent looks; it has no command line then.
    assert.equal(spawnSync('cat', [`/proc/${pid}/cmdline`], { encoding: 'utf8' }).stdout, '')
  })
})

test('a process that ignores being asked is ended all the same', async (t: TestContext) => {
  const stamp = randomBytes(8).toString('hex')
  const script = "process.on('SIGTERM', () => 0); console.log('ready'); setInterval(() => 0, 1e6)"
  const child = spawn(process.execPath, ['-e', script], {
    env: { [stampName]: stamp },
    stdio: ['ignore', 'pipe', 'ignore'],
  })
  t.after(() => child.kill('SIGKILL'))
  const ended = once(child, 'exit')
  await once(child.stdout, 'data')
  const left = await leftoversOf(stamp)
  assert.deepEqual(
    left.map(({ pid }) => pid),
    [child.pid],
  )
  await endProcesses(left)
  assert.deepEqual(await ended, [null, 'SIGKILL'])
})

describe('the closing lines', () => {
  const result = (outcome: TestResult['outcome'], reason = ''): TestResult => ({
    part: 'unit',
    file: 'a.test.ts',
    name: 'a',
    outcome,
    reason,
  })
  const close = (tests: TestResult[], more: { strict?: boolean; stopped?: boolean } = {}) =>
    closingOf({
      results: [{ part: 'unit', durationMs: 1, tests }],
      stopped: false,
      goesOn: false,
      durationMs: 1,
      aimMs: 1,
      strict: false,
      ...more,
    })

  test('all passed: exit code 0', () => {
    const { exitCode, lines } = close([result('passed')])
    assert.equal(exitCode, 0)
    assert.equal(lines.at(-1), '1 passed, 0 failed, 0 skipped')
    assert.deepEqual(
      lines.filter((line) => line.startsWith('ℹ')).map((line) => line.replace(/^ℹ /, '')),
      ['tests 1', 'suites 1', 'pass 1', 'fail 0', 'cancelled 0', 'skipped 0', 'todo 0', 'duration_ms 1'],
    )
  })
  test('one failed: exit code 1, and it is named', () => {
    const { exitCode, lines } = close([result('passed'), result('failed', 'boom')])
    assert.equal(exitCode, 1)
    assert.ok(lines.includes('✖ unit: a.test.ts: a: boom'))
  })
  test('skipped: exit code 0 for people, 1 for CI, the package named and counted', () => {
    const tests = [result('passed'), result('skipped', 'needs fio'), result('skipped', 'needs fio')]
    assert.equal(close(tests).exitCode, 0)
    assert.equal(close(tests, { strict: true }).exitCode, 1)
    assert.ok(close(tests).lines.includes('SKIPPED 2 tests: needs fio'))
    assert.equal(close(tests).lines.at(-1), '1 passed, 0 failed, 2 skipped')
  })
  test('nothing ran, or somebody stopped it: exit code 1', () => {
    assert.equal(close([]).exitCode, 1)
    assert.equal(close([result('passed')], { stopped: true }).exitCode, 1)
  })
})

describe('the command line', () => {
  const main = (...words: string[]) =>
    spawnSync(process.execPath, [join(runner, 'main.ts'), ...words], { encoding: 'utf8' })
  const wrong = [['no-such-entry'], ['test', '--part', 'no-such-part'], ['test', '--no-such-option']]
  for (const words of wrong) {
    test(`${words.join(' ')} is refused with one sentence and exit code 2`, () => {
      const { status, stderr } = main(...words)
      assert.equal(status, 2)
      assert.match(stderr, /^npm test: .*no-such/)
    })
  }
  test('--list shows every entry and runs nothing', () => {
    const { status, stdout } = main('test', '--list')
    assert.equal(status, 0)
    for (const script of ['npm test', 'npm run check', 'npm run test:full', 'npm run test:long']) {
      assert.ok(stdout.includes(`| \`${script}\` |`))
    }
  })
})
