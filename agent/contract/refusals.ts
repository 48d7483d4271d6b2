/** The refusals that the API and its callers make themselves, in words. The engine's own come with their own words. */
import { UserError } from '../kit/failure.ts'
import type { ErrorCode } from './errors.ts'

const untouched = 'Your data was not touched.'

const refusal = (code: ErrorCode, happened: string, next: string, dataIsSafe = untouched): UserError =>
  new UserError({ code, happened, dataIsSafe, next })

export const refusals = {
  /** @param detail what is wrong with which field, as zod says it */
  badRequest: (detail: string) =>
    refusal('bad-request', `The request was not understood: ${detail}`, 'Correct it and try again.'),
  notSignedIn: () =>
    refusal(
      'not-signed-in',
      'This address needs a token, and there was none or a wrong one.',
      'Open the address that "mirrorbay console" prints on this server.',
    ),
  wrongAddress: () =>
    refusal(
      'wrong-address',
      'The console answers only under its own local address.',
      'Open the address that "mirrorbay console" prints on this server.',
    ),
  foreignPage: () =>
    refusal(
      'not-allowed',
      'Another web page tried to command this server.',
      'Use the console itself. Close that page.',
    ),
  socketOnly: () =>
    refusal(
      'not-allowed',
      'The console address with its token is told over the local socket only.',
      'Run "mirrorbay console" on this server.',
    ),
  faultsNotAllowed: () =>
    refusal(
      'faults-not-allowed',
      'This server does not allow faults to be made.',
      'Faults are for tests: start a lab with "npm run lab".',
    ),
  notBuilt: (what: string) =>
    refusal('not-built', `${what} is not in this version.`, 'See CHANGELOG.md for what this version has.'),
  noSuchPage: () =>
    refusal('no-such-page', 'There is nothing at this address.', 'See /openapi.json for what there is.'),
  tooLarge: (limitBytes: number) =>
    refusal('too-large', `The request is larger than ${limitBytes} bytes.`, 'Send less.'),
  notJson: () =>
    refusal(
      'not-json',
      'The request is not JSON.',
      'Send a JSON body with the header "Content-Type: application/json".',
    ),
  tooManyStreams: () =>
    refusal('too-many-streams', 'Too many windows watch this server already.', 'Close some of them and try again.'),
  internal: () =>
    refusal(
      'internal',
      'Mirrorbay made a mistake while it handled the request.',
      "Look into this server's log; restart Mirrorbay if it goes on.",
      'What was saved is kept; nothing is known to be damaged.',
    ),
} as const
