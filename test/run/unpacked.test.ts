import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { test } from 'node:test'
import { unpacked } from '../kit/unpacked.ts'

const isInstalled = (name: string) =>
  /install ok installed/.test(spawnSync('dpkg', ['-s', name], { encoding: 'utf8' }).stdout)
const skip = existsSync('/usr/bin/apt-get') ? unpacked('tgt').skip : 'needs apt-get (Debian)'

test('a package with a service is unpacked, not installed, and its program starts', { skip }, () => {
  const wasInstalled = isInstalled('tgt')
  const { packages } = unpacked('tgt')
  assert.ok(packages)
  assert.equal(isInstalled('tgt'), wasInstalled)
  const program = packages.program('tgtd') ?? ''
  assert.ok(program.startsWith(packages.folder))
  const { status, stdout } = spawnSync(program, ['--version'], { encoding: 'utf8', env: packages.environment() })
  assert.equal(status, 0)
  assert.match(stdout, /^\d+\.\d+/)
})

test('a program that the package has not is told as absent', { skip }, () => {
  assert.equal(unpacked('tgt').packages?.program('no-such-program'), null)
})

test('a package that Debian has not is a reason to skip, and leaves nothing in the cache', { skip }, () => {
  for (let attempt = 0; attempt < 2; attempt++) {
    const { packages, skip: reason } = unpacked('no-such-package-of-debian')
    assert.equal(packages, null)
    assert.match(String(reason), /^needs the Debian package no-such-package-of-debian unpacked: E: /)
  }
})
