/** A real file system of the kernel on the shared disk, made through one server and checked through the other. */
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import { test } from 'node:test'
import { withLab } from '../kit/lab.ts'
import { needs } from '../kit/needs.ts'
import { launchTool, mustRun, runTool } from '../kit/tools.ts'
import { until } from '../kit/until.ts'

const toolMs = 60_000

/** The volume as a block device of this machine: nbdfuse makes a file of it, a loop device a disk of the file. */
async function withDisk<T>(uri: string, folder: string, use: (device: string) => Promise<T>): Promise<T> {
  const mountPoint = path.join(folder, 'nbd')
  const file = path.join(mountPoint, 'disk')
  await mkdir(mountPoint, { recursive: true })
  const nbdfuse = launchTool('nbdfuse', [file, uri], 10 * toolMs)
  try {
    await until('file of nbdfuse', toolMs, async () => (await runTool('stat', [file])).code === 0)
    const device = (await mustRun('losetup', ['--find', '--show', file])).trim()
    try {
      return await use(device)
    } finally {
      await mustRun('losetup', ['--detach', device])
    }
  } finally {
    await until('end of nbdfuse', toolMs, async () => (await runTool('umount', [mountPoint])).code === 0).catch(
      nbdfuse.kill,
    )
    await nbdfuse.ended
  }
}

async function mounted(device: string, folder: string, use: (root: string) => Promise<void>): Promise<void> {
  const root = path.join(folder, 'root')
  await mkdir(root, { recursive: true })
  await mustRun('mount', ['-t', 'ext4', device, root])
  try {
    await use(root)
  } finally {
    await mustRun('umount', [root], toolMs)
  }
}

const fileCount = 40
const contentOf = (index: number): string => `file ${index}: ${'mirrorbay '.repeat(index * 50)}\n`

test(
  'ext4 is made and used through A, checked and used through B, after A was killed too',
  needs('root', 'loop', 'fuse', 'nbdfuse', 'mkfs.ext4', 'fsck.ext4'),
  async () => {
    const folder = await mkdtemp(path.join(os.tmpdir(), 'mirrorbay-fs-'))
    try {
      await withLab({ witness: true, sizeBytes: 96 * 1024 * 1024 }, async (lab) => {
        let sums = ''
        await withDisk(lab.uri('a'), folder, async (device) => {
          await mustRun('mkfs.ext4', ['-q', '-F', device], toolMs)
          await mounted(device, folder, async (root) => {
            for (let index = 0; index < fileCount; index++) {
              await writeFile(path.join(root, `file-${index}`), contentOf(index))
            }
            sums = await mustRun('sh', ['-c', 'cd "$1" && sha256sum file-*', 'sh', root])
          })
          await mustRun('fsck.ext4', ['-f', '-n', device], toolMs)
        })
        // What the file system made durable outlives the server that it was written through.
        await lab.kill('a')
        await withDisk(lab.uri('b'), folder, async (device) => {
          await mustRun('fsck.ext4', ['-f', '-n', device], toolMs)
          await mounted(device, folder, async (root) => {
            const again = await mustRun('sh', ['-c', 'cd "$1" && sha256sum file-*', 'sh', root])
            if (again !== sums) throw new Error(`the files differ:\n${sums}\n${again}`)
            await mustRun('sh', ['-c', 'cd "$1" && rm file-1* && cp file-2 copy && sync', 'sh', root])
          })
        })
        await lab.start('a')
        await lab.wait('Protected')
        await withDisk(lab.uri('a'), folder, async (device) => {
          await mustRun('fsck.ext4', ['-f', '-n', device], toolMs)
          await mounted(device, folder, (root) =>
            mustRun('sh', ['-c', 'cd "$1" && cmp file-2 copy && ! ls file-1', 'sh', root]).then(() => undefined),
          )
        })
        await lab.mustBeEqual()
      })
    } finally {
      await rm(folder, { recursive: true, force: true })
    }
  },
)
