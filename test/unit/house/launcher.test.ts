import assert from 'node:assert/strict'
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { cpSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import { describe, test } from 'node:test'
import { CannotStart, chooseNode, environmentFor } from '../../../build/launch.mjs'
import { inFolder } from '../../kit/folder.ts'
import { needs } from '../../kit/needs.ts'

const root = join(import.meta.dirname, '../../..')
const launcher = join(root, 'build/run.mjs')
const delivered = `node_modules/node-${process.platform === 'win32' ? 'win' : process.platform}-${process.arch}`
const old = { path: '/usr/bin/node', version: 'v20.20.2', nodeApi: '9' }
const young = { path: '/usr/bin/node', version: 'v24.1.0', nodeApi: '10' }

/** Starts a script of one line through the launcher, without a terminal, and waits for its first output. */
async function startScript(script: string) {
  const child = spawn(process.execPath, [launcher, 'node', '-e', `${script}; console.log('ready')`], {
    stdio: ['ignore', 'pipe', 'ignore'],
  })
  const ended = once(child, 'exit')
  await once(child.stdout, 'data')
  return { child, ended }
}

const run = (...words: string[]) => spawnSync(process.execPath, [launcher, ...words], { encoding: 'utf8' })

describe('which Node runs the programs', () => {
  const binary = process.platform === 'win32' ? `${delivered}/bin/node.exe` : `${delivered}/bin/node`
  const installed = { [`${delivered}/package.json`]: '{"version":"24.21.0"}', [binary]: '' }

  test('the one from npm, found without node_modules/.bin/node', () =>
    inFolder(installed, (folder) => assert.equal(chooseNode({ folder, current: old }), join(folder, binary))))

  test('else the one that runs the launcher, when it is new enough', () =>
    inFolder({ 'node_modules/a': '' }, (folder) => assert.equal(chooseNode({ folder, current: young }), young.path)))

  test('no packages yet: one sentence that says npm ci', () =>
    inFolder({}, (folder) =>
      assert.throws(() => chooseNode({ folder, current: young }), { message: /not installed yet: run `npm ci`/ }),
    ))

  const refused: Record<string, Record<string, string>> = {
    missing: { 'node_modules/a': '' },
    'without its binary': { [`${delivered}/package.json`]: '{"version":"24.21.0"}' },
    'too old': { ...installed, [`${delivered}/package.json`]: '{"version":"22.1.0"}' },
    'with a broken package.json': { ...installed, [`${delivered}/package.json`]: '{' },
  }
  for (const [name, files] of Object.entries(refused)) {
    test(`an old Node and a delivered one ${name}: one sentence`, () =>
      inFolder(files, (folder) =>
        assert.throws(
          () => chooseNode({ folder, current: old }),
          (error) => error instanceof CannotStart && /npm ci/.test(error.message) && !error.message.includes('\n'),
        ),
      ))
  }

  test('a new version number with an old Node-API is refused', () =>
    inFolder({ 'node_modules/a': '' }, (folder) =>
      assert.throws(() => chooseNode({ folder, current: { ...young, nodeApi: '9' } }), CannotStart),
    ))
})

describe('what the program gets', () => {
  test('Node and the tools come first on PATH, the rest stays', () => {
    const { PATH } = environmentFor('/there/bin/node', '/here', { PATH: '/usr/bin', A: '1' })
    assert.deepEqual(PATH?.split(delimiter), ['/there/bin', '/here/node_modules/.bin', '/usr/bin'])
  })
  test('a PATH spelt Path is changed, not doubled', () => {
    const environment = environmentFor('/there/bin/node', '/here', { Path: '/usr/bin' })
    assert.deepEqual(Object.keys(environment), ['Path'])
  })
  test('node itself is Node 24, also for its children', () => {
    const script =
      "console.log(require('child_process').execFileSync('node',['-p','process.version'],{encoding:'utf8'}))"
    const { stdout } = run('node', '-e', script)
    assert.match(stdout, /^v(2[4-9]|[3-9]\d)\./)
  })
  test('arguments and output pass unchanged, and nothing else is printed', () => {
    const { stdout, stderr } = run('node', '-p', 'JSON.stringify(process.argv.slice(1))', '--', 'a b', '', '$HOME', '*')
    assert.deepEqual([JSON.parse(stdout), stderr], [['a b', '', '$HOME', '*'], ''])
  })
  test('an installed tool starts', () => assert.match(run('biome', '--version').stdout, /^Version: \d/))
})

describe('how it ends', () => {
  test('with the exit code of the program', () => assert.equal(run('node', '-e', 'process.exit(7)').status, 7))

  test('by the signal that ended the program', () => {
    const { signal } = run('node', '-e', "process.kill(process.pid, 'SIGKILL')")
    assert.equal(signal, 'SIGKILL')
  })
  for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) {
    test(`${signal} reaches the program, whose exit code then counts`, async () => {
      const { child, ended } = await startScript(
        `process.on('${signal}', () => process.exit(5)); setInterval(() => 0, 1e6)`,
      )
      child.kill(signal)
      assert.deepEqual(await ended, [5, null])
    })
    test(`${signal} that the program does not handle ends both by it`, async () => {
      const { child, ended } = await startScript('setInterval(() => 0, 1e6)')
      child.kill(signal)
      assert.deepEqual(await ended, [null, signal])
    })
  }

  test('Ctrl-C on a terminal reaches the program once', needs('script'), async () => {
    const script =
      "let n=0;process.on('SIGINT',()=>{n++;setTimeout(()=>{console.log('got '+n);process.exit()},300)});console.log('ready')"
    const command = `'${process.execPath}' '${launcher}' node -e "${script};setInterval(()=>0,1e6)"`
    const child = spawn('script', ['-qec', command, '/dev/null'], { stdio: ['pipe', 'pipe', 'inherit'] })
    let output = ''
    child.stdout.on('data', (data: Buffer) => {
      if (!output.includes('ready') && String(data).includes('ready')) child.stdin.write('\x03')
      output += data
    })
    await once(child, 'exit')
    assert.match(output, /got 1\b/)
  })

  const sentences: Record<string, [words: string[], expected: RegExp]> = {
    'a tool that is not there': [['no-such-tool'], /^There is no tool called no-such-tool/],
    'a script that is not there': [['no/such.ts'], /^no\/such\.ts does not exist/],
    'no program at all': [[], /^Usage/],
  }
  for (const [name, [words, expected]] of Object.entries(sentences)) {
    test(`${name}: one line and exit code 2`, () => {
      const { status, stderr } = run(...words)
      assert.equal(status, 2)
      assert.match(stderr, expected)
      assert.equal(stderr.trim().split('\n').length, 1)
    })
  }
  test('a checkout without node_modules: one line and exit code 2', () =>
    inFolder({}, (folder) => {
      cpSync(join(root, 'build'), join(folder, 'build'), { recursive: true })
      const { status, stderr } = spawnSync(process.execPath, [join(folder, 'build/mirrorbay.mjs')], {
        encoding: 'utf8',
      })
      assert.equal(status, 2)
      assert.match(stderr, /^Mirrorbay's packages are not installed yet: run `npm ci` in .* first\.\n$/)
    }))
})
