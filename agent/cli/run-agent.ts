/** `mirrorbay agent`: the only command that loads the agent itself, so that all others start quickly. */
import type { ExitCode } from './terminal.ts'
import { exitCode } from './terminal.ts'

/** What agent/main.ts exports for this. It returns when the agent has ended; a UserError is printed by the caller. */
interface AgentProgram {
  runAgent(options: { dir: string }): Promise<unknown>
}

export async function runAgentHere(dir: string): Promise<ExitCode> {
  // The agent imports everything and the command line may not (HOUSE's table): it is started by its address, and its
  // one function is described above.
  const program = (await import(new URL('../main.ts', import.meta.url).href)) as AgentProgram
  await program.runAgent({ dir })
  return exitCode.yes
}
