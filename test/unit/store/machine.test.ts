/**
 * Aim: whatever is asked of a store, in whatever order and with how much at once, and however its runs end, it is a Buffer
 * and a few facts (machine-model.ts): reads are what was written; after a power cut every sector is old or new, and
 * exact when it was flushed; marks cover every doubt; nothing is lost that was promised (C1, C2, C3, C8, C12, W4, R3).
 *
 * What fails is made shorter and printed, with its seed and path.
 */
import { describe, it } from 'node:test'
import fc from 'fast-check'
import { rounds } from '../../kit/length.ts'
import { commands, create } from './machine-commands.ts'
import { closeAndOpen, Plan, verify } from './machine-plan.ts'
import { type MachineWorld, MemoryWorld, ProcessWorld } from './machine-worlds.ts'

async function live(commands: Iterable<fc.AsyncCommand<Plan, MachineWorld>>, world: MachineWorld): Promise<void> {
  const plan = new Plan()
  try {
    await world.open()
    plan.run = 1
    await create(plan, world, 0, 0)
    await plan.idle(world)
    await fc.asyncModelRun(() => ({ model: plan, real: world }), commands)
    await verify(plan, world)
    await closeAndOpen(plan, world)
  } finally {
    await world.end()
  }
}

const seed = Number(process.env.MIRRORBAY_MACHINE_SEED ?? 20261122)

describe('a store is a Buffer and a few facts', () => {
  it('in memory, with power cuts', async () => {
    const lives = fc.commands(commands(true), { maxCommands: 60, size: 'max' })
    const numRuns = rounds({ short: 50, full: 1_500, long: 60_000 })
    await fc.assert(
      fc.asyncProperty(lives, fc.nat(1_000_000), (all, chance) => live(all, new MemoryWorld(chance))),
      { numRuns, seed },
    )
  })

  it('on files and SQLite, with kills', async () => {
    const lives = fc.commands(commands(false), { maxCommands: 60, size: 'max' })
    const numRuns = rounds({ short: 2, full: 60, long: 1_500 })
    await fc.assert(
      fc.asyncProperty(lives, (all) => live(all, new ProcessWorld())),
      { numRuns, seed },
    )
  })
})
