/** The kinds of images a power cut may leave, each from a seed. */
import type { Category, Choices } from './recorded-disk.ts'

type Writes = Parameters<Choices['writes']>[0]
type Unit = () => number

const categories: readonly (Category | 'index')[] = ['records', 'marks', 'headers', 'sums', 'data', 'names', 'index']
const all = () => true

/** Each unsynced write whole or not at all. */
function whole(of: Writes, isKept: (write: Writes[number], at: number) => boolean): ReturnType<Choices['writes']> {
  return of.filter(isKept).map((write) => ({ write, sectors: all }))
}

function shuffled<T>(of: readonly T[], unit: Unit): T[] {
  const left = [...of]
  const mixed: T[] = []
  while (left.length > 0) mixed.push(...left.splice(Math.floor(unit() * left.length), 1))
  return mixed
}

/** Every unsynced sector for itself, with a chance, in any order of writes. */
const torn = (share: number) => (unit: Unit) => ({
  writes: (of: Writes) => shuffled(of, unit).map((write) => ({ write, sectors: () => unit() < share })),
  name: (count: number) => Math.floor(unit() * count),
  commits: (count: number) => Math.floor(unit() * (count + 1)),
})

/** All of some kinds of bytes, nothing of the others. */
const someKinds = (unit: Unit): Choices => {
  const kept = new Set(categories.filter(() => unit() < 0.5))
  return {
    writes: (of) => whole(of, ({ category }) => kept.has(category)),
    name: (count) => (kept.has('names') ? count - 1 : 0),
    commits: (count) => (kept.has('index') ? count : 0),
  }
}

/** All but one kind. */
const oneKind = (isKept: boolean) => (unit: Unit) => {
  const kind = categories[Math.floor(unit() * categories.length)]
  return {
    writes: (of: Writes) => whole(of, ({ category }) => (category === kind) === isKept),
    name: (count: number) => ((kind === 'names') === isKept ? count - 1 : 0),
    commits: (count: number) => ((kind === 'index') === isKept ? count : 0),
  }
}

/** A disk that takes writes in order, up to some instant; or the newest first. */
const inOrder = (isNewest: boolean) => (unit: Unit) => {
  const share = unit()
  return {
    writes: (of: Writes) => {
      const split = Math.floor(of.length * share)
      return whole(of, (_, at) => at < split !== isNewest)
    },
    name: (count: number) => Math.floor(share * count),
    commits: (count: number) => Math.floor(share * (count + 1)),
  }
}

const single = (isKept: boolean) => (unit: Unit) => ({
  writes: (of: Writes) => {
    const one = Math.floor(unit() * of.length)
    return whole(of, (_, at) => (at === one) === isKept)
  },
  name: (count: number) => (isKept ? 0 : count - 1),
  commits: (count: number) => (isKept ? 0 : count),
})

export const powerCuts: Readonly<Record<string, (unit: Unit) => Choices>> = {
  'nothing unsynced': () => ({ writes: () => [], name: () => 0, commits: () => 0 }),
  everything: () => ({ writes: (of) => whole(of, all), name: (count) => count - 1, commits: (count) => count }),
  'half of all sectors': torn(0.5),
  'few sectors': torn(0.1),
  'nearly all sectors': torn(0.95),
  'whole writes': (unit) => ({ ...torn(0.5)(unit), writes: (of) => whole(shuffled(of, unit), () => unit() < 0.5) }),
  'some kinds of bytes': someKinds,
  'one kind of bytes': oneKind(true),
  'all but one kind of bytes': oneKind(false),
  'one write': single(true),
  'all but one write': single(false),
  'in order': inOrder(false),
  'the newest': inOrder(true),
}
