/** The commands, their options and help. What they do is in ask.ts, init.ts and run-agent.ts. */
import { Command, CommanderError, InvalidArgumentError, Option } from 'commander'
import * as ask from './ask.ts'
import { type Asks, examples, type Run } from './commands.ts'
import { connectAgent } from './connection.ts'
import * as folder from './folder.ts'
import { socketPath, storageFolder, type Where } from './folders.ts'
import { init } from './init.ts'
import { showPriority } from './priority.ts'
import { runAgentHere } from './run-agent.ts'
import * as offline from './store.ts'
import { badUsage, type ExitCode, exitCode, printError, type Terminal } from './terminal.ts'
import { addSnapshot, addVolumeLife } from './volume-program.ts'

interface GlobalOptions extends Where {
  readonly json?: boolean
}

/** @returns the exit code; never throws and never ends the process */
export async function runCli(words: readonly string[], terminal: Terminal): Promise<ExitCode> {
  let code: ExitCode = exitCode.yes
  const program = makeProgram(terminal, (result) => {
    code = result
  })
  try {
    await program.parseAsync([...words], { from: 'user' })
    return code
  } catch (error) {
    const json = words.includes('--json')
    if (!(error instanceof CommanderError)) return printError(error, terminal, json)
    if (error.exitCode === 0) return exitCode.yes
    // Called without a command, it has printed the help; else the complaint is ours to print.
    if (error.code === 'commander.help') return exitCode.couldNot
    return printError(usageError(error), terminal, json)
  }
}

const usageError = ({ message }: CommanderError) =>
  badUsage(
    `${capital(message.replace(/^error: /, '')).replace(/\.$/, '')}.`,
    'See "mirrorbay --help" or add --help to the command for examples.',
  )
const capital = (text: string): string => text.slice(0, 1).toUpperCase() + text.slice(1)

function makeProgram(terminal: Terminal, finished: (code: ExitCode) => void): Command {
  const program = new Command('mirrorbay')
  program
    .description('Two or three ordinary servers become one shared disk.')
    .option('--dir <folder>', 'the storage folder (else MIRRORBAY_DIR, else one under your data folder)')
    .option('--socket <path>', "the agent's socket (else as config.json in the storage folder says)")
    .option('--json', 'print JSON, for programs')
    .configureOutput({
      writeOut: (text) => terminal.out(text),
      writeErr: (text) => terminal.err(text),
      // Complaints come as CommanderError too, and are printed from there.
      outputError: () => undefined,
    })
    .configureHelp({ showGlobalOptions: true })
    .exitOverride()
    .addHelpText(
      'after',
      examples(['mirrorbay status', 'mirrorbay volume create office --size 200G', 'mirrorbay console']),
    )
    .addHelpText('after', '\nExit codes: 0 yes, 1 no, 2 could not.')

  /** Runs a command against the agent; names are its arguments. */
  const asks =
    <Options>(run: Run<Options>) =>
    async (...given: unknown[]) => {
      // Commander hands over the arguments, then the options, then the command itself.
      const command = given.at(-1) as Command
      const options = command.optsWithGlobals<GlobalOptions & Options>()
      // An argument that may be missing and is stays so.
      const names = command.processedArgs.filter((given) => given !== undefined).map(String)
      const client = connectAgent(await socketPath(options, terminal))
      finished(await run({ client, terminal, json: options.json === true }, options, names))
    }

  addStatus(program, asks)
  addVolume(program, asks)
  addSnapshot(program, asks)
  addFolder(program, asks)
  addResync(program, asks)
  addPriority(program, asks)
  addScrub(program, asks)
  addEvents(program, asks)
  addSmall(program, asks)
  addAgent(program, terminal, finished)
  addStore(program, terminal, finished)
  addInit(program, terminal, finished)
  return program
}

function addStatus(program: Command, asks: Asks): void {
  program
    .command('status')
    .description('Is my data safe? What happens if a server stops? Do I have to do anything?')
    .option('--watch', 'stay and show changes')
    .option(
      '--check',
      'exit with 1 unless every disk is Protected and every storage folder can be used, for monitoring',
    )
    .addHelpText('after', examples(['mirrorbay status --watch', 'mirrorbay status --check && echo fine']))
    .action(
      asks<{ watch?: boolean; check?: boolean }>((asking, { watch, check }) =>
        watch === true ? ask.watch(asking) : ask.status(asking, { check: check === true }),
      ),
    )
}

