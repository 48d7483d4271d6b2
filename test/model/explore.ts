/**
 * Every schedule of a small cluster, breadth first, so that the schedule of a breach is a shortest one. A state is reached
 * by replaying its schedule on fresh machines: the code offers no way to copy itself, and needs none.
 */
import { createHash } from 'node:crypto'
import { Policing } from '../../agent/policing/policing.ts'
import type { PolicingClass } from './opened.ts'
import { type Plan, SmallCluster, type Step, stepInWords } from './small-cluster.ts'

/** More would not end in the time that the part has. */
const mostStates = 1_000_000

export interface Explored {
  readonly states: number
  readonly steps: number
  /** Length of the longest of the shortest schedules. */
  readonly depth: number
  readonly breach: { readonly what: string; readonly schedule: readonly string[] } | null
}

interface Found {
  readonly parent: number
  readonly step: Step | null
  readonly depth: number
}

class Search {
  readonly #plan: Plan
  readonly #real: PolicingClass
  readonly #opened: PolicingClass
  readonly #found: Found[] = [{ parent: -1, step: null, depth: 0 }]
  readonly #numbers = new Map<string, number>()
  /** For each state, the states that one step leads to. */
  readonly #after: number[][] = []
  #steps = 0

  constructor(plan: Plan, real: PolicingClass, opened: PolicingClass) {
    this.#plan = plan
    this.#real = real
    this.#opened = opened
    this.#numbers.set(keyOf(this.#replay([])), 0)
  }

  run(): Explored {
    for (let number = 0; number < this.#found.length; number += 1) {
      const schedule = this.#scheduleOf(number)
      this.#after[number] = []
      for (const step of this.#replay(schedule).steps()) {
        const breach = this.#follow(number, schedule, step)
        if (breach !== null) return this.#result({ what: breach, steps: [...schedule, step] })
      }
      if (this.#found.length > mostStates) throw new Error(`more than ${mostStates} states: the plan is too large`)
    }
    const turning = this.#cycle()
    return this.#result(turning === null ? null : { what: 'P2: a schedule without end', steps: turning })
  }

  /** @returns what is wrong after the step */
  #follow(number: number, schedule: readonly Step[], step: Step): string | null {
    this.#steps += 1
    const cluster = this.#replay(schedule)
    try {
      cluster.take(step)
    } catch (failure) {
      return `it threw ${failure}`
    }
    if (cluster.breach !== null) return cluster.breach
    const key = keyOf(cluster)
    let next = this.#numbers.get(key)
    if (next === undefined) {
      next = this.#found.length
      this.#numbers.set(key, next)
      this.#found.push({ parent: number, step, depth: schedule.length + 1 })
    }
    this.#after[number]?.push(next)
    return null
  }

  #replay(schedule: readonly Step[]): SmallCluster {
    const cluster = new SmallCluster(this.#plan, this.#real, this.#opened)
    for (const step of schedule) cluster.replay(step)
    return cluster
  }

  #scheduleOf(number: number): Step[] {
    const steps: Step[] = []
    for (let at = this.#found[number]; at?.step != null; at = this.#found[at.parent]) steps.push(at.step)
    return steps.reverse()
  }

  /** Requests are few, so a schedule without end turns in a circle. @returns the way into one; null when there is none */
  #cycle(): Step[] | null {
    const before = new Array<number>(this.#found.length).fill(0)
    for (const next of this.#after.flat()) before[next] = (before[next] ?? 0) + 1
    const free = [...before.keys()].filter((number) => before[number] === 0)
    for (let number = free.pop(); number !== undefined; number = free.pop()) {
      for (const next of this.#after[number] ?? []) {
        const left = (before[next] ?? 0) - 1
        before[next] = left
        if (left === 0) free.push(next)
      }
    }
    const inCircle = before.findIndex((count) => count > 0)
    return inCircle < 0 ? null : this.#scheduleOf(inCircle)
  }

  #result(breach: { what: string; steps: readonly Step[] } | null): Explored {
    return {
      states: this.#found.length,
      steps: this.#steps,
      depth: this.#found.at(-1)?.depth ?? 0,
      breach: breach && { what: breach.what, schedule: breach.steps.map((step) => stepInWords(step, this.#plan)) },
    }
  }
}

/** 128 bits: that two of a million states share a key is as likely as nothing is. */
const keyOf = (cluster: SmallCluster) => createHash('md5').update(cluster.key()).digest('base64')

/** @param real the code that is judged; without it, that of agent/policing @param opened the same text, opened */
export const explore = (plan: Plan, opened: PolicingClass, real: PolicingClass = Policing): Explored =>
  new Search(plan, real, opened).run()
