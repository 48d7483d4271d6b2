/**
 * R2: a server without a cable holds everything that its readers want, and yet must not show it for longer than its
 * lease: the other one goes on, and changes it. A reader at the server itself asks all the while.
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { connectNbd, type NbdClient } from '../kit/nbd-client.ts'
import { until } from '../kit/until.ts'
import { needsNetwork, qemuIoThere, stepMs, withNetworkLab } from './network-lab.ts'

const blockBytes = 4096
const [oldByte, newByte] = [0x61, 0x62]

/** Reads one block again and again, each time when the last answer has come. */
class Reader {
  answers = 0
  /** Set when the new byte was acknowledged elsewhere: from then on the old one is a lie. */
  mustBeNew = false
  readonly stale: string[] = []
  ended = false

  async run(client: NbdClient): Promise<void> {
    while (!this.ended) {
      const begunAfter = this.mustBeNew
      const [byte = 0] = await client.read(0, blockBytes)
      this.answers++
      if (begunAfter && byte !== newByte) this.stale.push(`read ${this.answers} shows ${byte}`)
    }
  }
}

test('a reader at the server without a cable never sees what was changed elsewhere', needsNetwork, async (t) => {
  await withNetworkLab({}, async (lab, network) => {
    await qemuIoThere(network, lab.uri('a'), [`write -P ${oldByte} 0 4k`])
    const client = await connectNbd(lab.unixUri('b'))
    const reader = new Reader()
    // A connection that is closed when the server has joined again ends the reader, which is no failure here.
    const running = reader.run(client).catch(() => undefined)
    try {
      await until('answers at B', stepMs, () => reader.answers > 100)
      network.pull('b')
      await lab.waitAt('a', 'One copy')
      await qemuIoThere(network, lab.uri('a'), [`write -P ${newByte} 0 4k`])
      reader.mustBeNew = true
      const { answers } = reader
      // Time for lies: at A many writes and reads one after the other.
      for (let again = 0; again < 10; again++) await qemuIoThere(network, lab.uri('a'), [`read -P ${newByte} 0 4k`])
      t.diagnostic(`${answers} answers before the lease was over, ${reader.answers - answers} after it`)
      assert.deepEqual(reader.stale.slice(0, 3), [])
      network.plug('b')
      await lab.wait('Protected')
      await qemuIoThere(network, lab.uri('b'), [`read -P ${newByte} 0 4k`])
      assert.deepEqual(reader.stale.slice(0, 3), [])
    } finally {
      reader.ended = true
      client.destroy()
      await running
    }
  })
})
