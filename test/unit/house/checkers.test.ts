import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { judgeClaims, parseClaims } from '../../../build/claims.ts'
import { entriesAreShown, linksResolve, modulesHaveReadmes, nothingNamesTheMachine } from '../../../build/docs.ts'
import { findDuplicates } from '../../../build/duplicates.ts'
import { inFolder } from '../../kit/folder.ts'
import { entriesTable } from '../../run/entries.ts'
import type { RunResult, TestResult } from '../../run/outcome.ts'

describe('duplicates', () => {
  const lines = (count: number, name: string) =>
    Array.from({ length: count }, (_, i) => `  const ${name}${i} = ${i}`).join('\n')

  test('twelve equal lines are found wherever they stand, whatever their indentation and comments', () => {
    const copy = lines(12, 'x').replaceAll('  const', '      const').replace('= 3', '= 3 // three')
    const sources = { 'a.ts': `import 'x'\n${lines(12, 'x')}\n`, 'b.ts': `${lines(5, 'y')}\n/* why */\n\n${copy}\n` }
    assert.deepEqual(findDuplicates(sources), [
      { first: { file: 'a.ts', line: 2 }, second: { file: 'b.ts', line: 8 }, lines: 12 },
    ])
  })
  test('a longer run is one finding with its whole length', () => {
    const found = findDuplicates({ 'a.ts': lines(40, 'x'), 'b.ts': lines(40, 'x') })
    assert.deepEqual(
      found.map((one) => one.lines),
      [40],
    )
  })
  test('eleven equal lines, and lines that repeat within themselves, are none', () => {
    assert.deepEqual(findDuplicates({ 'a.ts': lines(11, 'x'), 'b.ts': lines(11, 'x') }), [])
    assert.deepEqual(findDuplicates({ 'a.ts': 'again()\n'.repeat(20) }), [])
  })
  test('a copy within one file is found', () => {
    assert.equal(findDuplicates({ 'a.ts': `${lines(12, 'x')}\nconst y = 1\n${lines(12, 'x')}` }).length, 1)
  })
  test('texts that differ are no copy', () => {
    const text = (word: string) => Array.from({ length: 14 }, (_, i) => `say('${word} ${i}')`).join('\n')
    assert.deepEqual(findDuplicates({ 'a.ts': text('one'), 'b.ts': text('two') }), [])
  })
})

describe('docs', () => {
  test('a module with code and without a README is named, an empty one is not', () =>
    inFolder({ 'agent/kit/ids.ts': '', 'agent/frontends/nbd/codec.ts': '', 'agent/store/notes.txt': '' }, (root) => {
      const problems = modulesHaveReadmes(root, [])
      assert.deepEqual(
        problems.map((problem) => problem.split(' ')[0]),
        ['agent/kit/README.md', 'agent/frontends/nbd/README.md'],
      )
    }))
  test('a README longer than a page is named', () =>
    inFolder({ 'build/a.ts': '', 'build/README.md': 'x\n'.repeat(91) }, (root) =>
      assert.match(modulesHaveReadmes(root, []).join(), /has 91 lines/),
    ))

  const links: Record<string, [text: string, problems: number]> = {
    'to a file': ['[a](other.md)', 0],
    'to a folder': ['[a](deep/)', 0],
    'to a heading here': ['# One, two & `three`\n[a](#one-two--three)', 0],
    'to a heading there': ['[a](other.md#there)', 0],
    'to the web': ['[a](https://example.org/x)', 0],
    'in code': ['`[a](nowhere)`\n```\n[b](nowhere)\n```', 0],
    'to nothing': ['[a](nowhere.md)', 1],
    'to no heading': ['[a](other.md#nowhere)', 1],
    'of an image that is not there': ['![a](a.png "title")', 1],
  }
  for (const [name, [text, expected]] of Object.entries(links)) {
    test(`a link ${name}: ${expected} problems`, () =>
      inFolder({ 'page.md': text, 'other.md': '## There', 'deep/x.txt': '' }, (root) =>
        assert.equal(linksResolve(root, ['page.md']).length, expected),
      ))
  }

  const table = entriesTable()
  const tables: Record<string, [text: string, problems: number]> = {
    'as in the code': [`# A\n\n${table}\n\nmore`, 0],
    'with its columns lined up': [table.replaceAll(' | ', '   |   ').replaceAll('---', '-------'), 0],
    'with another number': [table.replace('8 min', '9 min'), 1],
    'with a row too few': [table.split('\n').slice(0, -1).join('\n'), 1],
    'with a row too many': [`${table}\n| \`npm run more\` | 1 min | unit |`, 1],
    missing: ['# A', 1],
  }
  for (const [name, [text, expected]] of Object.entries(tables)) {
    test(`the table of entries ${name}: ${expected} problems`, () =>
      inFolder({ 'ARCHITECTURE.md': text }, (root) => assert.equal(entriesAreShown(root, []).length, expected)))
  }

  const marks = [
    'cd /work' + '/main',
    'see /root' + '/x',
    'https://registry' + '.npmjs.org/',
    '"resolved' + '": "https://x"',
  ]
  for (const mark of marks) {
    test(`a file that names ${mark} is found`, () =>
      inFolder({ 'a.md': `fine\n${mark}\n` }, (root) =>
        assert.match(nothingNamesTheMachine(root, ['a.md']).join(), /^a\.md:2: names /),
      ))
  }
  test('ordinary paths are not', () =>
    inFolder({ 'a.md': 'test/work/a, ./root/b, $HOME/x, the registry.' }, (root) =>
      assert.deepEqual(nothingNamesTheMachine(root, ['a.md']), []),
    ))
})

