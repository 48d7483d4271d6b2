import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { chmodSync, copyFileSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { describe, test } from 'node:test'
import { pathToFileURL } from 'node:url'
import { inFolder } from '../../kit/folder.ts'
import { findProgram, needs } from '../../kit/needs.ts'

const root = join(import.meta.dirname, '../../..')

/** Calls `use` with a PATH of one empty folder. */
function withoutPrograms<T>(use: () => T): T {
  const { PATH } = process.env
  process.env.PATH = '/nonexistent'
  try {
    return use()
  } finally {
    process.env.PATH = PATH
  }
}

describe('what a test needs', () => {
  test('is there: the test runs', () => assert.deepEqual(needs(), { skip: false }))
  test('is missing: the reason names tool and Debian package', () => {
    const { skip } = withoutPrograms(() => needs('fio', 'qemu-io'))
    assert.equal(skip, 'needs fio (Debian package fio) and qemu-io (Debian package qemu-utils)')
  })
  test('is a right that the machine does not give: the reason says which', () => {
    const { skip } = withoutPrograms(() => needs('network namespaces'))
    assert.equal(skip, 'needs the right to make network namespaces')
  })
})

/** A program that writes down how it was called. */
function plant(folder: string, name: string, more = '') {
  const path = join(folder, name)
  mkdirSync(folder, { recursive: true })
  writeFileSync(path, `#!/bin/sh\necho "${name} $*" >> "$CALLS"\n${more}`)
  chmodSync(path, 0o755)
}

describe('installing what tests call', () => {
  /** Installs fio and qemu-io on a machine that has only these programs. @returns output, and the calls */
  const install = (programs: Record<string, string>) =>
    inFolder({ calls: '' }, (folder) => {
      const bin = join(folder, 'bin')
      for (const [name, text] of Object.entries(programs)) plant(bin, name, text)
      for (const name of ['env', 'sh']) symlinkSync(findProgram(name) ?? '', join(bin, name))
      const script = `import { installMissing } from ${JSON.stringify(pathToFileURL(join(root, 'test/run/tools.ts')))}
        installMissing(['fio', 'qemu-io', 'qemu-img'])`
      const { stdout, status } = spawnSync(process.execPath, ['--input-type=module', '-e', script], {
        encoding: 'utf8',
        env: { PATH: bin, CALLS: join(folder, 'calls') },
      })
      assert.equal(status, 0)
      return { stdout, calls: readFileSync(join(folder, 'calls'), 'utf8').split('\n').filter(Boolean) }
    })
  /** sudo as somebody without a password has it; root does not call it. */
  const sudo = 'if [ "$2" = true ]; then exit 0; fi; shift; exec "$@"'
  const aptCalls = (calls: string[]) => calls.filter((call) => call.startsWith('apt-get'))

  test('is announced, asks for the lists once and for no recommended packages', async () => {
    const { stdout, calls } = await install({ 'apt-get': '', sudo })
    assert.match(stdout, /^Installing with apt-get .*: fio, qemu-block-extra, qemu-utils\n$/)
    assert.deepEqual(aptCalls(calls), [
      'apt-get -qq update',
      'apt-get -qq -o DPkg::Lock::Timeout=120 install -y --no-install-recommends fio qemu-block-extra qemu-utils',
    ])
  })
  test('that fails is said in a line, and is no error', async () => {
    const { stdout, calls } = await install({ 'apt-get': 'echo "E: no network" >&2; exit 100', sudo })
    assert.match(stdout, /That did not work \(E: no network\); tests that need them are skipped\.\n$/)
    assert.equal(aptCalls(calls).length, 1)
  })
  test('is not tried where there is no apt-get', async () => {
    const { stdout, calls } = await install({ sudo })
    assert.match(stdout, /^Not installed here: .* \(no right to install\)/)
    assert.deepEqual(calls, [])
  })
  test('asks for nothing when all is there', async () => {
    const { stdout, calls } = await install({ 'apt-get': '', sudo, fio: '', 'qemu-io': '', 'qemu-img': '' })
    assert.deepEqual([stdout, calls], ['', []])
  })
})

describe('.ci/run', needs('git'), () => {
  /** Runs it on a repository in which `changed` is the last commit, with an npm that only takes notes. */
  const ciRun = (changed: string, npm = '') =>
    inFolder({ 'checkout/README.md': '', calls: '' }, (folder) => {
      const checkout = join(folder, 'checkout')
      const git = (...words: string[]) => {
        const identity = ['-c', 'user.name=test', '-c', 'user.email=test@localhost', '-c', 'commit.gpgsign=false']
        const { status, stderr } = spawnSync('git', [...identity, ...words], { cwd: checkout, encoding: 'utf8' })
        assert.equal(status, 0, stderr)
      }
      mkdirSync(join(checkout, '.ci'))
      copyFileSync(join(root, '.ci/run'), join(checkout, '.ci/run'))
      git('init', '-q')
      git('add', '.')
      git('commit', '-q', '-m', 'first')
      mkdirSync(dirname(join(checkout, changed)), { recursive: true })
      writeFileSync(join(checkout, changed), 'changed')
      git('add', '.')
      git('commit', '-q', '-m', 'second')
      plant(join(folder, 'bin'), 'npm', `echo "CI=$CI" >> "$CALLS"\n${npm}`)
      const env = { ...process.env, PATH: `${join(folder, 'bin')}:${process.env.PATH}`, CALLS: join(folder, 'calls') }
      const { status } = spawnSync(join(checkout, '.ci/run'), { encoding: 'utf8', env })
      return { status, calls: readFileSync(join(folder, 'calls'), 'utf8').split('\n').filter(Boolean) }
    })

  const expected: Record<string, string> = {
    'README.md': '',
    'agent/store/store.ts': ' --and crash',
    'package-lock.json': ' --and install',
    'renderer/pages/a.tsx': '',
  }
  for (const [changed, more] of Object.entries(expected)) {
    test(`after a change of ${changed} adds what that touches to npm test`, async () => {
      const { status, calls } = await ciRun(changed)
      assert.equal(status, 0)
      const always = 'npm test -- --and duplicates --and docs'
      assert.deepEqual(calls, ['npm ci', 'CI=true', `${always}${more}`, 'CI=true'])
    })
  }
  test('ends with the code of npm test', async () => {
    const { status } = await ciRun('README.md', 'if [ "$1" = test ]; then exit 1; fi')
    assert.equal(status, 1)
  })
  test('ends when npm ci fails', async () => {
    const { status, calls } = await ciRun('README.md', 'exit 1')
    assert.deepEqual([status, calls], [1, ['npm ci', 'CI=true']])
  })
})
