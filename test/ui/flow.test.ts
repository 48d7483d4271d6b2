/**
 * The main flow in the window, with real agents and a real client: a server dies, work goes on, it comes back, is
 * brought up to date, and the window tells each of it by itself. Pictures stay in test-results/flow.
 */
import assert from 'node:assert/strict'
import { mkdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import type { Page } from 'playwright'
import { limits } from '../../agent/limits.ts'
import { ensureRenderer, projectDir } from '../../build/renderer.ts'
import { type TestLab, withLab } from '../kit/lab.ts'
import { needs } from '../kit/needs.ts'
import { mustRun } from '../kit/tools.ts'
import { consoleUrl } from '../lab/api.ts'
import { memberNamed } from '../lab/state.ts'
import { launchBrowser, openPage } from './browser.ts'

const pictures = join(projectDir, 'test-results', 'flow')
const MiB = 1024 * 1024

/** How long a step may take on a busy machine, milliseconds. */
const stepMs = 60_000

/** Every headline that the page shows, in order, from now on: none is missed between two looks. */
async function recordHeadlines(page: Page): Promise<void> {
  await page.evaluate(() => {
    const seen: string[] = []
    Object.assign(window, { seenHeadlines: seen })
    const look = () => {
      const now = document.querySelector('[data-headline]')?.getAttribute('data-headline')
      if (now !== null && now !== undefined && seen.at(-1) !== now) seen.push(now)
    }
    look()
    new MutationObserver(look).observe(document.body, { subtree: true, childList: true, attributes: true })
  })
}

const seenHeadlines = (page: Page) =>
  page.evaluate(() => (window as unknown as { seenHeadlines: string[] }).seenHeadlines)

const headline = (page: Page, words: string) => page.locator(`[data-headline="${words}"]`).waitFor({ timeout: stepMs })

const write = (uri: string, pattern: number, offset: number, length: number) =>
  mustRun('qemu-io', ['-f', 'raw', '-c', `write -P ${pattern} ${offset} ${length}`, '-c', 'flush', uri])

/** How often a round is played until a click met the button: it is there until the resync begins by itself. */
const rounds = 2

/** A disk call that takes longer than E8 allows (limits.diskOverdueMs). */
const stalledMs = limits.diskOverdueMs + 1_500

/**
 * b's disk stalls: b leaves, and answers all the while, so there is somebody to resync and nobody does yet.
 * @returns whether Resync now was clicked before the resync began by itself
 */
async function clickResyncNow(page: Page, lab: TestLab): Promise<boolean> {
  await lab.fault('b', { kind: 'disk-slow', delayMs: stalledMs })
  const button = page.getByRole('button', { name: 'Resync now' })
  const [clicked] = await Promise.all([
    button.click({ timeout: 2 * stalledMs }).then(
      () => true,
      // It was there too shortly for a busy machine; the caller plays another round.
      () => false,
    ),
    headline(page, 'One copy').then(() => lab.fault('b', { kind: 'off' })),
    write(lab.uri('a'), 0x33, 192 * MiB, 16 * MiB),
  ])
  return clicked
}

type Picture = (name: string) => Promise<unknown>

async function story(page: Page, lab: TestLab, picture: Picture): Promise<void> {
  await headline(page, 'Protected')
  await recordHeadlines(page)
  await page.getByText('Any one server may stop: work goes on.').waitFor()
  await picture('1-protected')
  await write(lab.uri('a'), 0x11, 0, 32 * MiB)

  await lab.kill('b')
  await headline(page, 'One copy')
  await page.waitForFunction(() => document.title.startsWith('One copy'))
  await page.getByText(/^b .*new data is not mirrored there\./).waitFor()
  await picture('2-one-copy')
  await write(lab.uri('a'), 0x22, 16 * MiB, 160 * MiB)

  await lab.start('b')
  await page.getByRole('progressbar').waitFor({ timeout: stepMs })
  await picture('3-catching-up')
  await headline(page, 'Protected')
  await page
    .getByText(/is in sync again on b/)
    .first()
    .waitFor()
  await picture('4-protected-again')
  const seen = await seenHeadlines(page)
  const inOrder = ['Protected', 'One copy', 'Catching up', 'Protected']
  let next = 0
  for (const words of seen) if (words === inOrder[next]) next += 1
  assert.equal(next, inOrder.length, `the window said ${seen.join(', ')}`)
  assert.ok(!seen.includes('Two versions'), seen.join(', '))

  let clicked = false
  for (let round = 0; round < rounds && !clicked; round += 1) {
    clicked = await clickResyncNow(page, lab)
    if (clicked) await picture('5-resync-now')
    await headline(page, 'Protected')
  }
  assert.ok(clicked, 'Resync now was never there long enough to be clicked')
  await picture('6-protected-by-resync-now')
}

test('the window follows a server through death, return and resync', needs('chromium', 'qemu-io'), async () => {
  await ensureRenderer({ announce: (sentence) => console.log(sentence) })
  await rm(pictures, { recursive: true, force: true })
  await mkdir(pictures, { recursive: true })
  await withLab({ witness: true, sizeBytes: 256 * MiB }, async (lab) => {
    await using browser = await launchBrowser()
    const { page, complaints } = await openPage(browser, await consoleUrl(memberNamed(lab.state, 'a')))
    const picture = (name: string) => page.screenshot({ path: join(pictures, `${name}.png`) })
    try {
      await story(page, lab, picture)
    } catch (failure) {
      await picture('failed')
      throw failure
    }
    assert.deepEqual(complaints, [])

    await lab.mustBeEqual()
    for (const name of ['a', 'b'] as const) {
      const commands = ['-c', `read -P 0x22 ${16 * MiB} ${MiB}`, '-c', `read -P 0x33 ${192 * MiB} ${16 * MiB}`]
      assert.doesNotMatch(await mustRun('qemu-io', ['-f', 'raw', '-r', ...commands, lab.uri(name)]), /failed/)
    }
  })
})
