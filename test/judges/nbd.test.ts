/**
 * Judges from outside: they know the protocol and file systems, and nothing of us. They run against real agents, each on a
 * disk that it destroys.
 */
import assert from 'node:assert/strict'
import { cp } from 'node:fs/promises'
import path from 'node:path'
import { test } from 'node:test'
import { withLab } from '../kit/lab.ts'
import { needs } from '../kit/needs.ts'
import { launchTool } from '../kit/tools.ts'

const folder = path.join(import.meta.dirname, 'nbd')
/** The virtual machine's kernel and image are fetched and built beside its script, which is therefore copied here first. */
const machineFolder = path.join(import.meta.dirname, '..', '..', '.cache', 'judges-vm')
const MiB = 1024 * 1024
const judgeMs = 240_000

/** The judge's closing line, and its whole report with the failure when it is not content. */
async function verdict(program: string, args: readonly string[], from = folder): Promise<string> {
  const { code, said } = await launchTool(path.join(from, program), args, judgeMs).ended
  const closing = said.trimEnd().split('\n').at(-1) ?? ''
  assert.equal(code, 0, said.slice(-6_000))
  assert.match(closing, /^RESULT .*: PASS /, said.slice(-6_000))
  return closing
}

test(
  'the NBD protocol document, check by check, and the usual clients',
  needs('nbdsh', 'nbdinfo', 'nbdcopy', 'qemu-img', 'qemu-io', 'fio', 'nbd-client'),
  async (t) => {
    await withLab({ witness: true, sizeBytes: 256 * MiB }, async (lab) => {
      t.diagnostic(await verdict('nbd-conformance.py', [lab.uri('a'), '--strict']))
      await lab.mustBeEqual()
    })
  },
)

test(
  'file systems on the disk at one server, which is killed; the same content at the other',
  needs('root', 'loop', 'fuse', 'nbdfuse', 'nbdinfo', 'losetup', 'mkfs.ext4', 'fsck.ext4', 'fio'),
  async (t) => {
    await withLab({ witness: true, sizeBytes: 256 * MiB }, async (lab) => {
      const stop = `kill -9 ${lab.pid('a')}`
      t.diagnostic(await verdict('nbd-filesystem.sh', [lab.uri('a'), lab.uri('b'), '--stop-a', stop]))
    })
  },
)

test(
  'the Linux kernel as a client, in a virtual machine: connect, ext4, direct I/O, discard, four connections',
  needs('root', 'qemu-system-x86_64', 'busybox', 'cpio', 'depmod'),
  async (t) => {
    await cp(path.join(import.meta.dirname, 'vm'), machineFolder, { recursive: true })
    await withLab({ witness: true, sizeBytes: 256 * MiB }, async (lab) => {
      t.diagnostic(await verdict('run-vm-test.sh', ['--nbd', lab.uri('a'), '--tests', 'nbd'], machineFolder))
      await lab.mustBeEqual()
    })
  },
)
