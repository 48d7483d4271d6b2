/**
 * What the shell asks of Electron, and what it passes between page and agent. Electron's binary is not needed: its
 * API is a recording double (electron-double.ts); the agent's control server is the real one, and so is the bundle.
 */
import assert from 'node:assert/strict'
import { existsSync } from 'node:fs'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { createRequire, registerHooks } from 'node:module'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { pathToFileURL } from 'node:url'
import type { Bridge, News } from '../../agent/contract/bridge.ts'
import { headlines } from '../../agent/contract/words.ts'
import { electronDir, ensureElectron } from '../../build/renderer.ts'
import { iconSidePx, trayBitmap } from '../../electron/tray-icon.ts'
import { needs } from '../kit/needs.ts'
import { until } from '../kit/until.ts'
import { launchBrowser } from './browser.ts'
import { openConsole, type TestConsole } from './console.ts'
import { app, recorded } from './electron-double.ts'
import { states } from './states.ts'

const double = new URL('./electron-double.ts', import.meta.url).href

/** Runs in the page before its own scripts: what contextBridge would have put there. */
const bridgeInPage = `window.mirrorbay = {
  call: (id, request) => window.doubledCall(id, request),
  watch(told) {
    const listener = (message) => told(message.data)
    window.addEventListener('message', listener)
    window.doubledWatch()
    return () => window.removeEventListener('message', listener)
  },
}`