describe('claims', () => {
  const file = 'test/unit/a.test.ts'
  const page = (first: string) =>
    ['| # | claim | tests |', `| 1 | it works | ${first} |`]
      .concat(Array.from({ length: 38 }, (_, i) => `| ${i + 2} | line ${i + 2} | not yet: later |`))
      .join('\n')
  const result = (outcome: TestResult['outcome'], name = 'suite > it works'): TestResult => ({
    part: 'unit',
    file,
    name,
    outcome,
    reason: outcome === 'passed' ? '' : 'because',
  })
  const runWith = (...tests: TestResult[]): RunResult => ({
    entry: 'test',
    startedMs: 0,
    parts: [{ part: 'unit', durationMs: 1, tests }],
  })
  const judge = (text: string, run: RunResult | null) =>
    inFolder({ [file]: "test('it works', () => {})" }, (root) => judgeClaims({ root, page: text, run }))
  const named = page(`\`${file}\`: \`it works\``)

  test('a claim whose test ran and passed is shown', async () => {
    assert.deepEqual(await judge(named, runWith(result('passed'))), { shown: 1, notYet: 38, problems: [], gaps: [] })
  })
  test('several tests of one claim must all pass', async () => {
    const two = page(`\`${file}\`: \`it works\`, \`${file}\`: \`it works twice\``)
    const good = runWith(result('passed'), result('passed', 'it works twice'))
    assert.equal((await judge(two, good)).shown, 1)
    assert.equal((await judge(two, runWith(result('passed')))).problems.length, 1)
  })

  const failing: Record<string, [text: string, run: RunResult | null, expected: RegExp]> = {
    'a named test failed': [named, runWith(result('failed')), /claim 1: .* failed: because/],
    'a named test did not run in its part': [named, runWith(result('passed', 'other')), /claim 1: .* did not run/],
    'only a test with a longer name ran': [named, runWith(result('passed', 'now it works')), /did not run/],
    'the file is not there': [page('`test/unit/b.test.ts`: `it works`'), null, /there is no such file/],
    'no part runs the file': [page('`test/kit/a.ts`: `it works`'), null, /no such file|no part runs/],
    'the test is not in the file': [page(`\`${file}\`: \`it flies\``), null, /the file has no such test/],
    'a claim names nothing': [page(''), null, /claim 1 names no test/],
    'a gap has no reason': [page('not yet:'), null, /claim 1 names no test/],
    'a claim has tests and a gap': [
      `${page('not yet: later')}\n| 1 | again | not yet: x |`,
      null,
      /claim 1 has 2 rows/,
    ],
    'a claim is missing': [page('not yet: later').replace(/^\| 39 .*$/m, ''), null, /claim 39 has 0 rows/],
    'there are too many': [`${page('not yet: later')}\n| 40 | more | not yet: x |`, null, /there is no claim 40/],
  }
  for (const [name, [text, run, expected]] of Object.entries(failing)) {
    test(`fails when ${name}`, async () => assert.match((await judge(text, run)).problems.join('\n'), expected))
  }

  test('a skipped test, and one of another entry, are said but do not show the claim', async () => {
    const skipped = await judge(named, runWith(result('skipped')))
    assert.deepEqual([skipped.shown, skipped.problems.length, skipped.gaps.length], [0, 0, 1])
    const elsewhere = await judge(named, { entry: 'test', startedMs: 0, parts: [] })
    assert.deepEqual([elsewhere.shown, elsewhere.problems.length, elsewhere.gaps.length], [0, 0, 1])
  })
  test('the form of a row is read as written', () => {
    assert.deepEqual(parseClaims('| 3 | a claim | `f.test.ts`: `one`<br>`g.test.ts`: `two > three` |'), [
      {
        number: 3,
        text: 'a claim',
        tests: [
          { file: 'f.test.ts', name: 'one' },
          { file: 'g.test.ts', name: 'two > three' },
        ],
        notYet: null,
      },
    ])
  })
})
