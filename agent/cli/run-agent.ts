/** `mirrorbay agent`: the only command that loads the agent itself, so that all others start quickly. */
import { type ExitCode, exitCode, printError, type Terminal } from './terminal.ts'

/** What agent/main.ts exports for this. It returns when the agent has ended; what it throws is printed. */
interface AgentProgram {
  runAgent(options: { dir: string }): Promise<unknown>
}

/** @returns when the agent has ended; an agent that cannot run is a "could not", whatever its reason */
export async function runAgentHere(dir: string, terminal: Terminal, json: boolean): Promise<ExitCode> {
  try {
    // The agent imports everything and the command line may not (HOUSE's table): it is started by its address, and
    // its one function is described above.
    const program = (await import(new URL('../main.ts', import.meta.url).href)) as AgentProgram
    await program.runAgent({ dir })
    return exitCode.yes
  } catch (error) {
    printError(error, terminal, json)
    return exitCode.couldNot
  }
}