function addVolume(program: Command, asks: Asks): void {
  const volume = program.command('volume').description('Shared disks')
  volume
    .command('create')
    .description('Create a shared disk with a copy on this server and every connected one')
    .argument('<name>', 'for example office')
    .requiredOption('--size <size>', 'for example 500M, 200G or 1.5T (1G is 1024 x 1024 x 1024 bytes)')
    .addOption(
      new Option('--arbiter <kind>', 'who decides when servers lose sight of each other')
        .choices(['preferred', 'witness'])
        .default('preferred'),
    )
    .option('--preferred <server>', 'the server that may go on alone (default: this one)')
    .option('--folder <name>', 'the storage folder of this server for its copy (default: where most space is free)')
    .option(
      '--write-through',
      'every write is on all disks before it is answered (slower; for programs that never flush)',
    )
    .addHelpText(
      'after',
      examples([
        'mirrorbay volume create office --size 200G',
        'mirrorbay volume create office --size 1.5T --arbiter witness',
      ]),
    )
    .action(
      asks<Omit<ask.CreateOptions, 'name'>>((asking, options, [name = '']) =>
        ask.createVolume(asking, { ...options, name }),
      ),
    )
  volume
    .command('list')
    .description('The shared disks of this server')
    .action(asks((asking) => ask.listVolumes(asking)))
  addVolumeLife(volume, asks)
}

function addFolder(program: Command, asks: Asks): void {
  const command = program
    .command('folder')
    .description('Storage folders of this server: one on each of its disks; a disk that fails takes only its own down')
  command
    .command('list')
    .description('The storage folders, their state, free space and what lies in them')
    .addHelpText('after', '\nExit codes: 0 all can be used, 1 some cannot, 2 could not be asked.')
    .action(asks((asking) => folder.listFolders(asking)))
  command
    .command('add')
    .description('Use a folder on another disk, too')
    .argument('<name>', 'for example disk2')
    .argument('<path>', 'for example /mnt/disk2/mirrorbay; best a folder inside the mount point')
    .option('--take-over', 'the folder holds data of this server, and that is to be used')
    .addHelpText('after', examples(['mirrorbay folder add disk2 /mnt/disk2/mirrorbay']))
    .action(
      asks<{ takeOver?: boolean }>((asking, { takeOver }, [name = '', path = '']) =>
        folder.addFolder(asking, { name, path, takeOver: takeOver === true }),
      ),
    )
  command
    .command('remove')
    .description('Use a folder no more in which nothing lies; its files stay')
    .argument('<name>')
    .action(asks((asking, _options, [name = '']) => folder.removeFolder(asking, name)))
  command
    .command('retry')
    .description('Look at once whether a missing folder is back (by itself every few seconds)')
    .argument('<name>')
    .action(asks((asking, _options, [name = '']) => folder.retryFolder(asking, name)))
}

const seconds = (text: string): number => {
  const value = Number(text)
  // Timers of node hold at most 2^31 milliseconds.
  if (!(value > 0) || value > 2_000_000) throw new InvalidArgumentError('Write a number of seconds, for example 60.')
  return value
}

function addScrub(program: Command, asks: Asks): void {
  program
    .command('scrub')
    .description('Read all that every server holds, to find and repair what disks have changed (by itself once a week)')
    .argument('<volume>', 'for example office')
    .option('--stop', 'end the run under way')
    .addHelpText('after', examples(['mirrorbay scrub office', 'mirrorbay scrub office --stop']))
    .action(
      asks<Omit<ask.ScrubOptions, 'volume'>>((asking, options, [volume = '']) =>
        ask.scrub(asking, { ...options, volume }),
      ),
    )
}

function addResync(program: Command, asks: Asks): void {
  type Options = { pause?: boolean; continue?: boolean; wait?: boolean; timeout: number }
  program
    .command('resync')
    .description('Bring the copy that is out of date back: now; or pause or continue it')
    .argument('<volume>')
    .addOption(new Option('--pause', 'stop copying for now').conflicts(['continue', 'wait']))
    .option('--continue', 'go on copying')
    .option('--wait', 'stay until every copy is complete')
    .option('--timeout <seconds>', 'with --wait: stay at most so long', seconds, 86_400)
    .addHelpText('after', examples(['mirrorbay resync office --wait', 'mirrorbay resync office --pause']))
    .action(
      asks<Options>((asking, options, [volume = '']) =>
        ask.resync(asking, {
          volume,
          action: options.pause === true ? 'pause' : options.continue === true ? 'continue' : 'now',
          wait: options.wait === true,
          timeoutSeconds: options.timeout,
        }),
      ),
    )
}

function addPriority(program: Command, asks: Asks): void {
  program
    .command('priority')
    .description('Who has write priority: where this server may write without asking another one, and what waits')
    .argument('[volume]', 'only this shared disk')
    .addHelpText('after', examples(['mirrorbay priority', 'mirrorbay priority office --json']))
    .action(asks((asking, _options, [volume]) => showPriority(asking, volume)))
}

