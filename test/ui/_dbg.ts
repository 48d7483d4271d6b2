import { withLab } from '../kit/lab.ts'
import { mustRun } from '../kit/tools.ts'

await withLab({ witness: true, sizeBytes: 256 * 1024 * 1024 }, async (lab) => {
  await mustRun('qemu-io', ['-f', 'raw', '-c', 'write -P 17 0 32M', '-c', 'flush', lab.uri('a')])
  await lab.kill('b')
  await lab.waitAt('a', 'One copy')
  await mustRun('qemu-io', ['-f', 'raw', '-c', 'write -P 34 16M 160M', '-c', 'flush', lab.uri('a')])
  const t0 = Date.now()
  let last = ''
  const s = lab.start('b')
  while (Date.now() - t0 < 40000) {
    const v = await lab.volume('a')
    const now = JSON.stringify({
      h: await lab.headline('a'),
      r: v.replicas.map((r) => [r.serverName, r.state, r.connected, r.reason]),
      w: v.waiting,
      rs: v.resync && [v.resync.phase, v.resync.doneBytes, v.resync.totalBytes, v.resync.bytesPerSecond],
    })
    if (now !== last) {
      console.log(Date.now() - t0, now)
      last = now
    }
    if (now.includes('"Protected"')) break
    await new Promise((r) => setTimeout(r, 500))
  }
  await s
  for (const e of (await lab.events('a')).slice(-8)) console.log(JSON.stringify(e))
  console.log(JSON.stringify(await lab.volume('b')).slice(0, 800))
})
