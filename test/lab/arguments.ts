/** `lab --help`: one table makes the help and the parsing. */
import { parseArgs } from 'node:util'
import { CouldNot, messageOf } from './answer.ts'

interface OptionShape {
  readonly type: 'string' | 'boolean'
  readonly default?: string | boolean
  readonly value?: string
  readonly help: string
}

interface CommandShape {
  /** Names of the words after the command, in order; one in brackets may be missing. */
  readonly words: readonly string[]
  readonly help: string
  readonly options: Readonly<Record<string, OptionShape>>
}

const timeout = (seconds: string): OptionShape => ({
  type: 'string',
  default: seconds,
  value: 'S',
  help: `give up after S seconds (${seconds})`,
})

export const commands = {
  up: {
    words: ['DIR'],
    help: 'start servers a and b (and c) with one shared disk, wait until it is Protected, print one JSON line',
    options: {
      servers: { type: 'string', default: '2', value: 'N', help: 'storage servers: 2 or 3 (the third is c)' },
      witness: { type: 'boolean', default: false, help: 'add a witness; without it a is preferred' },
      size: { type: 'string', default: '1G', value: 'SIZE', help: 'size of the disk, as 512M or 1G' },
      volume: { type: 'string', default: 'disk', value: 'NAME', help: 'its name' },
      folders: { type: 'string', default: '0', value: 'N', help: 'storage folders of each server beside its main one' },
      client: { type: 'string', default: 'tcp', value: 'tcp|unix', help: 'which address stands under "nbd"' },
      timeout: timeout('60'),
    },
  },
  kill: {
    words: ['DIR', 'SERVER'],
    help: 'send a signal to a server (a, b, c or witness); waits for its end when the signal ends it',
    options: { signal: { type: 'string', default: 'KILL', value: 'NAME', help: 'KILL, TERM, STOP, CONT…' } },
  },
  start: {
    words: ['DIR', 'SERVER'],
    help: 'start a server again, with its folder and ports, and wait until it answers',
    options: { timeout: timeout('30') },
  },
  stop: {
    words: ['DIR', 'SERVER'],
    help: 'planned stop: the server hands over, flushes and ends',
    options: { timeout: timeout('60') },
  },
  wait: {
    words: ['DIR'],
    help: 'wait for a headline: at every living server for Protected, at any one for the others',
    options: {
      headline: { type: 'string', default: 'Protected', value: 'WORDS', help: 'e.g. "One copy", Waiting (Protected)' },
      timeout: timeout('60'),
    },
  },
  grow: {
    words: ['DIR', 'SERVER', 'SIZE'],
    help: 'ask a server to make the shared disk larger, to SIZE',
    options: {},
  },
  delete: {
    words: ['DIR', 'SERVER'],
    help: 'ask a server to delete the shared disk: offered to nobody, kept for some days',
    options: {},
  },
  restore: {
    words: ['DIR', 'SERVER'],
    help: 'ask a server to bring the deleted shared disk back',
    options: {
      as: { type: 'string', value: 'NAME', help: 'under another name, which the lab calls it by from then on' },
    },
  },
  purge: {
    words: ['DIR', 'SERVER'],
    help: 'ask a server to remove the deleted shared disk for good; waits until it is gone there',
    options: {
      wipe: { type: 'boolean', default: false, help: 'every byte is overwritten first' },
      timeout: timeout('60'),
    },
  },
  snapshot: {
    words: ['DIR', 'SERVER', 'NAME'],
    help: 'ask a server to make a snapshot of the shared disk; it is the export DISK@NAME everywhere',
    options: { delete: { type: 'boolean', default: false, help: 'delete that snapshot instead' } },
  },
  equal: {
    words: ['DIR'],
    help: 'compare the in-sync copies and their snapshots, read from the stores themselves; running servers hold writes meanwhile',
    options: {},
  },
  status: {
    words: ['DIR'],
    help: 'what runs and what each server says',
    options: { json: { type: 'boolean', default: false, help: 'the whole truth, for programs' } },
  },
  cut: {
    words: ['DIR', 'SERVER', 'SERVER2'],
    help: 'cut the link between two servers',
    options: {
      'one-way': { type: 'boolean', default: false, help: 'only what the first one sends is lost' },
      path: { type: 'string', value: 'lan|dedicated', help: 'only this path' },
    },
  },
  heal: { words: ['DIR'], help: 'undo every cut', options: {} },
  fault: {
    words: ['DIR', 'SERVER', 'FAULT'],
    help: 'disk-fail | disk-full | slow=MS | bitflip=OFFSET | off',
    options: {
      folder: { type: 'string', value: 'NAME', help: 'only this storage folder, as disk1 (main: the first)' },
    },
  },
  down: {
    words: ['DIR'],
    help: 'end all agents of the lab and remove what it made',
    options: { keep: { type: 'boolean', default: false, help: 'leave the folders and logs' } },
  },
} as const satisfies Record<string, CommandShape>

