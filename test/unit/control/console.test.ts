/** Who may use the console, and what a browser gets there. */
import assert from 'node:assert/strict'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { apiPrefix } from '../../../agent/contract/operations.ts'
import { ask, bearer, json, type Served, serving, token } from './serving.ts'

const status = `${apiPrefix}/status`
const release = `${apiPrefix}/release`
const own = (served: Served) => `127.0.0.1:${served.control.consolePort}`

function browse(served: Served, path: string, headers: Record<string, string> = {}, method = 'GET', body?: string) {
  const to = { port: served.control.consolePort }
  return ask({ to, path, method, headers: { Host: own(served), ...headers }, ...(body === undefined ? {} : { body }) })
}

/** Signs in as a browser does. @returns the Cookie header's value */
async function signedIn(served: Served): Promise<string> {
  const answer = await browse(served, `/?token=${token}`)
  assert.equal(answer.status, 303)
  assert.equal(answer.headers.location, '/')
  const cookie = answer.headers['set-cookie']?.[0] ?? ''
  assert.match(cookie, /; HttpOnly; SameSite=Strict$/)
  return cookie.split(';')[0] ?? ''
}

test('nothing answers without the token, and not with a wrong one', () =>
  serving(async (served) => {
    const near = `${token.slice(0, -1)}0`
    for (const headers of [
      {},
      { Authorization: `Bearer ${near}` },
      { Authorization: 'Bearer ' },
      { Authorization: token },
      { Cookie: `mirrorbay-${served.control.consolePort}=${near}` },
      { Cookie: `mirrorbay-1=${token}` },
    ]) {
      for (const path of [status, '/openapi.json', `${apiPrefix}/stream`, '/', '/assets/x.js']) {
        assert.equal((await browse(served, path, headers)).status, 401, `${path} ${JSON.stringify(headers)}`)
      }
    }
    assert.equal((await browse(served, `/?token=${near}`)).status, 401)
    // The token in an address counts at the front door only: addresses end up in histories and logs.
    assert.equal((await browse(served, `${status}?token=${token}`)).status, 401)
    const page = await browse(served, '/')
    assert.match(page.text, /mirrorbay console/)
    assert.match(String(page.headers['content-type']), /^text\/html/)
  }))

test('the address with the token signs a browser in once', () =>
  serving(async (served) => {
    assert.ok(served.control.consoleUrl.endsWith(`/?token=${token}`))
    const Cookie = await signedIn(served)
    assert.equal((await browse(served, status, { Cookie })).status, 200)
    assert.equal((await browse(served, status, { Cookie: `a=b; ${Cookie}; c=d` })).status, 200)
    assert.equal((await browse(served, status, bearer)).status, 200)
  }))

test('a foreign name that resolves to this machine is refused (DNS rebinding)', () =>
  serving(async (served) => {
    const { consolePort } = served.control
    for (const Host of [
      'evil.example',
      `evil.example:${consolePort}`,
      '127.0.0.1',
      '127.0.0.1:1',
      `127.0.0.2:${consolePort}`,
    ]) {
      assert.equal((await browse(served, status, { ...bearer, Host })).status, 421, Host)
    }
    for (const Host of [`localhost:${consolePort}`, `[::1]:${consolePort}`, `LOCALHOST:${consolePort}`]) {
      assert.equal((await browse(served, status, { ...bearer, Host })).status, 200, Host)
    }
  }))

test('a foreign page cannot command this server with our cookie', () =>
  serving(async (served) => {
    const Cookie = await signedIn(served)
    const Origin = `http://${own(served)}`
    const post = (headers: Record<string, string>) => browse(served, release, { ...json, ...headers }, 'POST', '{}')
    for (const headers of [
      { Cookie, Origin: 'http://evil.example' },
      { Cookie, Origin: 'http://127.0.0.1:1' },
      { Cookie, Origin: 'null' },
      { Cookie, Origin: `https://${own(served)}` },
      { Cookie },
      { Cookie, Origin, 'Sec-Fetch-Site': 'same-site' },
      { Cookie, Origin, 'Sec-Fetch-Site': 'cross-site' },
      { ...bearer, Origin: 'http://evil.example' },
    ]) {
      assert.equal((await post(headers)).status, 403, JSON.stringify(headers))
    }
    assert.equal((await browse(served, status, { Cookie, 'Sec-Fetch-Site': 'same-site' })).status, 403)
    assert.deepEqual(served.port.asked, [])
    assert.equal((await post({ Cookie, Origin, 'Sec-Fetch-Site': 'same-origin' })).status, 200)
    assert.equal((await post({ ...bearer })).status, 200)
    assert.deepEqual(served.port.asked, [['release'], ['release']])
    const answer = await browse(served, status, { Cookie, Origin: `http://${own(served)}` })
    assert.equal(answer.headers['access-control-allow-origin'], undefined)
    assert.equal((await browse(served, status, { Cookie, Origin }, 'OPTIONS')).status, 404)
  }))

test('the token itself is told over the socket only', () =>
  serving(async (served) => {
    assert.equal((await browse(served, `${apiPrefix}/console`, bearer)).status, 403)
    const answer = await ask({ to: served, path: `${apiPrefix}/console` })
    assert.deepEqual(JSON.parse(answer.text), { url: served.control.consoleUrl })
  }))

test('without the built window the console says so, and how to build it', () =>
  serving(async (served) => {
    const page = await browse(served, '/', { Cookie: await signedIn(served) })
    assert.equal(page.status, 200)
    assert.match(page.text, /npm run build/)
  }))

test('the window comes from memory under a strict policy with a fresh nonce', async () => {
  const rendererDir = await mkdtemp(join(tmpdir(), 'mirrorbay-renderer-'))
  try {
    await mkdir(join(rendererDir, 'assets'))
    await writeFile(
      join(rendererDir, 'index.html'),
      '<html><head></head><script nonce="__CSP_NONCE__"></script></html>',
    )
    await writeFile(join(rendererDir, 'assets', 'app.js'), 'void 0')
    await serving(
      async (served) => {
        await rm(rendererDir, { recursive: true })
        const Cookie = await signedIn(served)
        const nonces = new Set<string>()
        for (const path of ['/', '/index.html', '/activity']) {
          const page = await browse(served, path, { Cookie })
          assert.equal(page.status, 200, path)
          const nonce = /nonce="([^"]+)"/.exec(page.text)?.[1] ?? ''
          const policy = String(page.headers['content-security-policy'])
          assert.ok(policy.includes(`script-src 'self' 'nonce-${nonce}'`), policy)
          assert.match(policy, /default-src 'none'.*frame-ancestors 'none'/)
          assert.doesNotMatch(policy, /unsafe/)
          nonces.add(nonce)
        }
        assert.equal(nonces.size, 3)
        const script = await browse(served, '/assets/app.js', { Cookie })
        assert.equal(script.text, 'void 0')
        assert.match(String(script.headers['content-type']), /^text\/javascript/)
        assert.equal(script.headers['cache-control'], 'no-store')
        for (const path of ['/assets/none.js', '/../config.json', '/%2e%2e/config.json', '/api/v1/none']) {
          assert.equal((await browse(served, path, { Cookie })).status, 404, path)
        }
      },
      { rendererDir },
    )
  } finally {
    await rm(rendererDir, { recursive: true, force: true })
  }
})
