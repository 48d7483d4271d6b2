/** A lab with a second volume, "second", whose copy on a lies in the storage folder disk1; the lab's own one lies in main. */
import assert from 'node:assert/strict'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { connectAgent } from '../../agent/cli/connection.ts'
import type { FolderStatus, VolumeStatus } from '../../agent/contract/status.ts'
import { headlineOf } from '../../agent/contract/words.ts'
import { equal } from '../lab/equal.ts'
import { tcpUri } from '../lab/layout.ts'
import { memberNamed } from '../lab/state.ts'
import { type ServerName, stepMs, type TestLab } from './lab.ts'
import { connectNbd } from './nbd-client.ts'
import { type Ran, runTool } from './tools.ts'
import { until } from './until.ts'

export const MiB = 1024 * 1024
export const sizeBytes = 64 * MiB
export const program = fileURLToPath(new URL('../../agent/cli/main.ts', import.meta.url))

export const command = (lab: TestLab, name: ServerName, ...words: string[]): Promise<Ran> =>
  runTool(process.execPath, [program, '--dir', memberNamed(lab.state, name).dir, ...words], stepMs)

export const second = (lab: TestLab, name: ServerName): string => tcpUri(memberNamed(lab.state, name), 'second')

/** A second volume, whose copy on a lies in disk1; the first one lies in main. */
export async function createSecond(lab: TestLab): Promise<void> {
  const a = connectAgent(memberNamed(lab.state, 'a').api)
  await a.call('createVolume', { name: 'second', sizeBytes, arbiter: 'witness', folder: 'disk1' })
  await secondIs(lab, 'Protected')
}

export async function secondAt(lab: TestLab, name: ServerName): Promise<VolumeStatus | undefined> {
  return (await lab.status(name)).volumes.find((volume) => volume.name === 'second')
}

export async function secondIs(
  lab: TestLab,
  headline: string,
  names: readonly ServerName[] = ['a', 'b'],
): Promise<void> {
  for (const name of names) {
    await until(`second ${headline} at ${name}`, stepMs, async () => {
      const volume = await secondAt(lab, name)
      return volume !== undefined && headlineOf(volume) === headline
    })
  }
}

export async function mustBeEqual(lab: TestLab): Promise<void> {
  await lab.mustBeEqual()
  const answer = await equal({ ...lab.state, volume: { name: 'second', sizeBytes } })
  assert.ok(answer.yes, answer.says)
}

export async function folder(lab: TestLab, name: ServerName, which = 'disk1'): Promise<FolderStatus> {
  const found = (await lab.status(name)).folders.find((each) => each.name === which)
  assert.ok(found !== undefined, `${name} knows no folder ${which}`)
  return found
}

export const disk1 = (lab: TestLab): string => path.join(lab.dir, 'a-disk1')

export async function write(uri: string, atMiB: number, fill: number): Promise<void> {
  const client = await connectNbd(uri)
  try {
    await client.write(atMiB * MiB, new Uint8Array(MiB).fill(fill))
    await client.flush()
  } finally {
    client.destroy()
  }
}

export async function mustRead(uri: string, atMiB: number, fill: number): Promise<void> {
  const client = await connectNbd(uri)
  try {
    const found = await client.read(atMiB * MiB, MiB)
    assert.ok(
      found.every((byte) => byte === fill),
      `MiB ${atMiB} does not hold ${fill}`,
    )
  } finally {
    client.destroy()
  }
}