export type CommandName = keyof typeof commands

export interface Invocation {
  readonly command: CommandName
  /** By the names in the table. */
  readonly words: Readonly<Record<string, string>>
  /** @throws CouldNot for an option that the command does not have */
  text(option: string): string | undefined
  flag(option: string): boolean
}

const isCommand = (name: string): name is CommandName => Object.hasOwn(commands, name)

/** @returns null when help was asked for. @throws CouldNot with a sentence about what is wrong */
export function parseInvocation(argv: readonly string[]): Invocation | null {
  const [name, ...rest] = argv
  if (name === undefined || rest.includes('--help') || ['--help', '-h', 'help'].includes(name)) return null
  if (!isCommand(name)) throw new CouldNot(`there is no "${name}"; try --help`)
  const shape: CommandShape = commands[name]
  const options = Object.fromEntries(
    Object.entries(shape.options).map(([option, of]) => [
      option,
      of.default === undefined ? { type: of.type } : { type: of.type, default: of.default },
    ]),
  )
  let parsed: { values: Record<string, unknown>; positionals: string[] }
  try {
    parsed = parseArgs({ args: rest, options, allowPositionals: true, strict: true })
  } catch (failure) {
    throw new CouldNot(`${name}: ${messageOf(failure)}`)
  }
  const usage = `${name} ${shape.words.join(' ')}`
  if (parsed.positionals.length !== shape.words.length) {
    throw new CouldNot(`${name} takes ${shape.words.length} words, not ${parsed.positionals.length}: ${usage}`)
  }
  const words = Object.fromEntries(shape.words.map((word, index) => [word, parsed.positionals[index] ?? '']))
  return {
    command: name,
    words,
    text: (option) => {
      const value = parsed.values[option]
      return typeof value === 'string' ? value : undefined
    },
    flag: (option) => parsed.values[option] === true,
  }
}

export function helpText(): string {
  const lines = ['npm run -s lab -- COMMAND', '']
  lines.push(
    'Real agents on this machine, for tests, measurements and curious people. Exit: 0 yes, 1 no, 2 could not.',
    '',
  )
  for (const [name, shape] of Object.entries<CommandShape>(commands)) {
    lines.push(`  ${[name, ...shape.words].join(' ')}`, `      ${shape.help}`)
    for (const [option, of] of Object.entries(shape.options)) {
      lines.push(`      --${option}${of.value === undefined ? '' : ` ${of.value}`}  ${of.help}`)
    }
  }
  return lines.join('\n')
}

/** @throws CouldNot when the text is not a number of seconds between 0 and a day. */
export function secondsIn(text: string | undefined, option: string): number {
  const seconds = Number(text)
  if (text === undefined || text.trim() === '' || !(seconds >= 0 && seconds <= 86_400)) {
    throw new CouldNot(`--${option} takes seconds, not "${text ?? ''}"`)
  }
  return seconds
}
