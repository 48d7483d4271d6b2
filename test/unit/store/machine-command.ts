/** One thing that the state machine does to a store (machine.test.ts), with words of its own for the report. */
import type fc from 'fast-check'
import type { Plan } from './machine-plan.ts'
import type { MachineWorld } from './machine-worlds.ts'

export class Command implements fc.AsyncCommand<Plan, MachineWorld> {
  readonly #words: string
  readonly #check: (plan: Plan) => boolean
  readonly #run: (plan: Plan, world: MachineWorld) => Promise<void>
  constructor(words: string, check: (plan: Plan) => boolean, run: (plan: Plan, world: MachineWorld) => Promise<void>) {
    this.#words = words
    this.#check = check
    this.#run = run
  }
  check(plan: Plan): boolean {
    return this.#check(plan)
  }
  async run(plan: Plan, world: MachineWorld): Promise<void> {
    await this.#run(plan, world)
    plan.mustBeRight()
  }
  toString(): string {
    return this.#words
  }
}
