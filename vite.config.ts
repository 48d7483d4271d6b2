/**
 * Three builds from one file, told apart by the mode:
 * `vite build`                  the page, for Electron and for the console that the agent serves: dist/renderer
 * `vite build --mode main`      Electron's main process, one module: dist/electron/main.js
 * `vite build --mode preload`   the bridge; a sandboxed preload must be one CommonJS file: dist/electron/preload.cjs
 */
import { fileURLToPath } from 'node:url'
import react from '@vitejs/plugin-react'
import { defineConfig, type UserConfig } from 'vite'

const here = (path: string) => fileURLToPath(new URL(path, import.meta.url))

/** Whoever serves index.html puts a fresh random nonce in place of this word, into the page and into its policy. */
export const NONCE_PLACEHOLDER = '__CSP_NONCE__'

const renderer: UserConfig = {
  root: here('renderer'),
  base: './',
  plugins: [react()],
  html: { cspNonce: NONCE_PLACEHOLDER },
  build: {
    outDir: here('dist/renderer'),
    emptyOutDir: true,
    // A font inside a data: URL would need a weaker policy than `font-src 'self'`.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    target: 'es2023',
    reportCompressedSize: true,
  },
}

/** One file of Electron's own, everything but electron and node: packed in. */
const shell = (entry: string, file: string, format: 'es' | 'cjs'): UserConfig => ({
  root: here('.'),
  publicDir: false,
  ssr: { noExternal: true, external: ['electron'] },
  build: {
    ssr: here(entry),
    outDir: here('dist/electron'),
    emptyOutDir: false,
    target: 'node24',
    minify: false,
    rolldownOptions: { external: ['electron', /^node:/], output: { format, entryFileNames: file } },
  },
})

export default defineConfig(({ mode }) => {
  if (mode === 'main') return shell('electron/main.ts', 'main.js', 'es')
  if (mode === 'preload') return shell('electron/preload.ts', 'preload.cjs', 'cjs')
  return renderer
})
