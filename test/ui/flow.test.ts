/**
 * The main flow in the window, with real agents and a real client: a server dies, work goes on, it comes back, is
 * brought up to date, and the window tells each of it by itself. Pictures stay in test-results/flow.
 */
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { promisify } from 'node:util'
import type { Page } from 'playwright'
import { ensureRenderer, projectDir } from '../../build/renderer.ts'
import { withLab } from '../kit/lab.ts'
import { needs } from '../kit/needs.ts'
import { consoleUrl } from '../lab/api.ts'
import { memberNamed } from '../lab/state.ts'
import { launchBrowser, openPage } from './browser.ts'

const run = promisify(execFile)
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
  run('qemu-io', ['-f', 'raw', '-c', `write -P ${pattern} ${offset} ${length}`, '-c', 'flush', uri])

test('the window follows a server through death, return and resync', needs('chromium', 'qemu-io'), async () => {
  await ensureRenderer({ announce: (sentence) => console.log(sentence) })
  await mkdir(pictures, { recursive: true })
  await withLab({ witness: true, sizeBytes: 256 * MiB }, async (lab) => {
    await using browser = await launchBrowser()
    const { page, complaints } = await openPage(browser, await consoleUrl(memberNamed(lab.state, 'a')))
    const picture = (name: string) => page.screenshot({ path: join(pictures, `${name}.png`) })
    await headline(page, 'Protected')
    await recordHeadlines(page)
    await page.getByText('Any one server may stop: work goes on.').waitFor()
    await picture('1-protected')
    await write(lab.uri('a'), 0x11, 0, 32 * MiB)

    await lab.kill('b')
    await headline(page, 'One copy')
    await page.waitForFunction(() => document.title.startsWith('One copy'))
    await page.getByText(/b .*new data is not mirrored there\./).waitFor()
    await picture('2-one-copy')
    await write(lab.uri('a'), 0x22, 16 * MiB, 160 * MiB)

    // The button is there from the moment b answers until it is being copied to: the click waits for it.
    const clicked = page.getByRole('button', { name: 'Resync now' }).click({ timeout: stepMs })
    await lab.start('b')
    await clicked
    await picture('3-resync-asked')
    await page.getByRole('progressbar').waitFor({ timeout: stepMs })
    await picture('4-catching-up')
    await headline(page, 'Protected')
    await picture('5-protected-again')
    await page
      .getByText(/is in sync again on b/)
      .first()
      .waitFor()

    const seen = await seenHeadlines(page)
    assert.deepEqual(
      seen.filter((words) => words === 'Waiting' || words === 'Two versions'),
      [],
      `never alarmed for nothing: ${seen.join(', ')}`,
    )
    assert.ok(seen.includes('One copy') && seen.includes('Catching up'), seen.join(', '))
    assert.equal(seen.at(-1), 'Protected')
    assert.deepEqual(complaints, [])
    await lab.mustBeEqual()
    const { stdout } = await run('qemu-io', ['-f', 'raw', '-r', '-c', `read -P 34 ${16 * MiB} ${MiB}`, lab.uri('b')])
    assert.doesNotMatch(stdout, /verification failed/)
  })
})
