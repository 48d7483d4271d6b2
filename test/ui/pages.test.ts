/** What a person does in the window, and what the window does by itself, against a real control server. */
import assert from 'node:assert/strict'
import { after, afterEach, before, beforeEach, describe, test } from 'node:test'
import type { Browser, BrowserContext, Page } from 'playwright'
import { UserError } from '../../agent/kit/failure.ts'
import { needs } from '../kit/needs.ts'
import { until } from '../kit/until.ts'
import { launchBrowser, openPage } from './browser.ts'
import { openConsole, type TestConsole } from './console.ts'
import { history, states } from './states.ts'

describe('the window', needs('chromium'), () => {
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
    server = await openConsole(states.protected)
    ;({ page, context, complaints } = await openPage(browser, server.url))
    await page.getByText('Protected', { exact: true }).waitFor()
  })
  afterEach(async () => {
    await context.close()
    await server[Symbol.asyncDispose]()
    assert.deepEqual(complaints, [], 'the page complained')
  })

  const button = (name: string) => page.getByRole('button', { name, exact: true })
  const asked = async (count: number) => {
    await until(`${count} commands`, 10_000, () => server.port.asked.length >= count)
    return server.port.asked
  }

  test('follows what happens without being reloaded', async () => {
    for (const [name, headline] of [
      ['one-copy', 'One copy'],
      ['catching-up', 'Catching up'],
      ['protected', 'Protected'],
    ] as const) {
      server.port.show(states[name])
      await page.waitForFunction((wanted) => document.title.startsWith(wanted), `${headline} - `)
    }
    server.port.tell(...history)
    await page.getByText('nas-2 stopped answering.').waitFor()
  })

  test('Resync now, Pause and Continue ask the agent, and each is there only when it makes sense', async () => {
    assert.equal(await button('Resync now').count(), 0)
    server.port.show(states['one-copy'])
    await page.getByText('One copy', { exact: true }).waitFor()
    assert.equal(await button('Resync now').count(), 0, 'there is nobody to resync')
    server.port.show(states['one-copy-server-back'])
    await button('Resync now').click()
    await asked(1)
    server.port.show(states['catching-up'])
    await button('Pause').click()
    assert.equal(await button('Resync now').count(), 0)
    await asked(2)
    server.port.show(states['catching-up-paused'])
    await button('Continue').click()
    assert.deepEqual(
      (await asked(3)).map((each) => each.request),
      ['now', 'pause', 'continue'].map((action) => ({ volumeName: 'fileserver', action })),
    )
  })

  test('all of it works with the keyboard alone', async () => {
    server.port.show(states['one-copy-server-back'])
    await button('Resync now').waitFor()
    await page.keyboard.press('Tab')
    assert.equal(await page.evaluate(() => document.activeElement?.textContent), 'Skip to the content')
    await page.keyboard.press('Enter')
    await page.keyboard.press('Tab')
    assert.equal(await page.evaluate(() => document.activeElement?.textContent), 'Resync now')
    await page.keyboard.press('Enter')
    assert.deepEqual((await asked(1))[0]?.request, { volumeName: 'fileserver', action: 'now' })
  })

  test('a refusal is told in words: what happened, whether the data is safe, what next', async () => {
    server.port.show(states['one-copy-server-back'])
    server.port.refuseWith = new UserError({
      code: 'refused-for-a-test',
      happened: 'nas-2 refused.',
      dataIsSafe: 'Your data is safe.',
      next: 'Look at nas-2.',
    })
    await button('Resync now').click()
    const alert = page.getByRole('alert')
    await alert.waitFor()
    assert.equal(await alert.textContent(), 'nas-2 refused.Your data is safe. Look at nas-2.')
  })

  test('an agent that goes away is missed, and found again by itself', async () => {
    await server.stop()
    await page.getByRole('heading', { name: 'This window has lost its agent' }).waitFor()
    await page.waitForFunction(() => document.title.startsWith('No agent'))
    server.port.show(states['one-copy'])
    await server.start()
    await page.waitForFunction(() => document.title.startsWith('One copy'))
    assert.equal(await page.getByText('This window has lost its agent').count(), 0)
  })

  test('the events of a new run replace those of the old one', async () => {
    server.port.tell(...history)
    await page.getByText('nas-2 stopped answering.').waitFor()
    await server.stop()
    server.port.forgetEvents()
    server.port.tell({ atMs: Date.now(), kind: 'agent-started', volume: null, server: 'nas-1', details: {} })
    await server.start()
    await page.getByText('Mirrorbay started on nas-1.').waitFor()
    await page.getByText('nas-2 stopped answering.').waitFor({ state: 'detached' })
  })

  test('a new shared disk: checked before it is asked for, then on to connecting', async () => {
    server.port.show(states['no-disk'])
    await page.getByLabel('Name').fill('Büro')
    await page.getByLabel('Size', { exact: true }).fill('a lot')
    await page.getByRole('button', { name: /^Create/ }).click()
    await page.getByText('Use 1 to 63 of').waitFor()
    await page.getByText('is not a size').waitFor()
    assert.equal(server.port.asked.length, 0)
    await page.getByLabel('Name').fill('office')
    await page.getByLabel('Size', { exact: true }).fill('1.5')
    await page.getByRole('radio', { name: 'nas-2 is preferred' }).check()
    await page.getByRole('checkbox', { name: 'Put every write on the disks at once' }).check()
    await page.getByText('office, 1.5 GiB, kept on nas-1 and nas-2.').waitFor()
    await button('Create office').click()
    assert.deepEqual((await asked(1))[0], {
      what: 'createVolume',
      request: {
        name: 'office',
        sizeBytes: 1.5 * 1024 ** 3,
        writeThrough: true,
        arbiter: 'preferred',
        preferredServer: 'nas-2',
      },
    })
    await page.waitForFunction(() => window.location.hash === '#/connect/office')
  })

  test('a tiebreaker that is not there cannot be chosen, and the form says why', async () => {
    server.port.show({ ...states['protected-without-tiebreaker'], volumes: [] })
    const tiebreaker = page.getByRole('radio', { name: 'A tiebreaker' })
    await tiebreaker.waitFor()
    assert.equal(await tiebreaker.isDisabled(), true)
    await page.getByText('None is named in the configuration.').waitFor()
    assert.equal(await page.getByRole('radio', { name: 'nas-1 is preferred' }).isChecked(), true)
  })

  test('connecting: exact commands with the real address, copied by a button', async () => {
    await context.grantPermissions(['clipboard-read', 'clipboard-write'])
    await page.getByRole('link', { name: 'Connect a computer' }).click()
    await button('Copy the attach command').click()
    assert.equal(
      await page.evaluate(() => navigator.clipboard.readText()),
      'sudo nbd-client 192.168.1.11 10809 /dev/nbd0 -name fileserver -persist',
    )
  })

  test('without the token there is no window, only how to get one', async () => {
    const stranger = await openPage(browser, server.url.replace(/\?.*/, ''))
    await stranger.page.getByRole('heading', { name: 'Open the console with its address' }).waitFor()
    await stranger.context.close()
  })

  test('the structure for a screen reader', async () => {
    server.port.show(states['catching-up'])
    await button('Pause').waitFor()
    assert.equal(await page.getByRole('main').ariaSnapshot(), overviewSnapshot)
  })
})

