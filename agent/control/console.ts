/**
 * The console's page: the renderer's built files, read into memory once at start, so that the page still opens while
 * a disk hangs. Every page gets its own nonce for styles and scripts; everything else foreign is refused by the CSP.
 */
import { randomBytes } from 'node:crypto'
import { readdir, readFile } from 'node:fs/promises'
import { extname, join, relative, sep } from 'node:path'
import { UserError } from '../kit/failure.ts'
import { limits } from '../limits.ts'

/** Where Vite's `html.cspNonce` puts it and we replace it. */
export const noncePlaceholder = '__CSP_NONCE__'

interface ConsoleFile {
  readonly bytes: Uint8Array<ArrayBuffer>
  readonly type: string
}

export interface Console {
  /** @param path starting with "/" @returns null where there is no such file */
  answer(path: string): Response | null
}

const types: Readonly<Record<string, string>> = {
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.css': 'text/css; charset=utf-8',
  '.json': 'application/json',
  '.svg': 'image/svg+xml',
  '.png': 'image/png',
  '.ico': 'image/x-icon',
  '.woff2': 'font/woff2',
  '.map': 'application/json',
  '.txt': 'text/plain; charset=utf-8',
}

/**
 * @param dir the renderer's built files; when it is not there the console says so
 * @throws UserError `console-too-large` beyond limits.consoleBytes
 */
export async function loadConsole(dir: string): Promise<Console> {
  const files = await readAll(dir)
  const index = files.get('/index.html')
  const page = index === undefined ? null : withNonceMeta(new TextDecoder().decode(index.bytes))
  return {
    answer(path) {
      const file = path === '/' ? undefined : files.get(path)
      if (file !== undefined && path !== '/index.html') {
        return new Response(file.bytes, { headers: { 'Content-Type': file.type } })
      }
      // A path without a file's ending is a page of the window, which finds its own way.
      if (extname(path) !== '' && path !== '/index.html') return null
      return page === null ? htmlPage(notBuiltPage, 200) : htmlPage(page, 200)
    },
  }
}

async function readAll(dir: string): Promise<ReadonlyMap<string, ConsoleFile>> {
  const files = new Map<string, ConsoleFile>()
  let total = 0
  for (const entry of await listed(dir)) {
    if (!entry.isFile()) continue
    const path = join(entry.parentPath, entry.name)
    const bytes = new Uint8Array(await readFile(path))
    total += bytes.byteLength
    if (total > limits.consoleBytes) throw tooLarge(dir)
    const type = types[extname(entry.name).toLowerCase()] ?? 'application/octet-stream'
    files.set(`/${relative(dir, path).split(sep).join('/')}`, { bytes, type })
  }
  return files
}

async function listed(dir: string) {
  try {
    return await readdir(dir, { recursive: true, withFileTypes: true })
  } catch (error) {
    if (error instanceof Error && 'code' in error && (error.code === 'ENOENT' || error.code === 'ENOTDIR')) return []
    throw error
  }
}

const tooLarge = (dir: string): UserError =>
  new UserError({
    code: 'console-too-large',
    happened: `The files of the window in ${dir} are larger than ${limits.consoleBytes} bytes.`,
    dataIsSafe: 'Your data was not touched.',
    next: 'Build the window again: npm run build',
  })

/** Style libraries read the nonce from this element; a build that already made one keeps it. */
function withNonceMeta(html: string): string {
  if (html.includes(noncePlaceholder)) return html
  return html.replace('<head>', `<head><meta property="csp-nonce" nonce="${noncePlaceholder}">`)
}

/** @returns a page under the strict policy, with a fresh nonce in every placeholder */
export function htmlPage(html: string, status: number): Response {
  const nonce = randomBytes(16).toString('base64')
  const policy = [
    "default-src 'none'",
    `script-src 'self' 'nonce-${nonce}'`,
    `style-src 'self' 'nonce-${nonce}'`,
    "img-src 'self' data:",
    "font-src 'self'",
    "connect-src 'self'",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
  ].join('; ')
  return new Response(html.replaceAll(noncePlaceholder, nonce), {
    status,
    headers: { 'Content-Type': 'text/html; charset=utf-8', 'Content-Security-Policy': policy },
  })
}

const plainPage = (title: string, paragraphs: readonly string[]): string =>
  `<!doctype html><html lang="en"><head><meta charset="utf-8"><title>${title}</title>
<style nonce="${noncePlaceholder}">body{font:1.1rem/1.5 system-ui,sans-serif;max-width:40rem;margin:4rem auto;padding:0 1rem}</style>
</head><body><main><h1>${title}</h1>${paragraphs.map((text) => `<p>${text}</p>`).join('')}</main></body></html>`

const notBuiltPage = plainPage('The window has not been built', [
  'Mirrorbay runs, but the files of its window are not here.',
  'Build them with <code>npm run build</code>, then restart Mirrorbay. Until then, use <code>mirrorbay status</code>.',
])

/** For a person who came without the token. */
export const signInPage = (): Response =>
  htmlPage(
    plainPage('Open the console with its address', [
      'This console needs a token that only this computer tells.',
      'Run <code>mirrorbay console</code> on the server and open the address that it prints.',
    ]),
    401,
  )
