/** Questions to registers, here or at another server (E2, E4), and the answers to others' questions. */
import { z } from 'zod'
import type { ServerId, VolumeId } from '../kit/ids.ts'
import type { Clock } from '../kit/world.ts'
import { limits } from '../limits.ts'
import type { Links } from '../link/messages.ts'
import { configurationSchema } from './configuration.ts'
import { volumeField } from './messages.ts'
import type { ArbiterPort } from './proposer.ts'
import type { RegisterAnswer, RegisterRequest, Registers } from './register.ts'

const requestSchema = z.discriminatedUnion('operation', [
  z.object({ operation: z.literal('create'), configuration: configurationSchema }),
  z.object({ operation: z.literal('read'), volumeId: volumeField }),
  z.object({ operation: z.literal('swap'), expectedId: z.string().max(40), configuration: configurationSchema }),
])
const number = z.number().int().min(0)
export const registerMessages = {
  'register.ask': z.object({ question: number, request: requestSchema }),
  'register.answer': z.object({
    question: number,
    answer: z.object({
      outcome: z.enum(['stored', 'other', 'absent', 'failed']),
      current: configurationSchema.nullable(),
    }),
  }),
} as const

export interface ArbiterClientWorld {
  readonly self: ServerId
  readonly selfRun: number
  readonly links: Links
  readonly clock: Clock
  readonly registers: Registers
}

interface Question {
  readonly arbiter: ServerId
  readonly done: (answer: RegisterAnswer | null) => void
}

export class ArbiterClient {
  readonly #world: ArbiterClientWorld
  readonly #open = new Map<number, Question>()
  /** Begins elsewhere in every run, so that an answer to an older run's question matches none. */
  #next: number

  constructor(world: ArbiterClientWorld) {
    this.#world = world
    this.#next = world.selfRun * 1_000_000 + 1
  }

  /** @returns the way to one volume's register at its server */
  at(arbiter: ServerId, volumeId: VolumeId): ArbiterPort {
    const { self, links, registers } = this.#world
    return {
      reachable: () => (arbiter === self ? registers.isHere(volumeId) : links.peer(arbiter)?.connected === true),
      ask: (request, done) => this.#ask(arbiter, request, done),
    }
  }

  #ask(arbiter: ServerId, request: RegisterRequest, done: (answer: RegisterAnswer | null) => void): void {
    const { self, links, clock, registers } = this.#world
    const question = this.#next
    this.#next += 1
    this.#open.set(question, { arbiter, done })
    clock.after(limits.registerAnswerMs, () => this.#answer(question, null))
    if (arbiter === self) {
      registers.handle(request, (answer) => clock.nextTurn(() => this.#answer(question, answer)))
    } else if (!links.sendNow(arbiter, { type: 'control', kind: 'register.ask', body: { question, request } })) {
      clock.nextTurn(() => this.#answer(question, null))
    }
  }

  #answer(question: number, answer: RegisterAnswer | null): void {
    const open = this.#open.get(question)
    if (open === undefined) return
    this.#open.delete(question)
    open.done(answer)
  }

  onAsk(from: ServerId, body: unknown): boolean {
    const parsed = registerMessages['register.ask'].safeParse(body)
    if (!parsed.success) return false
    const { question, request } = parsed.data
    this.#world.registers.handle(request, (answer) => {
      this.#world.links.sendNow(from, { type: 'control', kind: 'register.answer', body: { question, answer } })
    })
    return true
  }

  onAnswer(from: ServerId, body: unknown): boolean {
    const parsed = registerMessages['register.answer'].safeParse(body)
    if (!parsed.success) return false
    const { question, answer } = parsed.data
    if (this.#open.get(question)?.arbiter === from) this.#answer(question, answer)
    return true
  }
}
