/**
 * What a test needs of the machine. The one way to skip a test: the closing lines of a run count what was skipped and
 * name the Debian package or the right that is missing.
 *
 *     test('two clients …', needs('qemu-io', 'fio'), async () => { … })
 */
import { spawnSync } from 'node:child_process'
import { accessSync, constants } from 'node:fs'
import { delimiter, join } from 'node:path'

/** Programs that tests call, and where Debian keeps them. */
export const debianPackages = {
  busybox: 'busybox-static',
  cpio: 'cpio',
  depmod: 'kmod',
  chromium: 'chromium',
  etcd: 'etcd-server',
  fio: 'fio',
  fsfreeze: 'util-linux',
  fusermount3: 'fuse3',
  gcc: 'gcc',
  git: 'git',
  ip: 'iproute2',
  'iscsi-test-cu': 'libiscsi-bin',
  losetup: 'mount',
  'mkfs.ext4': 'e2fsprogs',
  'fsck.ext4': 'e2fsprogs',
  'mkfs.xfs': 'xfsprogs',
  'nbd-client': 'nbd-client',
  nbdcopy: 'libnbd-bin',
  nbdfuse: 'libnbd-bin',
  nbdinfo: 'libnbd-bin',
  nbdkit: 'nbdkit',
  nbdsh: 'python3-libnbd',
  nsenter: 'util-linux',
  python3: 'python3',
  'qemu-img': 'qemu-utils',
  'qemu-io': 'qemu-utils',
  'qemu-nbd': 'qemu-utils',
  'qemu-storage-daemon': 'qemu-system-common',
  'qemu-system-x86_64': 'qemu-system-x86',
  script: 'bsdutils',
  spin: 'spin',
  tc: 'iproute2',
  unshare: 'util-linux',
  'xvfb-run': 'xvfb',
} as const

/** What no package gives: how to find out, and how to say that it is missing. */
const rights = {
  root: { present: () => process.getuid?.() === 0, missing: 'the rights of root' },
  linux: { present: () => process.platform === 'linux', missing: 'Linux' },
  loop: { present: () => usable('/dev/loop-control'), missing: 'loop devices (root, /dev/loop-control)' },
  fuse: { present: () => usable('/dev/fuse'), missing: 'FUSE (/dev/fuse)' },
  'network namespaces': {
    present: () => spawnSync('unshare', ['--net', 'true'], { stdio: 'ignore' }).status === 0,
    missing: 'the right to make network namespaces',
  },
} as const

export type Tool = keyof typeof debianPackages
export type Right = keyof typeof rights

/** Where tools are looked for besides PATH: people's PATH has no sbin on Debian. */
const systemFolders = ['/usr/local/sbin', '/usr/sbin', '/sbin']

function usable(path: string): boolean {
  try {
    accessSync(path, constants.R_OK | constants.W_OK)
    return true
  } catch {
    return false // absent or not ours: the same to a test
  }
}

/** @returns a program's full path, null when the machine has none */
export function findProgram(name: string): string | null {
  const folders = [...(process.env.PATH ?? '').split(delimiter), ...systemFolders]
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

/** As findProgram, for the tools of which the Debian package is known. */
export const findTool = (name: Tool): string | null => findProgram(name)

const isRight = (need: Tool | Right): need is Right => Object.hasOwn(rights, need)

/** @returns what is missing, in the words of the closing lines; null when it is there */
function missing(need: Tool | Right): string | null {
  if (isRight(need)) return rights[need].present() ? null : rights[need].missing
  return findTool(need) === null ? `${need} (Debian package ${debianPackages[need]})` : null
}

/** @returns options for node:test: the test is skipped when anything is missing, and says what */
export function needs(...all: readonly (Tool | Right)[]): { skip: false | string } {
  const absent = all.map(missing).filter((what) => what !== null)
  return { skip: absent.length === 0 ? false : `needs ${absent.join(' and ')}` }
}
