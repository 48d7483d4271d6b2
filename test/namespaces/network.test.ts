/** The network of these tests leaves nothing on the machine, whatever happens to the test that made it. */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readdirSync } from 'node:fs'
import { test } from 'node:test'
import { pathToFileURL } from 'node:url'
import { until } from '../kit/until.ts'
import { Network, removeStaleNamespaces } from './network.ts'
import { needsNetwork } from './network-lab.ts'

const address = pathToFileURL(`${import.meta.dirname}/network.ts`)
/** Tells the names of its namespaces; in the one called `busy` a process goes on when it is killed itself. */
const maker = `
  import { spawn } from 'node:child_process'
  import { Network } from ${JSON.stringify(address)}
  const network = Network.lay(['idle', 'busy'])
  const [program, ...words] = network.enter('busy')
  const left = spawn(program, [...words, 'sleep', '300'], { detached: true, stdio: 'ignore' })
  left.once('spawn', () => {
    console.log(JSON.stringify([left.pid, network.namespace('idle'), network.namespace('busy')]))
    setInterval(() => 0, 1e6)
  })`

const exists = (name: string): boolean => readdirSync('/run/netns').includes(name)

test(
  'what a killed test left is removed as soon as nothing runs there any more, and nothing else',
  needsNetwork,
  async () => {
    const child = spawn(process.execPath, ['--input-type=module-typescript', '-e', maker], {
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    const ended = once(child, 'exit')
    let left = 0
    try {
      const [line] = await once(child.stdout, 'data')
      const [pid, idle, busy] = JSON.parse(String(line)) as [number, string, string] // what maker prints
      left = pid
      assert.deepEqual(removeStaleNamespaces(), [], 'a living test lost its network')
      assert.ok(exists(idle) && exists(busy))
      child.kill('SIGKILL')
      await ended
      removeStaleNamespaces()
      assert.ok(!exists(idle), 'an empty namespace of a dead test stays')
      assert.ok(exists(busy), 'a namespace was removed from around a living process')
      process.kill(left, 'SIGKILL')
      await until('the last one gone', 5_000, () => removeStaleNamespaces().includes(busy))
      assert.ok(!exists(busy))
    } finally {
      child.kill('SIGKILL')
      if (left !== 0) await until('the process gone', 5_000, () => !endedOrKilled(left))
      removeStaleNamespaces()
    }
  },
)

/** @returns whether it was still there */
function endedOrKilled(pid: number): boolean {
  try {
    return process.kill(pid, 'SIGKILL')
  } catch {
    return false // gone
  }
}

test('a network that cannot be made leaves nothing behind', needsNetwork, () => {
  const before = readdirSync('/run/netns')
  // The second machine's end of the cable has a name that is longer than a name may be.
  assert.throws(() => Network.lay(['a', 'a-machine-with-a-long-name']), /ip link add/)
  assert.deepEqual(readdirSync('/run/netns'), before)
})
