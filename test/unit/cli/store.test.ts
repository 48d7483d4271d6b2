/** Aim: `mirrorbay store …` asks before it changes anything, and its exit codes and words say what was found. */
import assert from 'node:assert/strict'
import fs from 'node:fs'
import path from 'node:path'
import { test } from 'node:test'
import { runCli } from '../../../agent/cli/program.ts'
import type { Terminal } from '../../../agent/cli/terminal.ts'
import { inspectStore } from '../../../agent/store/inspect.ts'
import { dropIndex, ids, small, withFolder } from '../store/rebuild-world.ts'

async function run(words: readonly string[], over: Partial<Terminal> = {}) {
  const said = { out: '', err: '' }
  const code = await runCli(['store', ...words], {
    out: (text) => {
      said.out += text
    },
    err: (text) => {
      said.err += text
    },
    isTerminal: false,
    environment: {},
    platform: 'linux',
    homeDir: '/nonexistent',
    wallMs: () => Date.now(),
    interrupted: new AbortController().signal,
    ...over,
  })
  return { code, ...said }
}

const hasIndex = (dir: string) => fs.existsSync(path.join(dir, 'index.db'))

test('rebuild asks, and takes only yes for yes', () =>
  withFolder(
    31,
    async (dir) => {
      dropIndex(dir)
      const unasked = await run(['rebuild', '--dir', dir])
      assert.equal(unasked.code, 2)
      assert.match(unasked.err, /Add --yes/)
      const questions: string[] = []
      const answering = (answer: string) => async (question: string) => {
        questions.push(question)
        return answer
      }
      for (const answer of ['', 'n', 'no', 'yesterday']) {
        const refused = await run(['rebuild', '--dir', dir], { ask: answering(answer) })
        assert.deepEqual([refused.code, hasIndex(dir)], [1, false], `"${answer}" was taken for yes`)
        assert.match(refused.out, /Nothing was changed/)
      }
      const done = await run(['rebuild', '--dir', dir], { ask: answering('Yes') })
      assert.deepEqual([done.code, hasIndex(dir)], [0, true], done.err)
      assert.match(done.out, new RegExp(`volume ${ids[0]} \\(5 MiB\\): .* found`))
      assert.match(done.out, /Images of volumes are not kept/)
      assert.match(done.out, /is in doubt now/)
      assert.match(questions[4] ?? '', /^Make the index of this/)
      await run(['rebuild', '--dir', dir], { ask: answering('no') })
      assert.match(questions[5] ?? '', /^There is an index\. Replace it/)
    },
    small,
  ))

test('rebuild --json --yes gives the report; no question; damaged headers are in it', () =>
  withFolder(
    32,
    async (dir) => {
      const fd = fs.openSync(path.join(dir, 'data/00000.slots'), 'r+')
      fs.writeSync(fd, Buffer.of(1, 2, 3), 0, 3, 4096 + 512 + 33)
      fs.closeSync(fd)
      dropIndex(dir)
      const asked = await run(['rebuild', '--json', '--dir', dir], { ask: async () => 'yes' })
      assert.equal(asked.code, 2)
      const { code, out, err } = await run(['rebuild', '--json', '--yes', '--dir', dir])
      assert.equal(code, 0, err)
      const report = JSON.parse(out)
      assert.equal(report.volumes.length, 2)
      assert.deepEqual([report.damagedCount, report.damaged[0].slot, report.damaged[0].offsetBytes], [1, 1, 4608])
    },
    small,
  ))

test('check: 0 sound, 1 with the blocks, 2 could not; a terminal sees how far it is', () =>
  withFolder(
    33,
    async (dir) => {
      // Every look at the clock is half a second later.
      let nowMs = 0
      const slow = {
        isTerminal: true,
        wallMs: () => {
          nowMs += 500
          return nowMs
        },
      }
      const sound = await run(['check', '--dir', dir], slow)
      assert.equal(sound.code, 0, sound.err)
      assert.match(sound.out, /Checking: \d+ % of .*Every checked block is sound\.\n$/s)
      assert.doesNotMatch((await run(['check', '--dir', dir])).out, /%/)
      const look = inspectStore(dir)
      const [replica] = look.replicas
      const extent = replica?.allocated().next().value
      assert.ok(replica && extent !== undefined)
      const offsetBytes = extent * 262_144 + 8192
      const place = replica.placeOf(offsetBytes)
      assert.ok(place)
      const byte = replica.readBlocks(offsetBytes, 1)
      look.close()
      const fd = fs.openSync(path.join(dir, place.path), 'r+')
      fs.writeSync(fd, Buffer.of(byte.readUInt8(0) ^ 1), 0, 1, place.offsetBytes)
      fs.closeSync(fd)
      const rotten = await run(['check', '--dir', dir])
      assert.equal(rotten.code, 1)
      assert.match(
        rotten.out,
        new RegExp(`volume ${ids[0]}: the block at byte ${offsetBytes} does not fit its checksum .*slots at byte`),
      )
      const told = JSON.parse((await run(['check', '--json', '--dir', dir])).out)
      assert.deepEqual([told.sound, told.badCount, told.bad[0].offsetBytes], [false, 1, offsetBytes])
      dropIndex(dir)
      const impossible = await run(['check', '--dir', dir])
      assert.equal(impossible.code, 2)
      assert.match(impossible.err, /mirrorbay store rebuild/)
    },
    small,
  ))
