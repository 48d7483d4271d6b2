/**
 * Who may speak to the console. The danger: any web page in a browser on this machine can send requests to a loopback
 * port, and a page whose name is made to resolve to 127.0.0.1 can even read the answers. So: the Host must be ours, a
 * command must come from our own page or carry the token in a header that foreign pages cannot set, and everything
 * needs the token (as a header, or as a cookie that only this origin's requests carry).
 */
import { createHash, timingSafeEqual } from 'node:crypto'
import { refusals } from '../contract/refusals.ts'
import type { UserError } from '../kit/failure.ts'

/** What the guard looks at; header names are lower case. */
export interface Call {
  readonly method: string
  readonly path: string
  readonly header: (name: string) => string | undefined
  /** The token of `?token=`, if there is one. */
  readonly queryToken: string | null
}

export type Verdict =
  | { readonly kind: 'pass' }
  | { readonly kind: 'sign-in'; readonly cookie: string }
  | { readonly kind: 'refuse'; readonly error: UserError }

export class Guard {
  readonly #port: number
  readonly #token: string

  constructor(options: { port: number; token: string }) {
    this.#port = options.port
    this.#token = options.token
  }

  judge(call: Call): Verdict {
    const host = call.header('host')
    if (host === undefined || !this.#hosts().includes(host.toLowerCase())) return refuse(refusals.wrongAddress())
    if (call.method === 'GET' && call.path === '/' && call.queryToken !== null) {
      return this.#isToken(call.queryToken)
        ? { kind: 'sign-in', cookie: `${this.#cookieName()}=${this.#token}; Path=/; HttpOnly; SameSite=Strict` }
        : refuse(refusals.notSignedIn())
    }
    const bearer = /^Bearer (\S+)$/i.exec(call.header('authorization') ?? '')?.[1]
    const signedIn = bearer === undefined ? this.#isToken(this.#cookie(call)) : this.#isToken(bearer)
    if (!signedIn) return refuse(refusals.notSignedIn())
    return this.#isOwnPage(call, { host, bearer: bearer !== undefined })
      ? { kind: 'pass' }
      : refuse(refusals.foreignPage())
  }

  /** A cookie comes along by itself, so commands with it need the browser's word that our own page sent them. */
  #isOwnPage(call: Call, from: { host: string; bearer: boolean }): boolean {
    const origin = call.header('origin')
    if (origin !== undefined && origin !== `http://${from.host}`) return false
    if (call.method !== 'GET' && origin === undefined && !from.bearer) return false
    // Another port of this machine is the "same site" for cookies; this header tells it apart. `none`: typed by a person.
    const site = call.header('sec-fetch-site')
    return from.bearer || site === undefined || site === 'same-origin' || (site === 'none' && call.method === 'GET')
  }

  #hosts(): readonly string[] {
    return ['127.0.0.1', 'localhost', '[::1]'].map((host) => `${host}:${this.#port}`)
  }

  /** Cookies are shared by all ports of a host; the port in the name keeps two agents on one machine apart. */
  #cookieName(): string {
    return `mirrorbay-${this.#port}`
  }

  #cookie(call: Call): string {
    const wanted = `${this.#cookieName()}=`
    const parts = (call.header('cookie') ?? '').split(';').map((part) => part.trim())
    return parts.find((part) => part.startsWith(wanted))?.slice(wanted.length) ?? ''
  }

  /** Takes the same time whatever the text: hashing makes the lengths equal first. */
  #isToken(text: string): boolean {
    const digest = (value: string) => createHash('sha256').update(value).digest()
    return timingSafeEqual(digest(text), digest(this.#token))
  }
}

const refuse = (error: UserError): Verdict => ({ kind: 'refuse', error })