const overviewSnapshot = `- main:
  - heading "Overview" [level=1]
  - region "fileserver":
    - heading "fileserver shared disk, 2 TiB" [level=2]:
      - strong: fileserver
      - text: shared disk, 2 TiB
    - status: Catching up
    - paragraph: nas-2 is being brought up to date.
    - paragraph: "If nas-1 stops, work waits for it: it has the only complete copy."
    - strong: Copying to nas-2
    - button "Pause"
    - progressbar "Copying to nas-2"
    - paragraph: 42 % - 412 GB left - 380 MB/s - about 18 min
    - link "Connect a computer":
      - /url: "#/connect/fileserver"
    - link "Size, snapshots, delete":
      - /url: "#/disk/fileserver"
    - heading "Copies" [level=3]
    - list "Copies":
      - listitem: nas-1 · this server Complete
      - listitem: nas-2 Being brought up to date
    - term: Decides in a dispute
    - definition: tiebreaker tie
    - term: Connected here
    - definition: 192.168.1.50 (NBD)
    - term: Disk here checked
    - definition: not yet (once a week, by itself)
    - term: Since start, here
    - definition: 41 GB read, 13 GB written
  - link "New shared disk":
    - /url: "#/new"
  - region "Servers":
    - heading "Servers" [level=2]
    - list "Servers and links":
      - listitem: "nas-1: this server"
      - listitem: "nas-2: connected, round trip 0.3 ms"
      - listitem: "tie: tiebreaker, connected, round trip 1.2 ms"
  - region "Storage of nas-1":
    - heading "Storage of nas-1" [level=2]
    - list "Storage folders":
      - listitem: main ok /var/lib/mirrorbay 3.2 TB of 8 TB free
  - region "Activity":
    - heading "Activity" [level=2]
    - link "Show all":
      - /url: "#/activity"
    - paragraph: Nothing has happened since Mirrorbay started here.`
