/** The list of storage folders in config.json: what cannot be meant is refused, with the place and the reason. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { agentConfig, pathsOverlap } from '../../../agent/contract/config.ts'
import { limits } from '../../../agent/limits.ts'

const withFolders = (folders: unknown) =>
  agentConfig.safeParse({ version: 1, name: 'nas-1', link: { port: 7400, secret: 'sixteen characters' }, folders })

test('a list of storage folders is taken as it is meant, and none is none', () => {
  const folders = [
    { name: 'disk2', path: '/mnt/disk2/mirrorbay' },
    { name: 'disk3', path: '/mnt/disk3' },
    { name: 'disk33', path: '/mnt/disk33' },
    { name: 'win', path: 'D:\\mirrorbay' },
  ]
  assert.deepEqual(withFolders(folders).data?.folders, folders)
  assert.deepEqual(withFolders(undefined).data?.folders, [])
})

test('a list that cannot be meant is refused, with its place and the reason', () => {
  const one = { name: 'disk2', path: '/mnt/disk2' }
  const cases: [string, unknown, string, RegExp][] = [
    ['a relative path', [{ ...one, path: 'mnt/disk2' }], 'folders.0.path', /whole path/],
    ['a path with ..', [{ ...one, path: '/mnt/../disk2' }], 'folders.0.path', /whole path/],
    ['a name twice', [one, { ...one, path: '/mnt/x' }], 'folders.1.name', /two storage folders/],
    ['a path twice', [one, { name: 'disk3', path: '/mnt//disk2/' }], 'folders.1.path', /same folder as disk2/],
    ['one inside another', [one, { name: 'disk3', path: '/mnt/disk2/x' }], 'folders.1.path', /inside/],
    ['one around another', [one, { name: 'disk3', path: '/mnt' }], 'folders.1.path', /inside/],
    ['the name of the main one', [{ ...one, name: 'main' }], 'folders.0.name', /config\.json/],
    ['a name that no command could take', [{ ...one, name: 'Disk 2' }], 'folders.0.name', /letter or digit/],
    ['an unknown member', [{ ...one, size: 1 }], 'folders.0', /size/],
    [
      'too many',
      Array.from({ length: limits.folders + 1 }, (_, index) => ({ name: `d${index}`, path: `/mnt/d${index}` })),
      'folders',
      /7/,
    ],
  ]
  for (const [what, folders, place, reason] of cases) {
    const issue = withFolders(folders).error?.issues[0]
    assert.deepEqual(
      [issue?.path.join('.'), reason.test(issue?.message ?? '')],
      [place, true],
      `${what}: ${issue?.message}`,
    )
  }
})

test('paths overlap when one is the other or lies in it, not when only their names begin alike', () => {
  assert.equal(pathsOverlap('/a/b', '/a/b/'), true)
  assert.equal(pathsOverlap('/a/b', '/a/./b/c'), true)
  assert.equal(pathsOverlap('/', '/a'), true)
  assert.equal(pathsOverlap('/a/b', '/a/bc'), false)
  assert.equal(pathsOverlap('/a/bc', '/a/b'), false)
})
