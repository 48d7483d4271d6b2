/** A process number that is used again must never be taken for the agent that had it before. */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { test } from 'node:test'
import { until } from '../../kit/until.ts'
import { cpuSeconds, identify, isRunning, isStopped, signal, waitForEnd, withDescendants } from '../../lab/processes.ts'

test('a process is known by its number and its start together', async () => {
  const child = spawn(process.execPath, ['-e', 'setInterval(() => {}, 1000)'], { stdio: 'ignore' })
  try {
    await once(child, 'spawn')
    const identity = identify(child.pid ?? 0)
    assert.ok(identity !== undefined && isRunning(identity))
    const another = { ...identity, startedAt: `${identity.startedAt}0` }
    assert.equal(isRunning(another), false)
    assert.equal(signal(another, 'SIGKILL'), false)
    assert.ok(isRunning(identity), 'a stranger was killed')
    assert.deepEqual(withDescendants(process.pid).includes(identity.pid), true)
    assert.ok((cpuSeconds(identity.pid) ?? -1) >= 0)
    signal(identity, 'SIGSTOP')
    await until('the stop', 5_000, () => isStopped(identity))
    assert.equal(signal(identity, 'SIGKILL'), true)
    await waitForEnd(identity, 5_000)
    assert.equal(isRunning(identity), false)
    assert.equal(signal(identity, 'SIGKILL'), false)
  } finally {
    child.kill('SIGKILL')
  }
})
