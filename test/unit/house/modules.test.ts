import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { describe, test } from 'node:test'
import { checkModules } from '../../../build/modules.ts'

/** Checks a checkout that holds just these files. @returns "file:line what", one a breach */
function breachesOf(files: Record<string, string>): string[] {
  const root = mkdtempSync(join(tmpdir(), 'mirrorbay-modules-'))
  try {
    for (const [path, text] of Object.entries(files)) {
      mkdirSync(dirname(join(root, path)), { recursive: true })
      writeFileSync(join(root, path), text)
    }
    const { files: read, breaches } = checkModules(root)
    assert.equal(read, Object.keys(files).length, 'every planted file is read')
    return breaches.map(({ file, line, what }) => `${file}:${line} ${what}`)
  } finally {
    rmSync(root, { recursive: true })
  }
}

function assertOneBreach(files: Record<string, string>, expected: RegExp) {
  const breaches = breachesOf(files)
  assert.equal(breaches.length, 1, `one breach expected, got ${JSON.stringify(breaches)}`)
  assert.match(breaches[0] ?? '', expected)
}

describe('the import table', () => {
  test('allows what the table allows', () => {
    const allowed = {
      'agent/kit/ids.ts': "import { randomBytes } from 'node:crypto'\n",
      'agent/limits.ts': "import { invariant } from './kit/failure.ts'\n",
      'agent/mirror/mirror.ts': [
        "import { limits } from '../limits.ts'",
        "import type { ReplicaStore } from '../store/replica.ts'",
        "import type { WriteMessage } from '../link/messages.ts'",
        "import { queue } from '../policing/queue.ts'",
        "import { z } from 'zod'",
        "import { part } from './part.ts'",
      ].join('\n'),
      'agent/frontends/nbd/server.ts':
        "import net from 'node:net'\nimport type { B } from '../../volume/block-device.ts'\n",
      'agent/main.ts': "import './store/store.ts'\nnew Worker(new URL('./store/index-thread.ts', import.meta.url))\n",
      'agent/store/index.ts': "new Worker(new URL('./index-thread.ts', import.meta.url))\n",
      'renderer/pages/overview.tsx':
        "import type { Status } from '../../agent/contract/status.ts'\nimport React from 'react'\n",
      'test/unit/store/store.test.ts': "import '../../../agent/store/store.ts'\n",
    }
    assert.deepEqual(breachesOf(allowed), [])
  })

  const planted: Record<string, [file: string, text: string, expected: RegExp]> = {
    'kit that imports another module': [
      'agent/kit/a.ts',
      "import '../store/x.ts'\n",
      /kit may not import agent\/store\/x/,
    ],
    'a frontend that reaches into the volume': [
      'agent/frontends/nbd/server.ts',
      "\nimport { volume } from '../../volume/volume.ts'\n",
      /server\.ts:2 agent\/frontends may not import agent\/volume\/volume\.ts/,
    ],
    'the mirror that reaches past the interface of the store': [
      'agent/mirror/a.ts',
      "import type { Extents } from '../store/extents.ts'\n",
      /agent\/mirror may not import agent\/store\/extents\.ts/,
    ],
    'the renderer that imports the engine by an export': [
      'renderer/parts/a.tsx',
      "export { limits } from '../../agent/limits.ts'\n",
      /renderer may not import agent\/limits\.ts/,
    ],
    'a type import inside a type': [
      'agent/policing/a.ts',
      "type A = import('../mirror/a.ts').A\n",
      /agent\/policing may not import agent\/mirror\/a\.ts/,
    ],
    'a dynamic import': [
      'agent/link/a.ts',
      "await import('../store/a.ts')\n",
      /agent\/link may not import agent\/store/,
    ],
    'a computed import': ['agent/link/a.ts', 'await import(name)\n', /computed name/],
    'an import of an address': [
      'agent/link/a.ts',
      "await import(new URL('../store/a.ts', import.meta.url).href)\n",
      /agent\/link may not import agent\/store/,
    ],
    'a module that nobody knows': ['agent/gossip/a.ts', 'export const a = 1\n', /agent\/gossip is not in the table/],
    'an imported thread': [
      'agent/store/a.ts',
      "import './index-thread.ts'\n",
      /index-thread\.ts is a thread's entry file/,
    ],
    'a thread started from elsewhere': [
      'agent/volume/a.ts',
      "new Worker(new URL('../store/index-thread.ts', import.meta.url))\n",
      /started by agent\/main\.ts or a file beside it only/,
    ],
    'the contract with a server framework': ['agent/contract/a.ts', "import 'hono'\n", /may not import hono/],
  }
  for (const [name, [file, text, expected]] of Object.entries(planted)) {
    test(`reports ${name}`, () => assertOneBreach({ [file]: text }, expected))
  }
})

describe('modules that think', () => {
  const files = [
    'agent/policing/a.ts',
    'agent/membership/a.ts',
    'agent/mirror/deep/a.ts',
    'agent/volume/a.ts',
    'agent/frontends/nbd/codec.ts',
    'agent/frontends/nbd/session-options.ts',
    'agent/link/codec-json.ts',
  ]
  for (const file of files) {
    test(`may not do I/O in ${file}`, () => assertOneBreach({ [file]: "import 'node:fs'\n" }, /node:fs: thinking/))
  }
  const acts = [
    'Date.now()',
    'new Date()',
    'Math.random()',
    'setTimeout(f, 1)',
    'setInterval(f, 1)',
    'setImmediate(f)',
    'performance.now()',
    'process.nextTick(f)',
    // biome-ignore lint/suspicious/noTemplateCurlyInString: the planted text is a template itself
    '`${process.pid}`',
  ]
  for (const act of acts) {
    test(`may not mention ${act}`, () =>
      assertOneBreach({ 'agent/policing/a.ts': `export const a = 1\nconst b = ${act}\n` }, /a\.ts:2 mentions/))
  }
  test('may use such words in comments, strings and as names of members', () => {
    const text = [
      '// a Date, process.exit() and a `setTimeout`',
      '/* performance */',
      'const a = \'the process; new Date()\' + world.process + "Math.random"',
      // biome-ignore lint/suspicious/noTemplateCurlyInString: the planted text is a template itself
      'const b = `process ${a} Date`',
      'const quote = /[\'"`]process/',
      'const updateProcess = 4 / 2 / a',
      'const c = { process: 1 }',
    ]
    assert.deepEqual(breachesOf({ 'agent/policing/a.ts': `${text.join('\n')}\n` }), [])
  })
  test('may act in the files around them', () => {
    assert.deepEqual(breachesOf({ 'agent/frontends/nbd/server.ts': "import 'node:net'\nDate.now()\n" }), [])
  })
})

test('a file of 450 lines passes, one more is reported', () => {
  assert.deepEqual(breachesOf({ 'agent/kit/a.ts': '\n'.repeat(450) }), [])
  assertOneBreach({ 'agent/kit/a.ts': '\n'.repeat(451) }, /has 451 lines/)
})
