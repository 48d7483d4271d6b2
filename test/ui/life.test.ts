/** The life of a shared disk in the window: its size, its snapshots, its deletion, and what was deleted. */
import assert from 'node:assert/strict'
import { after, afterEach, before, beforeEach, describe, test } from 'node:test'
import { AxeBuilder } from '@axe-core/playwright'
import type { Browser, BrowserContext, Page } from 'playwright'
import { UserError } from '../../agent/kit/failure.ts'
import { needs } from '../kit/needs.ts'
import { until } from '../kit/until.ts'
import { launchBrowser, openPage } from './browser.ts'
import { openConsole, type TestConsole } from './console.ts'
import { nowMs, states } from './states.ts'

const TiB = 1024 ** 4

describe('the life of a shared disk in the window', needs('chromium'), () => {
  let server: TestConsole
  let browser: Browser
  let page: Page
  let context: BrowserContext
  let complaints: string[]

  before(async () => {
    browser = await launchBrowser()
  })
  after(async () => {
    await browser?.close()
  })
  beforeEach(async () => {
    server = await openConsole(states.snapshots)
    ;({ page, context, complaints } = await openPage(browser, server.url, { nowMs }))
    await page.getByText('Protected', { exact: true }).waitFor()
  })
  afterEach(async () => {
    await context.close()
    await server[Symbol.asyncDispose]()
    assert.deepEqual(complaints, [], 'the page complained')
  })

  const button = (name: string) => page.getByRole('button', { name, exact: true })
  const manage = () => page.getByRole('link', { name: 'Size, snapshots, delete' }).click()
  const asked = async (count: number) => {
    await until(`${count} commands`, 10_000, () => server.port.asked.length >= count)
    return server.port.asked
  }
  const axeFinds = async () => {
    const { violations } = await new AxeBuilder({ page })
      .withTags(['wcag2a', 'wcag2aa', 'wcag21aa', 'wcag22aa'])
      .analyze()
    return violations.map(({ id, nodes }) => `${id}: ${nodes.map((node) => node.target.join(' ')).join(', ')}`)
  }

  test('growing: only larger sizes are asked for, and the page says what it means', async () => {
    await manage()
    await page.getByText('computers see the new size when they connect again').waitFor()
    await page.getByText('Free on nas-1: 3.2 TB.').waitFor()
    for (const [amount, words] of [
      ['2', 'A shared disk can only grow.'],
      ['1', 'A shared disk can only grow.'],
      ['lots', 'is not a size'],
    ] as const) {
      await page.getByLabel('New size', { exact: true }).fill(amount)
      await button('Grow fileserver').click()
      await page.getByText(words).waitFor()
    }
    assert.equal(server.port.asked.length, 0)
    await page.getByLabel('New size', { exact: true }).fill('2.5')
    await button('Grow fileserver').click()
    const [grown] = await asked(1)
    assert.deepEqual(grown, { what: 'growVolume', request: { volumeName: 'fileserver', sizeBytes: 2.5 * TiB } })
  })

  test('snapshots: made by name, told with their address, deleted after a question', async () => {
    await manage()
    const field = page.getByLabel('Name of a new snapshot')
    await field.fill('a b')
    await button('Make snapshot').click()
    await page.getByText('Use 1 to 63 of').waitFor()
    await field.fill('Monday')
    await button('Make snapshot').click()
    assert.deepEqual((await asked(1))[0], {
      what: 'makeSnapshot',
      request: { volumeName: 'fileserver', snapshot: 'monday' },
    })
    const list = page.getByRole('list', { name: 'Snapshots of fileserver' })
    assert.deepEqual(await list.getByRole('listitem').locator('p:first-child').allTextContents(), [
      'friday',
      'before-update',
    ])
    await list.getByText('nbd://192.168.1.11:10809/fileserver@friday').waitFor()
    await list.getByText('read by 192.168.1.50').waitFor()
    await button('Delete the snapshot friday').click()
    await button('Cancel').click()
    assert.equal(server.port.asked.length, 1)
    await button('Delete the snapshot friday').click()
    assert.deepEqual(await axeFinds(), [])
    await button('Delete friday').click()
    assert.deepEqual((await asked(2))[1], {
      what: 'deleteSnapshot',
      request: { volumeName: 'fileserver', snapshot: 'friday' },
    })
  })

  test('deleting: what it means, the name typed, Cancel first; then back to the overview', async () => {
    await manage()
    await page.getByText('Its data is kept for 7 days').waitFor()
    await button('Delete fileserver…').click()
    await page.getByText('disconnected then: 192.168.1.50.').waitFor()
    assert.equal(await page.evaluate(() => document.activeElement?.textContent), 'Cancel')
    assert.equal(await button('Delete fileserver').isDisabled(), true)
    await page.getByLabel('Type fileserver to go on').fill('fileserve')
    assert.equal(await button('Delete fileserver').isDisabled(), true)
    await page.keyboard.press('Enter')
    assert.equal(server.port.asked.length, 0, 'half a name deletes nothing')
    await page.getByLabel('Type fileserver to go on').fill('fileserver')
    assert.deepEqual(await axeFinds(), [])
    server.port.refuseWith = new UserError({
      code: 'volume-waits',
      happened: 'It waits.',
      dataIsSafe: 'A.',
      next: 'B.',
    })
    await button('Delete fileserver').click()
    await page.getByRole('alert').getByText('It waits.').waitFor()
    await button('Delete fileserver').click()
    assert.deepEqual((await asked(2))[1], { what: 'deleteVolume', request: { volumeName: 'fileserver' } })
    await page.waitForFunction(() => window.location.hash === '#/')
  })

  test('what was deleted is listed calmly: restored, under another name where its own is taken', async () => {
    server.port.show(states['recently-deleted'])
    const [accounting, fileserver] = states['recently-deleted'].deletedVolumes.map(({ id }) => id)
    await page.getByRole('heading', { name: 'Recently deleted' }).waitFor()
    await page.getByText('deleted on 20 Nov at 14:20, kept until 27 Nov at 14:20').waitFor()
    await page.getByText('being overwritten and removed: 21 %').waitFor()
    assert.equal(await button('Restore archive').count(), 0, 'what is being removed is not brought back')
    await button('Restore accounting').click()
    await asked(1)
    await page.getByLabel('Restore this one as').fill('fileserver-2025')
    await button('Restore fileserver').click()
    assert.deepEqual(await asked(2), [
      { what: 'restoreVolume', request: { id: accounting, as: null } },
      { what: 'restoreVolume', request: { id: fileserver, as: 'fileserver-2025' } },
    ])
  })

  test('for good only after its name was typed; every byte overwritten where that was asked for', async () => {
    server.port.show(states['recently-deleted'])
    const [accounting] = states['recently-deleted'].deletedVolumes.map(({ id }) => id)
    await button('Delete for good…').first().click()
    await page.getByText('Nothing brings them back.').waitFor()
    assert.equal(await button('Delete accounting for good').isDisabled(), true)
    await page.getByLabel('Type accounting to go on').fill('accounting')
    await page.getByRole('checkbox', { name: 'Overwrite every byte first (slow)' }).check()
    assert.deepEqual(await axeFinds(), [])
    await button('Delete accounting for good').click()
    assert.deepEqual(await asked(1), [{ what: 'purgeVolume', request: { id: accounting, wipe: true } }])
  })
})
