/**
 * `npm run demo` with each of the clients that it may find: qemu-io, nbdcopy, or none but the project's own. Each tells
 * the whole story, says its name, and sees a single wrong byte; then the demo has not proved anything and says so.
 */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { chmod, mkdir, mkdtemp, readdir, rm, symlink, writeFile } from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import { type TestContext, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { withLab } from '../kit/lab.ts'
import { connectNbd } from '../kit/nbd-client.ts'
import { findTool, needs, type Tool } from '../kit/needs.ts'
import { chooseClient } from '../lab/real-client.ts'

const root = fileURLToPath(new URL('../..', import.meta.url))
/** The whole story takes half a minute, on a busy machine more; milliseconds. */
const storyMs = 180_000
const MiB = 1024 * 1024

const clients: readonly { readonly tool: 'qemu-io' | 'nbdcopy' | null; readonly says: string }[] = [
  { tool: 'qemu-io', says: 'qemu-io' },
  { tool: 'nbdcopy', says: 'nbdcopy' },
  { tool: null, says: "the project's own NBD client" },
]

async function inFolder<T>(use: (folder: string) => Promise<T>): Promise<T> {
  const folder = await mkdtemp(path.join(os.tmpdir(), 'mirrorbay-clients-'))
  try {
    return await use(folder)
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}

/** A folder for PATH with nothing but these programs. */
async function binWith(folder: string, tools: readonly Tool[]): Promise<string> {
  const bin = path.join(folder, 'bin')
  await mkdir(bin)
  for (const tool of tools) await symlink(findTool(tool) ?? '', path.join(bin, tool))
  return bin
}

/** A client in front of the real one: what it does to the arguments, in the words of a shell. */
async function plant(bin: string, tool: Tool, script: string): Promise<void> {
  const file = path.join(bin, tool)
  await writeFile(file, `#!/bin/sh\nreal=${findTool(tool)}\n${script}\n`)
  await chmod(file, 0o755)
}

/** `npm run demo -- WORDS` where PATH is only this folder, and temporary files go into the other. */
async function demo(
  bin: string,
  temporary: string,
  ...words: string[]
): Promise<{ code: number | null; said: string }> {
  const child = spawn(process.execPath, ['build/run.mjs', 'test/lab/demo.ts', ...words], {
    cwd: root,
    env: { ...process.env, PATH: bin, TMPDIR: temporary },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  // SIGTERM and not SIGKILL: the demo ends its agents then.
  const timer = setTimeout(() => child.kill('SIGTERM'), storyMs)
  let said = ''
  for (const stream of [child.stdout, child.stderr]) {
    stream.on('data', (chunk: Buffer) => {
      said += chunk.toString()
    })
  }
  try {
    const code = await new Promise<number | null>((ended, failed) => {
      child.once('error', failed)
      child.once('close', ended)
    })
    return { code, said }
  } finally {
    clearTimeout(timer)
  }
}

/** What the builder of the window keeps in the temporary folder is its own. */
async function leftNothing(temporary: string): Promise<void> {
  const ours = (await readdir(temporary)).filter((name) => name.startsWith('mirrorbay'))
  assert.deepEqual(ours, [], 'the demo left something behind')
}

const toolOf = (tool: Tool | null): Tool[] => (tool === null ? [] : [tool])

async function tellsAll(t: TestContext, tool: Tool | null, says: string): Promise<void> {
  await inFolder(async (folder) => {
    const temporary = path.join(folder, 'tmp')
    await mkdir(temporary)
    const { code, said } = await demo(await binWith(folder, toolOf(tool)), temporary, '--auto', '--no-install')
    assert.equal(code, 0, said)
    assert.ok(said.includes(`Every step is proved by reading bytes with ${says}.`), said)
    const [proved = ''] = /All proved: 11 steps .*/.exec(said) ?? []
    assert.ok(proved.endsWith(`with ${says}.`), said)
    assert.equal(said.includes('Neither qemu-io nor nbdcopy is here.'), tool === null, said)
    assert.ok(!said.includes('Installing'), said)
    await leftNothing(temporary)
    t.diagnostic(proved)
  })
}

// At once: most of the time nobody works, but waits for leases and returning servers.
test('the demo tells and proves its whole story with each client', { concurrency: clients.length }, async (t) => {
  await Promise.all(
    clients.map(({ tool, says }) =>
      t.test(`with ${says}`, needs(...toolOf(tool)), (inner) => tellsAll(inner, tool, says)),
    ),
  )
})

/** What stands between the demo and the disk, and changes one byte of it. */
const liars: readonly { readonly tool: 'qemu-io' | 'nbdcopy'; readonly script: string }[] = [
  {
    tool: 'qemu-io',
    // Behind every write, one more of 512 other bytes in the midst of it.
    script: [
      '"$real" "$@" || exit',
      `case "$*" in *'write -P 1 '*) for uri in "$@"; do :; done; exec "$real" -f raw -c 'write -P 200 4096 512' "$uri";; esac`,
    ].join('\n'),
  },
  {
    tool: 'nbdcopy',
    // Of what was read, one byte is another one.
    script: [
      '"$real" "$@" || exit',
      'case "$1" in nbd*) printf "\\310" | /bin/dd of="$2" bs=1 seek=4096 conv=notrunc 2>/dev/null;; esac',
    ].join('\n'),
  },
]

test('a demo that reads one wrong byte has proved nothing: it ends with 1', {
  concurrency: liars.length,
}, async (t) => {
  await Promise.all(
    liars.map(({ tool, script }) =>
      t.test(`with ${tool}`, needs(tool), () =>
        inFolder(async (folder) => {
          const bin = await binWith(folder, [])
          await plant(bin, tool, script)
          const { code, said } = await demo(bin, folder, '--auto', '--no-install')
          assert.equal(code, 1, said)
          assert.match(said, /✗ A client writes at server A; another reads the same bytes at server B/)
          assert.match(said, /Not proved: .*(byte 4096 is 200, 1 was written|Pattern verification failed at offset 0)/s)
          assert.match(said, /Everything that the demo started has ended/)
          await leftNothing(folder)
        }),
      ),
    ),
  )
})

/** Chooses as the demo does, on a machine that has only this client. */
async function chosenWith(tool: Tool | null, folder: string) {
  const { PATH } = process.env
  process.env.PATH = await binWith(folder, toolOf(tool))
  try {
    return chooseClient(folder)
  } finally {
    process.env.PATH = PATH
  }
}

test('each client writes only its pieces, and sees one wrong byte anywhere in them', async (t) => {
  await withLab({ witness: false, sizeBytes: 16 * MiB }, async (lab) => {
    for (const [index, { tool, says }] of clients.entries()) {
      await t.test(says, needs(...toolOf(tool)), () =>
        inFolder(async (folder) => {
          const client = await chosenWith(tool, folder)
          assert.equal(client.name, says)
          const pieces = [1, 3, 7].map((at) => ({ offsetBytes: at * MiB, lengthBytes: MiB, fill: 16 * index + at }))
          const direct = await connectNbd(lab.uri('b'))
          try {
            // Beside the pieces stands what somebody else writes at the same time.
            const other = new Uint8Array(4096).fill(0xaa)
            for (const offset of [0, 2 * MiB, 8 * MiB]) await direct.write(offset, other)
            await client.write(lab.uri('a'), pieces)
            await client.verify(lab.uri('b'), pieces)
            for (const offset of [0, 2 * MiB, 8 * MiB]) {
              assert.equal(Buffer.compare(await direct.read(offset, 4096), other), 0, `byte ${offset} was overwritten`)
            }
            for (const wrongAt of [MiB, 4 * MiB - 1, 7 * MiB + 777]) {
              const right = await direct.read(wrongAt, 1)
              await direct.write(wrongAt, new Uint8Array(1).fill(0xee))
              await assert.rejects(client.verify(lab.uri('a'), pieces), /Pattern verification failed|byte \d+ is 238/)
              await direct.write(wrongAt, right)
            }
            await client.verify(lab.uri('a'), pieces)
          } finally {
            direct.destroy()
          }
        }),
      )
    }
  })
})
