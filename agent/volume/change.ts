/** What servers ask of each other while a person changes a volume, and the refusals that people read. */
import { z } from 'zod'
import { UserError } from '../kit/failure.ts'
import type { ServerId } from '../kit/ids.ts'
import { limits } from '../limits.ts'
import { count, volumeField } from '../membership/messages.ts'

export const imageName = z.string().regex(/^[a-z0-9-]{1,64}$/)

/** One server's part of a change. */
export const changeTask = z.discriminatedUnion('kind', [
  z.object({ kind: z.literal('grow'), sizeBytes: count.min(4096) }),
  /** What an image needs beforehand, while writes go on. */
  z.object({ kind: z.literal('prepare-image'), image: imageName }),
  /** Only in that session, while its origin holds the whole volume (W2). */
  z.object({ kind: z.literal('make-image'), image: imageName, madeMs: count, session: count.min(1) }),
  z.object({ kind: z.literal('delete-image'), image: imageName }),
  /** Whether a deleted volume may come back under that name: `taken` when another one has it there. */
  z.object({ kind: z.literal('take-name'), name: z.string().min(1).max(63) }),
])
export type ChangeTask = z.infer<typeof changeTask>

const problem = z.enum(['no-space', 'io', 'busy', 'taken', 'too-many', 'absent', 'silent'])
/** Why a server could not do its part; `silent`: it did not answer in time. */
export type ChangeProblem = z.infer<typeof problem>

export const changeMessages = {
  'change.ask': z.object({ volume: volumeField, request: count, task: changeTask }),
  'change.answer': z.object({ volume: volumeField, request: count, problem: problem.nullable() }),
} as const

/** The answers of the servers that were asked. */
export class ChangeQuestion {
  readonly #missing: Set<ServerId>
  readonly #problems: ChangeProblem[] = []
  readonly #done: (problems: readonly ChangeProblem[]) => void
  #over = false

  constructor(servers: readonly ServerId[], done: (problems: readonly ChangeProblem[]) => void) {
    this.#missing = new Set(servers)
    this.#done = done
  }

  answer(from: ServerId, said: ChangeProblem | null): void {
    if (this.#over || !this.#missing.delete(from)) return
    if (said !== null) this.#problems.push(said)
    if (this.#missing.size === 0) this.#end()
  }

  timeOut(): void {
    if (this.#over) return
    this.#problems.push('silent')
    this.#end()
  }

  #end(): void {
    this.#over = true
    this.#done(this.#problems)
  }
}

const refusal = (code: string, happened: string, next: string, dataIsSafe = 'Nothing was changed.') =>
  new UserError({ code, happened, dataIsSafe, next })

export const refuse = {
  noVolume: (name: string) =>
    refusal('no-such-volume', `There is no shared disk named ${name} here.`, 'Look at the list of shared disks.'),
  notDeleted: (name: string) =>
    refusal(
      'not-deleted',
      `${name} is in use: only a recently deleted shared disk can be removed for good.`,
      'Delete it first, if you mean it.',
    ),
  waits: (name: string) =>
    refusal(
      'volume-waits',
      `${name} cannot be changed now: it waits, a copy of it is just being taken in, or the server that decides did not answer.`,
      'Try again when it is served here, and when all its servers are there.',
    ),
  unsure: (name: string) =>
    refusal(
      'still-busy',
      `It is not known yet whether ${name} was changed: the server that decides was asked and did not answer.`,
      'Look again in a minute.',
      'No data was touched.',
    ),
  notLarger: (name: string, sizeBytes: number) =>
    refusal(
      'not-larger',
      `${name} has ${sizeBytes} bytes already, and a shared disk can only grow.`,
      'Choose a larger size, a whole number of 4096-byte blocks.',
    ),
  tooLarge: (mostBytes: number) =>
    refusal('bad-size', `A shared disk has at most ${mostBytes} bytes.`, 'Choose a smaller size.'),
  full: (name: string) =>
    refusal('disk-full', `A disk that holds ${name} is full.`, 'Make room there, then try again.'),
  away: (name: string) =>
    refusal('server-away', `A server that holds ${name} did not answer in time.`, 'Look after it, then try again.'),
  imageTaken: (name: string, image: string) =>
    refusal('image-exists', `${name} has a snapshot named ${image} already.`, 'Give it another name.'),
  noImage: (name: string, image: string) =>
    refusal('no-such-image', `${name} has no snapshot named ${image}.`, 'Look at the list of its snapshots.'),
  tooManyImages: (name: string, most: number) =>
    refusal('too-many-images', `${name} has ${most} snapshots, and that is the limit.`, 'Delete one of them first.'),
  badImageName: () =>
    refusal('bad-request', 'A snapshot is named with 1 to 64 of a-z, 0-9 and "-".', 'Give it another name.'),
  disk: (name: string) =>
    refusal('disk-error', `A disk that holds ${name} gave an error.`, 'Look at the activity list of its servers.'),
  taken: (name: string) =>
    refusal('volume-exists', `There is already a shared disk named ${name}.`, 'Give it another name.'),
}

/** @returns the words for what went wrong first */
export function refusalOf(name: string, problems: readonly ChangeProblem[]): UserError {
  if (problems.includes('no-space')) return refuse.full(name)
  if (problems.includes('silent')) return refuse.away(name)
  return problems.includes('io') ? refuse.disk(name) : refuse.waits(name)
}

/** The same for a snapshot of that name. */
export function imageRefusal(name: string, image: string, problems: readonly ChangeProblem[]): UserError {
  if (problems.includes('taken')) return refuse.imageTaken(name, image)
  return problems.includes('too-many') ? refuse.tooManyImages(name, limits.images) : refusalOf(name, problems)
}
