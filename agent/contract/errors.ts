/**
 * Errors as they travel: the four fields of a UserError, and the HTTP status of each code that the API itself makes.
 * The engine's own refusals (any other code) travel as 409: understood, but not now.
 */
import { z } from 'zod'
import { UserError } from '../kit/failure.ts'

export const errorBody = z.object({
  /** Stable, kebab-case; for programs. */
  code: z.string(),
  happened: z.string(),
  dataIsSafe: z.string(),
  next: z.string(),
})
export type ErrorBody = z.infer<typeof errorBody>

/** Codes made by the API, the client and the command line, with the HTTP status under which they travel. */
export const errorStatus = {
  'bad-request': 400,
  'bad-size': 400,
  'not-signed-in': 401,
  'not-allowed': 403,
  'faults-not-allowed': 403,
  'no-such-page': 404,
  'no-such-volume': 404,
  'no-such-folder': 404,
  'no-such-image': 404,
  'folder-refused': 409,
  'volume-exists': 409,
  'volume-waits': 409,
  'not-larger': 409,
  'not-deleted': 409,
  'image-exists': 409,
  'too-many-images': 409,
  'disk-full': 409,
  refused: 409,
  'too-large': 413,
  'not-json': 415,
  'wrong-address': 421,
  internal: 500,
  'not-built': 501,
  'too-many-streams': 503,
  stopping: 503,
} as const

export type ErrorCode = keyof typeof errorStatus
export type ErrorStatus = (typeof errorStatus)[ErrorCode]

const isErrorCode = (code: string): code is ErrorCode => Object.hasOwn(errorStatus, code)

/** @returns the HTTP status under which an error of this code travels */
export const statusOf = (code: string): ErrorStatus => (isErrorCode(code) ? errorStatus[code] : errorStatus.refused)

export const toErrorBody = (error: UserError): ErrorBody => ({
  code: error.code,
  happened: error.message,
  dataIsSafe: error.dataIsSafe,
  next: error.next,
})

export const fromErrorBody = (body: ErrorBody): UserError => new UserError(body)
