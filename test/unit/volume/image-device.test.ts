import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { limits } from '../../../agent/limits.ts'
import type { StoreReadFailure } from '../../../agent/store/replica.ts'
import type { BlockFailure } from '../../../agent/volume/block-device.ts'
import type { ImageSource } from '../../../agent/volume/image-device.ts'
import { ImageDevices } from '../../../agent/volume/image-devices.ts'

const MiB = 1 << 20
const sizeBytes = 64 * MiB

/** An image whose every block begins with its offset; it answers when told to. */
class Image implements ImageSource {
  readonly name: string
  readonly sizeBytes = sizeBytes
  readonly asked: { offsetBytes: number; lengthBytes: number }[] = []
  failure: StoreReadFailure | null = null
  #answers: (() => void)[] = []

  constructor(name: string) {
    this.name = name
  }

  read(offsetBytes: number, lengthBytes: number, done: Parameters<ImageSource['read']>[2]): void {
    this.asked.push({ offsetBytes, lengthBytes })
    this.#answers.push(() => {
      const data = Buffer.alloc(lengthBytes)
      for (let at = 0; at < lengthBytes; at += 4096) data.writeUInt32BE(offsetBytes + at, at)
      if (this.failure === null) done(null, data)
      else done(this.failure, new Uint8Array(0))
    })
  }

  answer(): void {
    for (const answer of this.#answers.splice(0)) answer()
  }
}

function world() {
  const images = new Map<string, Image[]>([['office', [new Image('monday'), new Image('tuesday')]]])
  let turn: (() => void)[] = []
  const devices = new ImageDevices({
    images: (name) => images.get(name) ?? [],
    nextTurn: (fire) => turn.push(fire),
    changed: () => undefined,
  })
  const [monday] = images.get('office') ?? []
  assert.ok(monday)
  const settle = () => {
    while (turn.length > 0) {
      const due = turn
      turn = []
      for (const fire of due) fire()
    }
  }
  const gone: string[] = []
  const open = (name: string, client = 'here') => {
    const device = devices.find(name)
    assert.ok(device)
    return device.attach({ protocol: 'nbd', address: client }, () => gone.push(client))
  }
  return { images, devices, monday, settle, gone, open }
}

describe('snapshots as block devices', () => {
  test('are named volume@snapshot, read-only, and only those of a volume that is offered', () => {
    const { devices, images } = world()
    assert.deepEqual(
      devices.of('office').map(({ name, readOnly, sizeBytes: size }) => [name, readOnly, size]),
      [
        ['office@monday', true, sizeBytes],
        ['office@tuesday', true, sizeBytes],
      ],
    )
    for (const name of ['office', 'monday', 'office@', 'office@sunday', 'office@monday@', '@monday', 'other@monday'])
      assert.equal(devices.find(name), undefined, name)
    images.delete('office')
    assert.equal(devices.find('office@monday'), undefined)
  })

  test('a read of the largest size comes in parts, one after the other, and in order', () => {
    const { open, monday } = world()
    const client = open('office@monday')
    let got: Buffer | null = null
    client.read(MiB, limits.requestBytes, (failure, chunks) => {
      assert.equal(failure, null)
      got = Buffer.concat(chunks)
    })
    const parts = limits.requestBytes / limits.writePartBytes
    for (let part = 1; part <= parts; part += 1) {
      assert.equal(monday.asked.length, part)
      assert.equal((monday.asked.at(-1)?.lengthBytes ?? 0) <= limits.writePartBytes, true)
      monday.answer()
    }
    const bytes: Buffer = got ?? assert.fail('no answer')
    assert.equal(bytes.length, limits.requestBytes)
    for (let at = 0; at < bytes.length; at += MiB) assert.equal(bytes.readUInt32BE(at), MiB + at)
  })

  for (const failure of ['corrupt', 'io'] as const) {
    test(`a part that is ${failure} is an I/O error of the whole request, answered once`, () => {
      const { open, monday } = world()
      const answers: (BlockFailure | null)[] = []
      open('office@monday').read(0, 12 * MiB, (failed, chunks) => {
        answers.push(failed)
        assert.equal(chunks.length, 0)
      })
      monday.answer()
      monday.failure = failure
      monday.answer()
      monday.answer()
      assert.deepEqual(answers, ['io'])
    })
  }

  test('a closed connection hears nothing any more, and nothing more is read for it (W9)', () => {
    const { open, monday, settle } = world()
    const client = open('office@monday')
    client.read(0, 12 * MiB, () => assert.fail('answered'))
    client.read(0, 4096, () => assert.fail('answered'))
    client.flush(() => assert.fail('answered'))
    client.detach()
    monday.answer()
    settle()
    assert.equal(monday.asked.length, 2)
  })

  test('a flush is answered, not inside the call', () => {
    const { open, settle } = world()
    let answered = false
    open('office@monday').flush((failure) => {
      answered = failure === null
    })
    assert.equal(answered, false)
    settle()
    assert.equal(answered, true)
  })

  test('when it is deleted its readers are told, each once, and its image is not asked again', () => {
    const { open, images, monday, devices, settle, gone } = world()
    const first = open('office@monday', 'first')
    open('office@monday', 'second')
    open('office@tuesday', 'third')
    assert.deepEqual(
      devices.clients(monday).map(({ address }) => address),
      ['first', 'second'],
    )
    images.set('office', images.get('office')?.slice(1) ?? [])
    first.read(0, 4096, () => assert.fail('answered'))
    assert.equal(monday.asked.length, 0)
    devices.tick()
    assert.deepEqual(gone, [], 'not inside the call')
    settle()
    assert.deepEqual(gone, ['first', 'second'])
  })

  test('when its volume is offered no more the same happens, also to who only waits', () => {
    const { open, images, devices, settle, gone } = world()
    open('office@tuesday')
    images.delete('office')
    devices.tick()
    settle()
    assert.deepEqual(gone, ['here'])
  })

  test('V1, V2: out of range, and anything that changes it, is a bug that is found', () => {
    const { open } = world()
    const client = open('office@monday')
    const nothing = () => undefined
    for (const [offset, length] of [
      [sizeBytes, 1],
      [0, 0],
      [-1, 4],
      [0, limits.requestBytes + 1],
    ] as const)
      assert.throws(() => client.read(offset, length, nothing), /V1/)
    assert.throws(() => client.write(0, [new Uint8Array(1)], 1, false, nothing), /V2/)
    assert.throws(() => client.trim(0, 1, false, nothing), /V2/)
    assert.throws(() => client.writeZeroes(0, 1, true, false, nothing), /V2/)
  })
})
