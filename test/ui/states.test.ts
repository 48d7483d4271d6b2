/** Every state the window can show, from a real control server: the words, the title, and that everybody can read it. */
import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { AxeBuilder } from '@axe-core/playwright'
import type { Browser } from 'playwright'
import { folderTrouble } from '../../agent/contract/folder-words.ts'
import { headlines, statusWords } from '../../agent/contract/words.ts'
import { needs } from '../kit/needs.ts'
import { launchBrowser, type OpenPage, openPage } from './browser.ts'
import { openConsole, type TestConsole } from './console.ts'
import { history, nowMs, states } from './states.ts'

/** 512 CSS pixels are a window of 1024 at 200 %. */
const views = [
  { scheme: 'light', width: 1024 },
  { scheme: 'dark', width: 512 },
] as const

const routes = {
  '#/new': null,
  '#/connect/fileserver': 'Connect',
  '#/activity': 'Activity',
  '#/disk/fileserver': null,
} as const

/** What axe finds wrong by WCAG 2.2 A and AA, and whether the page is wider than its window, as sentences. */
async function faults({ page, view }: OpenPage): Promise<string[]> {
  const result = await new AxeBuilder({ page }).withTags(['wcag2a', 'wcag2aa', 'wcag21aa', 'wcag22aa']).analyze()
  const found = result.violations.flatMap(({ id, nodes }) =>
    nodes.map((node) => `${view.scheme}: ${id}: ${node.target.join(' ')}: ${node.failureSummary}`),
  )
  const tooWidePx = await page.evaluate(
    () => document.documentElement.scrollWidth - document.documentElement.clientWidth,
  )
  return tooWidePx > 0 ? [...found, `${view.width}: ${tooWidePx} pixels wider than the window`] : found
}

describe('the window in every state', needs('chromium'), () => {
  let server: TestConsole
  let browser: Browser
  let pages: readonly OpenPage[]

  before(async () => {
    server = await openConsole(states.protected)
    server.port.tell(...history)
    browser = await launchBrowser()
    pages = await Promise.all(views.map((view) => openPage(browser, server.url, { ...view, nowMs })))
  })
  after(async () => {
    await browser?.close()
    await server?.[Symbol.asyncDispose]()
  })

  /** The same in both views at once. */
  const inEach = (look: (open: OpenPage) => Promise<void>) => Promise.all(pages.map(look))

  test('the examples show all six headlines', () => {
    const shown = new Set(Object.values(states).map((status) => statusWords(status, nowMs).headline))
    for (const headline of headlines) assert.ok(shown.has(headline), `no example shows "${headline}"`)
  })

  for (const [name, status] of Object.entries(states)) {
    test(`${name}: says what words.ts says, in text and title; readable light and dark, at 100 and 200 %`, async () => {
      server.port.show(status)
      const words = statusWords(status, nowMs)
      await inEach(async (open) => {
        const { page, complaints } = open
        const title = `${words.headline ?? 'No shared disk yet'} - ${status.server.name} - Mirrorbay`
        await page.waitForFunction((wanted) => document.title === wanted, title)
        for (const volume of words.volumes) {
          const card = page.getByRole('region', { name: volume.name, exact: true })
          await card.locator(`[data-headline="${volume.headline}"]`).waitFor()
          for (const part of [volume.trouble, volume.ifAServerStops, volume.toDo, volume.progress]) {
            if (part !== null) await card.getByText(part, { exact: true }).waitFor({ timeout: 10_000 })
          }
        }
        for (const folder of status.server.role === 'tiebreaker' ? [] : status.folders) {
          const list = page.getByRole('list', { name: 'Storage folders' })
          await list.getByText(folder.path, { exact: true }).waitFor()
          const trouble = folderTrouble(folder)
          if (trouble !== null) await list.getByText(trouble, { exact: true }).waitFor()
        }
        if (words.headline === null) await page.getByText(words.second).waitFor()
        assert.deepEqual(await faults(open), [])
        assert.deepEqual(complaints, [])
      })
    })
  }

  for (const [route, link] of Object.entries(routes)) {
    test(`page ${route} is readable in light and dark, at 100 and 200 %`, async () => {
      server.port.show(states.snapshots)
      await inEach(async (open) => {
        const { page, complaints } = open
        await page.evaluate((hash) => {
          window.location.hash = hash
        }, route)
        const current = page.locator('nav a[aria-current="page"]')
        if (link === null) await current.waitFor({ state: 'detached' })
        else await current.getByText(link).waitFor()
        assert.deepEqual(await faults(open), [])
        assert.deepEqual(complaints, [])
      })
    })
  }
})
