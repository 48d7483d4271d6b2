/** What the session tests ask, and how they hear the answer. */
import assert from 'node:assert/strict'
import type { Scripted } from './scripted.ts'
import { type Asked, command, type Reply, requestBytes } from './wire.ts'

export const seed = 20261122
export const sizeBytes = 1 << 20
export const errors = { none: 0, notPermitted: 1, io: 5, invalid: 22, noSpace: 28, shutdown: 108 } as const
export const read = (offset: number, length: number, cookie = 1n): Asked => ({
  command: command.read,
  offset: BigInt(offset),
  length,
  cookie,
})
export const write = (offset: number, data: Uint8Array, cookie = 1n, flags = 0): Asked => ({
  command: command.write,
  offset: BigInt(offset),
  data,
  cookie,
  flags,
})
/** Asks one thing and returns its only reply. */
export function ask(scripted: Scripted, asked: Asked): Reply {
  const reads = new Map(asked.command === command.read ? [[asked.cookie ?? 1n, asked.length ?? 0]] : [])
  const found = scripted.replies(scripted.say(requestBytes(asked)), reads)
  assert.equal(found.length, 1)
  const [reply] = found
  assert.ok(reply)
  assert.equal(reply.cookie, asked.cookie ?? 1n)
  return reply
}
