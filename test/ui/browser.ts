/** Debian's Chromium, driven by Playwright; never a browser that a test tool downloads. */
import { type Browser, type BrowserContext, chromium, type Page } from 'playwright'
import { findTool } from '../kit/needs.ts'

export async function launchBrowser(): Promise<Browser> {
  const executablePath = findTool('chromium')
  if (executablePath === null) throw new Error('There is no Chromium here: install the package chromium.')
  return chromium.launch({
    executablePath,
    args: [
      // As root, which CI often is, Chromium refuses its sandbox. The page under test is our own.
      '--no-sandbox',
      '--disable-gpu',
      '--disable-quic',
      '--no-first-run',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
    ],
  })
}

export interface View {
  readonly scheme?: 'light' | 'dark'
  readonly width?: number
  readonly height?: number
  /** Milliseconds since 1970 that the page's clock shows; the machine's own when absent. */
  readonly nowMs?: number
}

export interface OpenPage {
  readonly page: Page
  readonly context: BrowserContext
  readonly view: View
  readonly complaints: string[]
}

/** A page in a context of its own; what the page complains of is collected. */
export async function openPage(browser: Browser, url: string, view: View = {}): Promise<OpenPage> {
  const context = await browser.newContext({
    colorScheme: view.scheme ?? 'light',
    viewport: { width: view.width ?? 1024, height: view.height ?? 700 },
    reducedMotion: 'reduce',
    locale: 'en-GB',
  })
  const page = await context.newPage()
  if (view.nowMs !== undefined) await page.clock.setFixedTime(view.nowMs)
  const complaints: string[] = []
  page.on('pageerror', (error) => complaints.push(String(error)))
  page.on('console', (message) => {
    // A lost agent makes failed requests; the window itself tells of that.
    const expected = /Failed to load resource|ERR_CONNECTION_REFUSED|ERR_INCOMPLETE_CHUNKED/.test(message.text())
    if (message.type() === 'error' && !expected) complaints.push(message.text())
  })
  await page.goto(url)
  return { page, context, view, complaints }
}