describe('the Electron shell', () => {
  let server: TestConsole
  let dir: string
  let bridge: Bridge
  const hooks = registerHooks({
    resolve: (specifier, context, next) =>
      specifier === 'electron' ? { url: double, shortCircuit: true } : next(specifier, context),
  })

  before(async () => {
    await ensureElectron({ announce: (sentence) => console.log(sentence) })
    server = await openConsole(states.protected)
    dir = await mkdtemp(join(tmpdir(), 'mirrorbay-shell-'))
    const config = {
      version: 1,
      name: 'nas-1',
      link: { port: 7400, secret: 'a secret long enough' },
      control: { socket: server.socketPath },
    }
    await writeFile(join(dir, 'config.json'), JSON.stringify(config))
    process.argv.push('--dir', dir)
    await import(pathToFileURL(join(electronDir, 'main.js')).href)
    await until('a window', 10_000, () => recorded.windows.length === 1)
    createRequire(import.meta.url)(join(electronDir, 'preload.cjs'))
    // The preload exposes exactly this one thing; its calls are checked below.
    bridge = recorded.inMainWorld.get('mirrorbay') as Bridge
  })
  after(async () => {
    app.emit('will-quit')
    hooks.deregister()
    await server?.[Symbol.asyncDispose]()
    await rm(dir, { recursive: true, force: true })
  })

  test('opens one window: isolated, sandboxed, without Node, with our preload and our page', () => {
    const [window] = recorded.windows
    const preferences = window?.options.webPreferences as Record<string, unknown>
    assert.equal(preferences.contextIsolation, true)
    assert.equal(preferences.sandbox, true)
    assert.equal(preferences.nodeIntegration, false)
    assert.equal(preferences.webviewTag, false)
    assert.ok(existsSync(String(preferences.preload)))
    assert.deepEqual(window?.loaded, ['mirrorbay://window/'])
    assert.deepEqual([...recorded.inMainWorld.keys()], ['mirrorbay'])
  })

  test('serves the page under a strict policy with a fresh nonce, and nothing beside it', async () => {
    const serve = recorded.pages.get('mirrorbay')
    assert.ok(serve)
    const ask = (url: string) => serve(new Request(url))
    const pages = await Promise.all([ask('mirrorbay://window/'), ask('mirrorbay://window/')])
    const nonces = await Promise.all(
      pages.map(async (page) => {
        const policy = page.headers.get('Content-Security-Policy') ?? ''
        const nonce = /script-src 'self' 'nonce-([^']+)'/.exec(policy)?.[1] ?? ''
        assert.match(policy, /default-src 'none'/)
        assert.match(policy, /connect-src 'none'/)
        const text = await page.text()
        assert.ok(text.includes(`nonce="${nonce}"`) && !text.includes('__CSP_NONCE__'))
        return nonce
      }),
    )
    assert.notEqual(nonces[0], nonces[1])
    for (const wrong of ['window/../electron/main.js', 'window/%2e%2e/electron/main.js', 'window/no.js', 'other/']) {
      assert.equal((await ask(`mirrorbay://${wrong}`)).status, 404, wrong)
    }
  })

  test('cannot be led away: no navigation, no second window, no permission but the clipboard', () => {
    const contents = recorded.windows[0]?.webContents
    let prevented = 0
    const event = { preventDefault: () => (prevented += 1) }
    contents?.emit('will-navigate', event, 'https://example.org/')
    contents?.emit('will-navigate', event, 'mirrorbay://window.example.org/')
    contents?.emit('will-attach-webview', event)
    assert.equal(prevented, 3)
    assert.deepEqual(contents?.openHandler?.({ url: 'file:///etc/passwd' }), { action: 'deny' })
    assert.deepEqual(recorded.opened, [])
    const granted = ['media', 'geolocation', 'notifications', 'clipboard-sanitized-write'].filter((permission) => {
      let answer = false
      recorded.permission?.(null, permission, (given) => {
        answer = given
      })
      return answer
    })
    assert.deepEqual(granted, ['clipboard-sanitized-write'])
  })

  test('passes the window on to the agent, and only what a window may ask, and only from our page', async () => {
    const outcome = await bridge.call('status', {})
    assert.equal(outcome.kind === 'done' && (outcome.value as { product: string }).product, 'mirrorbay')
    assert.equal((await bridge.call('resync', { volume: 'fileserver', action: 'now' })).kind, 'done')
    assert.deepEqual(server.port.asked, [{ what: 'resync', request: { volumeName: 'fileserver', action: 'now' } }])
    const refused = await bridge.call('createVolume', { name: 'NOT A NAME', sizeBytes: -1 })
    assert.equal(refused.kind === 'refused' && refused.error.code, 'bad-request')
    // What the type forbids, a page taken over by somebody could still try.
    await assert.rejects(bridge.call('stop' as 'status', {}), /not for this page/)
    recorded.frameUrl = 'https://example.org/'
    await assert.rejects(bridge.call('status', {}), /not for this page/)
    recorded.frameUrl = 'mirrorbay://window/'
    assert.equal(server.port.asked.length, 1)
  })

  test('brings news to the window until it looks away or loads anew', async () => {
    const news: News[] = []
    const stop = bridge.watch((told) => news.push(told))
    await until('the status', 10_000, () => news.length > 0)
    server.port.show(states['one-copy'])
    await until('the change', 10_000, () => news.length > 1)
    stop()
    const later: News[] = []
    bridge.watch((told) => later.push(told))
    await until('the status of another watch', 10_000, () => later.length > 0)
    recorded.windows[0]?.webContents.emit('did-start-navigation', { isMainFrame: true, isSameDocument: false })
    const [before, beforeLater] = [news.length, later.length]
    server.port.show(states.protected)
    // The tray watches the same agent: once it has the change, the others would have had it too.
    await until('the tray', 10_000, () => recorded.tooltips.at(-1) === 'Mirrorbay: Protected')
    assert.deepEqual([news.length, later.length], [before, beforeLater])
  })

  test('every state has a picture of its own, drawn within its frame', () => {
    const bitmaps = [...headlines, 'no disk' as const, 'lost' as const].map((state) => trayBitmap(state))
    for (const bitmap of bitmaps) assert.equal(bitmap.length, iconSidePx * iconSidePx * 4)
    // Seen without colour: only where there is ink. Both kinds of catching up share one picture.
    const shapes = new Set(bitmaps.map((bitmap) => String(bitmap.filter((_byte, index) => index % 4 === 3))))
    assert.equal(shapes.size, bitmaps.length - 1)
  })

  test('the tray says the worst headline, with a picture of its own, and that the agent is lost', async () => {
    server.port.show(states['waiting-for-disk'])
    await until('Waiting', 10_000, () => recorded.tooltips.at(-1) === 'Mirrorbay: Waiting')
    assert.equal(recorded.menu[0]?.label, 'Waiting')
    assert.deepEqual(recorded.trayImages.at(-1), { bytes: 16 * 16 * 4, width: 16, height: 16 })
    await server.stop()
    await until('lost', 10_000, () => recorded.tooltips.at(-1)?.endsWith('does not answer') === true)
    assert.equal((await bridge.call('status', {})).kind, 'lost')
    await server.start()
    await until('found again', 10_000, () => recorded.tooltips.at(-1) === 'Mirrorbay: Waiting')
  })

  test('the page lives on the bridge alone, in a real browser under the policy', needs('chromium'), async () => {
    server.port.show(states['one-copy-server-back'])
    const asked = server.port.asked.length
    await using browser = await launchBrowser()
    const page = await browser.newPage()
    const complaints: string[] = []
    page.on('console', (message) => message.type() === 'error' && complaints.push(message.text()))
    // Chromium does not know our scheme; the same answers come under an address that leads nowhere.
    await page.route('https://window.invalid/**', async (route) => {
      const { pathname } = new URL(route.request().url())
      const answer = await recorded.pages.get('mirrorbay')?.(new Request(`mirrorbay://window${pathname}`))
      const body = Buffer.from((await answer?.arrayBuffer()) ?? new ArrayBuffer(0))
      await route.fulfill({ status: answer?.status ?? 500, headers: Object.fromEntries(answer?.headers ?? []), body })
    })
    await page.exposeFunction('doubledCall', (id: 'resync', request: unknown) => bridge.call(id, request))
    await page.exposeFunction('doubledWatch', () => {
      bridge.watch((news) => {
        // After the page is closed nobody is left to be told.
        if (!page.isClosed()) void page.evaluate((told) => window.postMessage(told, '*'), news).catch(() => undefined)
      })
    })
    await page.addInitScript(bridgeInPage)
    await page.goto('https://window.invalid/')
    await page.getByRole('button', { name: 'Resync now' }).click()
    await until('the command', 10_000, () => server.port.asked.length > asked)
    server.port.show(states.protected)
    await page.waitForFunction(() => document.title.startsWith('Protected'))
    assert.deepEqual(complaints, [])
    recorded.windows[0]?.webContents.emit('did-start-navigation', { isMainFrame: true, isSameDocument: false })
  })

  test('closing the window ends neither the shell nor the agent', () => {
    app.emit('window-all-closed')
    assert.deepEqual([recorded.quits, recorded.exits], [0, []])
    recorded.menu.find((item) => item.label?.startsWith('Close'))?.click?.()
    assert.equal(recorded.quits, 1)
    assert.deepEqual(
      server.port.asked.filter((each) => each.what === 'stop'),
      [],
    )
  })
})
