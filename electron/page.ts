/** Serves the built page to our own window, under the same strict policy that the agent's console uses. */
import { randomBytes } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { extname, join, normalize, sep } from 'node:path'

/** A scheme of our own instead of file: the page has an origin, and nothing else of the disk can be asked for. */
export const scheme = 'mirrorbay'
export const pageUrl = `${scheme}://window/`

const noncePlaceholder = '__CSP_NONCE__'

const types: Readonly<Record<string, string>> = {
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.css': 'text/css; charset=utf-8',
  '.svg': 'image/svg+xml',
  '.woff2': 'font/woff2',
}

/** The page asks its agent through the bridge only, so it may connect to nothing at all. */
const policy = (nonce: string): string =>
  [
    "default-src 'none'",
    `script-src 'self' 'nonce-${nonce}'`,
    `style-src 'self' 'nonce-${nonce}'`,
    "img-src 'self' data:",
    "font-src 'self'",
    "connect-src 'none'",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
  ].join('; ')

/** @param rendererDir the built page @returns what Electron's protocol.handle wants */
export function pageServer(rendererDir: string): (request: Request) => Promise<Response> {
  return async (request) => {
    const { pathname, host } = new URL(request.url)
    const path = normalize(join(rendererDir, pathname === '/' ? 'index.html' : decodeURIComponent(pathname)))
    const type = types[extname(path)]
    if (host !== 'window' || !path.startsWith(rendererDir + sep) || type === undefined) return missing()
    const bytes = await readFile(path).catch(() => null)
    if (bytes === null) return missing()
    const headers = { 'Content-Type': type, 'X-Content-Type-Options': 'nosniff' }
    if (extname(path) !== '.html') return new Response(new Uint8Array(bytes), { headers })
    const nonce = randomBytes(16).toString('base64')
    const page = bytes.toString().replaceAll(noncePlaceholder, nonce)
    return new Response(page, { headers: { ...headers, 'Content-Security-Policy': policy(nonce) } })
  }
}

const missing = () => new Response('not found', { status: 404, headers: { 'Content-Type': 'text/plain' } })