function addEvents(program: Command, asks: Asks): void {
  program
    .command('events')
    .description('What happened, oldest first')
    .option('--follow', 'stay and show new ones')
    .action(asks<{ follow?: boolean }>((asking, { follow }) => ask.events(asking, { follow: follow === true })))
}

function addSmall(program: Command, asks: Asks): void {
  program
    .command('stop')
    .description('Stop this server in good order: hand over, flush, end')
    .action(asks((asking) => ask.stop(asking)))
  program
    .command('console')
    .description('Print the address of the window for a browser on this machine; it contains a token, keep it private')
    .action(asks((asking) => ask.consoleAddress(asking)))
}

function addAgent(program: Command, terminal: Terminal, finished: (code: ExitCode) => void): void {
  program
    .command('agent')
    .description('Run the agent of this server until it is stopped')
    .addHelpText('after', examples(['mirrorbay agent --dir /srv/mirrorbay']))
    .action(async (_options: unknown, command: Command) => {
      const options = command.optsWithGlobals<GlobalOptions>()
      if (options.socket !== undefined) {
        throw badUsage(
          'The agent takes its socket from config.json.',
          'Set control.socket there, or leave out --socket.',
        )
      }
      finished(await runAgentHere(storageFolder(options, terminal), terminal, options.json === true))
    })
}

function addStore(program: Command, terminal: Terminal, finished: (code: ExitCode) => void): void {
  const store = program.command('store').description('The storage folder of a server whose agent does not run')
  store
    .command('check')
    .description('Hold every block that is stored here against its checksum; changes nothing')
    .addHelpText('after', examples(['mirrorbay store check --dir /srv/mirrorbay']))
    .addHelpText('after', '\nExit codes: 0 sound, 1 damaged blocks (listed), 2 could not be checked.')
    .action(async (_options: unknown, command: Command) => {
      const options = command.optsWithGlobals<GlobalOptions>()
      const dir = storageFolder(options, terminal)
      finished(await offline.checkStore({ dir, json: options.json === true }, terminal))
    })
  store
    .command('rebuild')
    .description('Make a lost or damaged index anew from the data files; everything here is in doubt then')
    .option('--yes', 'do not ask')
    .addHelpText('after', examples(['mirrorbay store rebuild --dir /srv/mirrorbay']))
    .addHelpText('after', '\nExit codes: 0 rebuilt, 1 you said no, 2 could not be rebuilt.')
    .action(async (_options: unknown, command: Command) => {
      const options = command.optsWithGlobals<GlobalOptions & { yes?: boolean }>()
      const dir = storageFolder(options, terminal)
      finished(await offline.rebuildStore({ dir, json: options.json === true, yes: options.yes === true }, terminal))
    })
}

function addInit(program: Command, terminal: Terminal, finished: (code: ExitCode) => void): void {
  type Options = GlobalOptions & {
    name: string
    role: 'storage' | 'tiebreaker'
    host: string
    port: string
    peer: string[]
    witness: string[]
    secretFile?: string
    nbdHost: string
    nbdPort?: string
    nbdSocket?: string
    consolePort?: string
    takeOver?: boolean
  }
  const collect = (text: string, before: string[]) => [...before, text]
  program
    .command('init')
    .description('Set up a new server: check and write its config.json')
    .requiredOption('--name <name>', 'the name of this server')
    .addOption(new Option('--role <role>', 'what it does').choices(['storage', 'tiebreaker']).default('storage'))
    .option('--host <address>', 'where other servers reach it', '127.0.0.1')
    .option('--port <port>', 'where other servers reach it', '7400')
    .option('--peer <name=host:port>', 'another storage server; may be repeated', collect, [])
    .option('--witness <name=host:port>', 'the tiebreaker', collect, [])
    .option('--secret-file <file>', 'a file with the secret that all servers share (default: a new secret)')
    .option('--nbd-host <address>', 'where clients reach its disks', '127.0.0.1')
    .option('--nbd-port <port>', 'where clients reach its disks (default: 10809)')
    .option('--nbd-socket <path>', 'a Unix socket for clients on this machine')
    .option('--console-port <port>', 'the port of the window for a browser (default: any free one)')
    .option('--take-over', 'the folder holds the data of a server, and this is to be that server again')
    .addHelpText(
      'after',
      examples(['mirrorbay init --dir /srv/mirrorbay --name nas-1 --host 192.168.1.11 --peer nas-2=192.168.1.12:7400']),
    )
    .action(async (_options: unknown, command: Command) => {
      const { peer, witness, json, takeOver, ...options } = command.optsWithGlobals<Options>()
      const dir = storageFolder(options, terminal)
      const flags = { json: json === true, takeOver: takeOver === true }
      finished(await init({ ...options, ...flags, dir, peers: peer, witnesses: witness }, terminal))
    })
}
