/**
 * What the demo shows, step by step. Each step does something and then proves it by reading bytes; what it returns is
 * said behind its line.
 */
import { formatBytes } from '../../agent/contract/sizes.ts'
import type { Answer } from './answer.ts'
import { eventsOf } from './api.ts'
import { equal } from './equal.ts'
import { wait } from './lab.ts'
import { tcpUri } from './layout.ts'
import { kill, start } from './members.ts'
import { Pulse } from './pulse.ts'
import type { Piece, RealClient } from './real-client.ts'
import { type LabState, memberNamed } from './state.ts'

export interface Step {
  readonly words: string
  /** @returns what was measured, for people @throws when anything is not as it must be */
  run(): Promise<string>
}

const MiB = 1024 * 1024
/** A restarted server first waits, then is compared, then joins. */
const backMs = 60_000

/** The part of the disk that the pulses write. */
const pulseBlocks = 256

/** Stretches of a few MiB each, so that every step changes other bytes than the ones before. */
const piecesOf = (step: number): Piece[] =>
  [0, 1, 2, 3].map((index) => ({
    offsetBytes: (step * 32 + index * 8) * MiB,
    lengthBytes: 4 * MiB,
    fill: step * 16 + index + 1,
  }))

const sizeOf = (pieces: readonly Piece[]): string =>
  formatBytes(pieces.reduce((sum, piece) => sum + piece.lengthBytes, 0))

const seconds = (ms: number): string => `${(ms / 1000).toFixed(1)} s`

function must(answer: Answer): void {
  if (!answer.yes) throw new Error(answer.says)
}

export function story(state: LabState, client: RealClient): readonly Step[] {
  const uri = (name: 'a' | 'b') => tcpUri(memberNamed(state, name), state.volume.name)
  const [atA, atB, whileBAway, whileAAway] = [piecesOf(0), piecesOf(1), piecesOf(2), piecesOf(3)]
  const pulsePlace = (number: number) => ({
    firstByte: state.volume.sizeBytes - number * pulseBlocks * 4096,
    blocks: pulseBlocks,
  })
  const pulses: Pulse[] = []

  /** Kills one server under the eyes of a client that writes at the other. */
  async function killUnderPulse(victim: 'a' | 'b', survivor: 'a' | 'b'): Promise<string> {
    const pulse = await Pulse.begin(uri(survivor), pulsePlace(pulses.length + 1))
    pulses.push(pulse)
    const before = pulse.writes
    must(await kill(state, victim, 'KILL'))
    must(await wait(state, 'One copy', backMs))
    await client.write(uri(survivor), victim === 'b' ? whileBAway : whileAAway)
    await pulse.end()
    if (pulse.writes === before) throw new Error(`the client at ${survivor.toUpperCase()} did not get on`)
    await pulse.verify(uri(survivor))
    return `${pulse.writes - before} more writes, no error; the longest waited ${seconds(pulse.longestMs)}`
  }

  async function comeBack(name: 'a' | 'b', other: 'a' | 'b'): Promise<string> {
    must(await start(state, name, backMs))
    must(await wait(state, 'Protected', backMs))
    const joined = (await eventsOf(memberNamed(state, other))).findLast((event) => event.kind === 'server-joined')
    const moved = joined?.details.movedBytes
    return typeof moved === 'number' ? `${formatBytes(moved)} copied, nothing more` : 'in sync again'
  }

  return [
    {
      words: 'A client writes at server A; another reads the same bytes at server B',
      run: async () => {
        await client.write(uri('a'), atA)
        await client.verify(uri('b'), atA)
        return sizeOf(atA)
      },
    },
    {
      words: 'Now the other way: written at B, read at A',
      run: async () => {
        await client.write(uri('b'), atB)
        await client.verify(uri('a'), atB)
        return sizeOf(atB)
      },
    },
    { words: 'Server B is killed (kill -9) while a client writes at A', run: () => killUnderPulse('b', 'a') },
    { words: 'Server B comes back and catches up', run: () => comeBack('b', 'a') },
    {
      words: 'B shows everything, also what was written while it was away',
      run: async () => {
        const all = [...atA, ...atB, ...whileBAway]
        await client.verify(uri('b'), all)
        for (const pulse of pulses) await pulse.verify(uri('b'))
        return sizeOf(all)
      },
    },
    { words: 'Server A is killed while a client writes at B', run: () => killUnderPulse('a', 'b') },
    {
      words: "A's data is read through B, and B has what was written since",
      run: async () => {
        const all = [...atA, ...atB, ...whileBAway, ...whileAAway]
        await client.verify(uri('b'), all)
        return sizeOf(all)
      },
    },
    { words: 'Server A comes back and catches up', run: () => comeBack('a', 'b') },
    {
      words: 'A shows everything, too',
      run: async () => {
        const all = [...atA, ...atB, ...whileBAway, ...whileAAway]
        await client.verify(uri('a'), all)
        for (const pulse of pulses) await pulse.verify(uri('a'))
        return sizeOf(all)
      },
    },
    {
      words: 'The two copies are compared, byte by byte, on the disks themselves',
      run: async () => {
        const answer = await equal(state)
        must(answer)
        return answer.says
      },
    },
  ]
}
