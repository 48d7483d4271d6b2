/** The client made from the table, and its reader of server-sent events, against answers of every kind. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { createClient, type Transport } from '../../../agent/contract/client.ts'
import { SseParser } from '../../../agent/contract/sse.ts'
import { statusOf } from '../control/recording-port.ts'

const bytes = (text: string) => new TextEncoder().encode(text)

/** A transport that answers everything alike and keeps what it was asked. */
function answering(status: number, text: string) {
  const asked: { path: string; method: string; body: string | undefined; type: string | undefined }[] = []
  const transport: Transport = async (path, init) => {
    asked.push({ path, method: init.method, body: init.body, type: init.headers['Content-Type'] })
    return { status, text: async () => text, body: new Blob([text]).stream() }
  }
  return { client: createClient(transport), asked }
}

test('requests go where the table says', async () => {
  const { client, asked } = answering(200, '{"done":true}')
  await client.call('resync', { volume: 'office', action: 'now' })
  await client.call('createVolume', { name: 'v', sizeBytes: 2 ** 30 })
  await client.call('release', {})
  await client.call('resync', { volume: '../x?y', action: 'now' })
  assert.deepEqual(asked, [
    { path: '/api/v1/volumes/office/resync', method: 'POST', body: '{"action":"now"}', type: 'application/json' },
    { path: '/api/v1/volumes', method: 'POST', body: '{"name":"v","sizeBytes":1073741824}', type: 'application/json' },
    { path: '/api/v1/release', method: 'POST', body: '{}', type: 'application/json' },
    { path: '/api/v1/volumes/..%2Fx%3Fy/resync', method: 'POST', body: '{"action":"now"}', type: 'application/json' },
  ])
  const events = answering(200, '{"events":[]}')
  await events.client.call('events', { after: 5 })
  await events.client.call('events', {})
  assert.deepEqual(
    events.asked.map(({ path, body }) => [path, body]),
    [
      ['/api/v1/events?after=5', undefined],
      ['/api/v1/events', undefined],
    ],
  )
})

test('refusals come out as they went in, and answers of strangers are not believed', async () => {
  const body = { code: 'peer-away', happened: 'A.', dataIsSafe: 'B.', next: 'C.' }
  await assert.rejects(answering(409, JSON.stringify(body)).client.call('stop', {}), {
    code: 'peer-away',
    message: 'A.',
    dataIsSafe: 'B.',
    next: 'C.',
  })
  await assert.rejects(answering(401, '{}').client.call('stop', {}), { code: 'not-signed-in' })
  await assert.rejects(answering(502, '<html>').client.call('stop', {}), { code: 'bad-answer' })
  await assert.rejects(answering(200, '').client.call('stop', {}), { code: 'bad-answer' })
  await assert.rejects(answering(200, '{"done":false}').client.call('stop', {}), { code: 'bad-answer' })
  await assert.rejects(answering(200, '{"product":"other"}').client.call('status', {}), { code: 'bad-answer' })
  await assert.rejects(answering(200, 'event: status\ndata: {}\n\n').client.stream({}).next(), { code: 'bad-answer' })
  await assert.rejects(answering(503, JSON.stringify(body)).client.stream({}).next(), { code: 'peer-away' })
})

test('a stream gives its messages however the bytes are cut', async () => {
  const text = `: here\n\nevent: status\r\ndata: ${JSON.stringify({ ...statusOf(), version: 'ü€😀' })}\r\n\r\n`
  const found = []
  for await (const told of answering(200, text + text).client.stream({})) found.push(told)
  assert.deepEqual(
    found.map((told) => told.kind),
    ['status', 'status'],
  )
  const whole = new SseParser().push(bytes(text))
  assert.equal(whole.length, 1)
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 1, max: 40 }), { minLength: 1 }), (cuts) => {
      const parser = new SseParser()
      const messages = []
      const data = bytes(text)
      for (let at = 0, index = 0; at < data.length; index++) {
        const size = cuts[index % cuts.length] ?? 1
        messages.push(...parser.push(data.subarray(at, at + size)))
        at += size
      }
      assert.deepEqual(messages, whole)
    }),
    { seed: 3, numRuns: 100 },
  )
})

test('garbage never makes a message too large, and an endless message is refused', () => {
  const endless = new SseParser(1_000)
  assert.throws(() => endless.push(bytes('x'.repeat(1_001))), { code: 'bad-answer' })
  const many = new SseParser(1_000)
  assert.throws(
    () => {
      for (let line = 0; line < 100; line++) many.push(bytes(`data: ${'x'.repeat(20)}\n`))
    },
    { code: 'bad-answer' },
  )
  fc.assert(
    fc.property(fc.array(fc.uint8Array({ maxLength: 200 })), (chunks) => {
      const parser = new SseParser()
      for (const chunk of chunks) parser.push(chunk)
    }),
    { seed: 5, numRuns: 200 },
  )
})
