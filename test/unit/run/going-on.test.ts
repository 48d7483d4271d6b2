/** A long run that is stopped goes on where it was, and never with results of other code. */
import assert from 'node:assert/strict'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { inFolder } from '../../kit/folder.ts'
import { addLine, journalVariables, readLines } from '../../kit/journal.ts'
import { resumable } from '../../kit/resumable.ts'
import { until } from '../../kit/until.ts'
import { codeState } from '../../run/code-state.ts'
import { GoingOn } from '../../run/going-on.ts'
import { stoppedInRound4, withLongRun } from './long-run.ts'

const whole = ['early one', 'round 1', 'round 2', 'round 3', 'round 4', 'round 5', 'round 6', 'sum 21', 'late last']
/** Round 4 was under way when the run was stopped: that one is done again. */
const inTwoPieces = whole.toSpliced(4, 0, 'round 4')

describe('a long run', () => {
  for (const signal of ['SIGKILL', 'SIGINT'] as const) {
    test(`stopped by ${signal} goes on in the middle of a loop, and sums up both pieces`, async () => {
      await withLongRun(async (run) => {
        const first = await stoppedInRound4(run, signal)
        if (signal === 'SIGINT') {
          assert.equal(first.code, 1)
          assert.match(first.said, /The same command goes on from here/)
        }
        const started = run.begin()
        // A file whose runner was killed goes on until the next run ends it.
        await until('round 4 again', 20_000, () => run.trace().filter((words) => words === 'round 4').length === 2)
        run.openGate()
        const second = await started.end()
        assert.deepEqual(run.trace(), inTwoPieces)
        assert.match(second.said, /Going on where .*: 1 files and 3 rounds are done, 1 failures so far/)
        assert.match(second.said, /^test\/early\/one\.test\.mjs \(done before, /m)
        // 'fails at first' passed in the second piece: that it failed in the first one is still said.
        assert.match(second.said, /^✖ late: test\/late\/loop\.test\.mjs: fails at first: boom$/m)
        assert.match(second.said, /^4 passed, 1 failed, 0 skipped$/m)
        assert.equal(second.code, 1)
      })
    })
  }

  test('that is done runs nothing again, and shows its failure again', async () => {
    await withLongRun(async (run) => {
      await stoppedInRound4(run, 'SIGINT')
      run.openGate()
      await run.run()
      const third = await run.run()
      assert.deepEqual(run.trace(), inTwoPieces)
      assert.match(third.said, /^✖ late: .*: fails at first: boom$/m)
      assert.match(third.said, /^4 passed, 1 failed, 0 skipped$/m)
      assert.equal(third.code, 1)
    })
  })

  test('begins anew when it is told to, and says so', async () => {
    await withLongRun(async (run) => {
      await stoppedInRound4(run, 'SIGINT')
      run.openGate()
      const { said, code } = await run.run('--restart')
      assert.match(said, /^Beginning anew, as wished/)
      assert.deepEqual(run.trace().slice(-whole.length), whole)
      assert.equal(code, 0)
    })
  })

  test('cannot run twice at the same time', async () => {
    await withLongRun(async (run) => {
      const first = run.begin()
      try {
        await until('round 4', 20_000, () => run.trace().includes('round 4'))
        const { said, code } = await run.run()
        assert.match(said, /this is being run already, by process \d+/)
        assert.equal(code, 2)
      } finally {
        run.openGate()
        await first.end()
      }
    })
  })
})

test('a run of changed code begins anew, and says so', async () => {
  await withLongRun(async (run) => {
    run.openGate()
    await run.run()
    run.change('test/early/one.test.mjs', '\n// changed')
    const { said, code } = await run.run()
    assert.match(said, /^Beginning anew: the code has changed/)
    assert.deepEqual(run.trace(), [...whole, ...whole])
    assert.equal(code, 0)
  })
})

describe('a journal', () => {
  const first = { kind: 'journal', version: 1, entry: 'test:long', code: 'abc' } as const
  const done = { kind: 'ended', part: 'sim', file: 'a.test.ts', durationMs: 1, tests: [] } as const
  const text = (...lines: readonly object[]) => lines.map((line) => `${JSON.stringify(line)}\n`).join('')

  /** @returns what is said, and whether a file that was done counts as done */
  async function opened(content: string): Promise<{ said: string; counts: boolean; lines: number; kept: string }> {
    return await inFolder({ journal: content }, async (folder) => {
      const path = join(folder, 'journal')
      let said = ''
      const say = (words: string) => {
        said += words
      }
      const journal = await GoingOn.open({ path, entry: 'test:long', code: 'abc', restart: false, say })
      const kept = existsSync(`${path}.before`) ? readFileSync(`${path}.before`, 'utf8') : ''
      const counts = journal.endedBefore('sim', 'a.test.ts') !== undefined
      return { said, counts, lines: readLines(path).lines.length, kept }
    })
  }

  test('of the same code counts', async () => {
    const { said, counts } = await opened(text(first, done))
    assert.match(said, /^Going on where an earlier run/)
    assert.ok(counts)
  })

  const misfits: [what: string, content: string, says: RegExp][] = [
    ['of other code', text({ ...first, code: 'abd' }, done), /the code has changed/],
    ['of another entry', text({ ...first, entry: 'test:longer' }, done), /does not begin as one/],
    ['of another version', text({ ...first, version: 2 }, done), /its line 1 is none/],
    ['that is damaged', `${text(first)}{]\n${text(done)}`, /its line 2 is none/],
    ['of somebody else', text({ kind: 'shopping' }), /its line 1 is none/],
    ['that is empty', '', /does not begin as one/],
    ['that is no text', '\0\x01\xff\n\0', /its line 1 is none/],
    ['that begins in its middle', text(done), /does not begin as one/],
    ['that begins twice', text(first, done, first), /begins more than once/],
  ]
  for (const [what, content, says] of misfits) {
    test(`${what}: a sentence, and all begins anew`, async () => {
      const { said, counts, kept } = await opened(content)
      assert.match(said, /^Beginning anew: /)
      assert.match(said, says)
      assert.equal(counts, false)
      assert.equal(kept, content, 'the earlier one is not kept')
    })
  }

  test('tells how far a loop has come once, and that it moves', async () => {
    await inFolder({}, async (folder) => {
      const path = join(folder, 'journal')
      const said: string[] = []
      const say = (words: string) => said.push(words)
      const journal = await GoingOn.open({ path, entry: 'test:long', code: 'abc', restart: false, say })
      assert.equal(journal.movedAtMs('a.test.ts'), 0)
      for (const round of [3, 4]) {
        addLine(path, { kind: 'rounds', file: 'a.test.ts', name: 'seeds', done: round, count: 5, tally: {} })
      }
      journal.tellRounds()
      journal.tellRounds()
      assert.deepEqual(said.slice(1), ['   a.test.ts: seeds: 4 of 5 (80 %)'])
      assert.ok(journal.movedAtMs('a.test.ts') > 0)
    })
  })

  test('with a torn last line loses that one, the others count, and what is added can be read', async () => {
    const { said, counts, lines } = await opened(`${text(first, done)}{"kind":"ended","part":"la`)
    assert.match(said, /^Going on where/)
    assert.ok(counts)
    assert.equal(lines, 3)
  })
})

describe('a loop that can go on', () => {
  const asPiece = async (use: (path: string) => void) => {
    await inFolder({ journal: '' }, (folder) => {
      const before = { ...process.env }
      process.env[journalVariables.path] = join(folder, 'journal')
      process.env[journalVariables.piece] = 'a.test.ts'
      try {
        use(join(folder, 'journal'))
      } finally {
        process.env = before
      }
    })
  }
  const loop = () => resumable({ name: 'seeds', count: 5, tally: { sum: 0 } })

  test('is a plain loop outside of a long run', () => {
    assert.deepEqual([...loop()], [1, 2, 3, 4, 5])
    assert.deepEqual([...loop()], [1, 2, 3, 4, 5])
  })

  test('does a round that threw again, and what was done before it not', async () => {
    await asPiece(() => {
      const first = loop()
      assert.throws(() => {
        for (const round of first) {
          if (round === 3) throw new Error('boom')
          first.tally.sum += round
        }
      })
      const second = loop()
      assert.deepEqual([second.before, second.tally.sum], [2, 3])
      assert.deepEqual([...second], [3, 4, 5])
      assert.deepEqual([...loop()], [])
    })
  })

  test('takes no notice of other loops and files', async () => {
    await asPiece((path) => {
      const done = { kind: 'rounds', name: 'seeds', done: 4, count: 5, tally: { sum: 10 } } as const
      addLine(path, { ...done, file: 'b.test.ts' })
      addLine(path, { ...done, file: 'a.test.ts', name: 'other seeds' })
      assert.deepEqual([...loop()], [1, 2, 3, 4, 5])
    })
  })
})

test('the state of the code changes with every file that tests may see, and with no other', async () => {
  await inFolder({ 'package.json': '{}', 'agent/a.ts': '1', 'test/page.md': 'x', '.cache/b': '' }, (folder) => {
    const before = codeState(folder)
    for (const [file, counts] of [
      ['test/page.md', false],
      ['.cache/b', false],
      ['agent/a.ts', true],
      ['agent/new.ts', true],
      ['package.json', true],
    ] as const) {
      const earlier = codeState(folder)
      writeFileSync(join(folder, file), `changed ${file}`)
      assert.equal(codeState(folder) !== earlier, counts, file)
    }
    assert.notEqual(codeState(folder), before)
  })
})
