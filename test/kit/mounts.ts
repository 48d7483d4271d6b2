/** Unmounting where the one who used the disk has only just ended: the kernel may need a moment. */
import { readFile } from 'node:fs/promises'
import { runTool } from './tools.ts'
import { until } from './until.ts'

const isMounted = async (folder: string): Promise<boolean> =>
  (await readFile('/proc/self/mounts', 'utf8')).split('\n').some((line) => line.split(' ')[1] === folder)

/** @throws TookTooLong when it is in use for longer than that; a folder that is not mounted is fine */
export async function unmounted(folder: string, limitMs: number): Promise<void> {
  await until(`${folder} unmounted`, limitMs, async () => {
    if (await isMounted(folder)) await runTool('umount', [folder], limitMs)
    return !(await isMounted(folder))
  })
}
