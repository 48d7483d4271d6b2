/** `npm run shots`: a picture of every state, light and dark, into test-results/shots. For eyes; tests read words. */
import { mkdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { projectDir } from '../../build/renderer.ts'
import { launchBrowser, openPage } from './browser.ts'
import { openConsole } from './console.ts'
import { history, nowMs, type StateName, states } from './states.ts'

const folder = join(projectDir, 'test-results', 'shots')
const others = {
  connect: '#/connect/fileserver',
  activity: '#/activity',
  'new-disk': '#/new',
  manage: '#/disk/fileserver',
} as const

await rm(folder, { recursive: true, force: true })
await mkdir(folder, { recursive: true })
await using server = await openConsole(states.protected)
await using browser = await launchBrowser()
server.port.tell(...history)

for (const scheme of ['light', 'dark'] as const) {
  const { page, complaints } = await openPage(browser, server.url, { scheme, nowMs })
  const shoot = async (name: string) => {
    await page.evaluate(() => document.fonts.ready)
    await page.screenshot({ path: join(folder, `${name}-${scheme}.png`) })
    console.log(join('test-results', 'shots', `${name}-${scheme}.png`))
  }
  for (const [name, status] of Object.entries(states)) {
    server.port.show(status)
    await page.waitForTimeout(250)
    await shoot(name)
  }
  server.port.show(states.snapshots satisfies (typeof states)[StateName])
  for (const [name, hash] of Object.entries(others)) {
    await page.evaluate((to) => {
      window.location.hash = to
    }, hash)
    await page.waitForTimeout(100)
    await shoot(name)
  }
  await page.evaluate(() => {
    window.location.hash = '#/'
  })
  await server.stop()
  await page.getByText('This window has lost its agent').waitFor()
  await shoot('lost')
  await server.start()
  if (complaints.length > 0) console.error(complaints.join('\n'))
}
