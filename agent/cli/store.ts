/**
 * `mirrorbay store …`: work on a storage folder while no agent runs there. The agent's program does it; what it exports
 * for this is described here, since the command line may not import it (HOUSE's table).
 */
import { formatBytes, formatSize } from '../contract/sizes.ts'
import { badUsage, type ExitCode, exitCode, printError, type Terminal } from './terminal.ts'

type Told = (doneBytes: number, totalBytes: number) => void

interface VolumeFacts {
  readonly id: string
  readonly sizeBytes: number
}

interface RebuildReport {
  readonly volumes: readonly (VolumeFacts & { readonly allocatedBytes: number })[]
  readonly doubtfulSlots: number
  readonly damaged: readonly { readonly path: string; readonly offsetBytes: number; readonly what: string }[]
  readonly damagedCount: number
  readonly hadIndex: boolean
}

interface CheckReport {
  readonly volumes: readonly (VolumeFacts & { readonly checkedBytes: number; readonly doubtfulBytes: number })[]
  readonly bad: readonly {
    readonly volumeId: string
    readonly image: string | null
    readonly offsetBytes: number
    readonly why: 'checksum' | 'unreadable'
    readonly place: { readonly path: string; readonly offsetBytes: number } | null
  }[]
  readonly badCount: number
}

interface OfflineProgram {
  rebuildStore(options: {
    dir: string
    told: Told
    confirm: (report: RebuildReport) => Promise<boolean>
  }): Promise<RebuildReport | null>
  checkStore(options: { dir: string; told: Told }): Promise<CheckReport>
  volumeNames(dir: string): Promise<ReadonlyMap<string, string>>
}

export interface StoreOptions {
  readonly dir: string
  readonly json: boolean
}

// Started by its address, as in run-agent.ts.
const offlineProgram = async () => (await import(new URL('../main.ts', import.meta.url).href)) as OfflineProgram

/** What takes shorter shows nothing, milliseconds; and how often the line is written anew. */
const quietMs = 1_000
const redrawMs = 200

function progressOf(what: string, { terminal, json }: { terminal: Terminal; json: boolean }) {
  const startMs = terminal.wallMs()
  let shownMs = startMs + quietMs - redrawMs
  let isShown = false
  const told: Told = (doneBytes, totalBytes) => {
    const nowMs = terminal.wallMs()
    if (json || !terminal.isTerminal || nowMs - shownMs < redrawMs) return
    shownMs = nowMs
    isShown = true
    const percent = Math.floor((100 * doneBytes) / Math.max(1, totalBytes))
    terminal.out(`\r\x1b[2K${what}: ${percent} % of ${formatBytes(totalBytes)}`)
  }
  const end = () => {
    if (isShown) terminal.out('\r\x1b[2K')
    isShown = false
  }
  return { told, end }
}

const line = (value: unknown): string => `${JSON.stringify(value)}\n`

/** Exit: 0 it is rebuilt, 1 the person said no, 2 it could not be rebuilt. */
export async function rebuildStore(options: StoreOptions & { yes: boolean }, terminal: Terminal): Promise<ExitCode> {
  const { dir, json, yes } = options
  if (!yes && (json || terminal.ask === undefined)) {
    throw badUsage(
      'Rebuilding puts everything in this storage folder in doubt, and nobody is there to be asked.',
      'Add --yes if that is what you want.',
    )
  }
  const progress = progressOf('Reading the headers', { terminal, json })
  try {
    const program = await offlineProgram()
    const names = await program.volumeNames(dir)
    const confirm = async (found: RebuildReport): Promise<boolean> => {
      progress.end()
      if (yes || terminal.ask === undefined) return true
      terminal.out(rebuildWords(found, names))
      const said = await terminal.ask(`${question(found)} [y/N] `)
      return /^y(es)?$/i.test(said.trim())
    }
    const report = await program.rebuildStore({ dir, told: progress.told, confirm })
    progress.end()
    if (report === null) {
      terminal.out('Nothing was changed.\n')
      return exitCode.no
    }
    if (json) terminal.out(line({ ...report, volumes: named(report.volumes, names) }))
    else terminal.out(`${yes ? rebuildWords(report, names) : ''}${rebuiltWords(dir)}`)
    return exitCode.yes
  } catch (error) {
    progress.end()
    printError(error, terminal, json)
    return exitCode.couldNot
  }
}

const rebuiltWords = (
  dir: string,
): string => `The index is rebuilt. Everything here is in doubt now: once the agent runs, it is compared with the other server in full.
Start it with: mirrorbay agent --dir ${dir}\n`

const question = (found: RebuildReport): string =>
  found.hadIndex
    ? 'There is an index. Replace it by this, and put everything here in doubt?'
    : 'Make the index of this, and put everything here in doubt?'

const nameOf = (id: string, names: ReadonlyMap<string, string>): string => names.get(id) ?? `volume ${id}`

const named = <Facts extends VolumeFacts>(volumes: readonly Facts[], names: ReadonlyMap<string, string>) =>
  volumes.map((volume) => ({ ...volume, name: names.get(volume.id) ?? null }))

function rebuildWords(report: RebuildReport, names: ReadonlyMap<string, string>): string {
  const { volumes, damaged, damagedCount } = report
  const lines = volumes.map(
    ({ id, sizeBytes, allocatedBytes }) =>
      `${nameOf(id, names)} (${formatSize(sizeBytes)}): ${formatBytes(allocatedBytes)} found in the data files`,
  )
  if (volumes.length === 0) lines.push('No volume was found in the data files.')
  else lines.push('Images of volumes are not kept by a rebuild: here they are gone afterwards.')
  if (damagedCount > 0) lines.push(`Damaged headers: ${damagedCount}. What they held reads as zeros here.`)
  for (const { path, offsetBytes, what } of damaged) lines.push(`  ${path} at byte ${offsetBytes}: ${what}`)
  if (damagedCount > damaged.length) lines.push(`  and ${damagedCount - damaged.length} more`)
  return `${lines.join('\n')}\n`
}

/** Exit: 0 every block fits its checksum, 1 some do not, 2 it could not be found out. */
export async function checkStore({ dir, json }: StoreOptions, terminal: Terminal): Promise<ExitCode> {
  const progress = progressOf('Checking', { terminal, json })
  try {
    const program = await offlineProgram()
    const names = await program.volumeNames(dir)
    const report = await program.checkStore({ dir, told: progress.told })
    progress.end()
    const isSound = report.badCount === 0
    if (json) terminal.out(line({ sound: isSound, ...report, volumes: named(report.volumes, names) }))
    else terminal.out(checkWords(report, names))
    return isSound ? exitCode.yes : exitCode.no
  } catch (error) {
    progress.end()
    printError(error, terminal, json)
    return exitCode.couldNot
  }
}

const badWords = { checksum: 'does not fit its checksum', unreadable: 'cannot be read' } as const

function checkWords(report: CheckReport, names: ReadonlyMap<string, string>): string {
  const { volumes, bad, badCount } = report
  const lines = volumes.map(({ id, sizeBytes, checkedBytes, doubtfulBytes }) => {
    const doubt =
      doubtfulBytes === 0 ? '' : `; ${formatBytes(doubtfulBytes)} in doubt since an unclean end were not checked`
    return `${nameOf(id, names)} (${formatSize(sizeBytes)}): ${formatBytes(checkedBytes)} checked${doubt}`
  })
  for (const { volumeId, image, offsetBytes, why, place } of bad) {
    const of = image === null ? nameOf(volumeId, names) : `${nameOf(volumeId, names)}, image ${image}`
    const where = place === null ? '' : ` (${place.path} at byte ${place.offsetBytes})`
    lines.push(`${of}: the block at byte ${offsetBytes} ${badWords[why]}${where}`)
  }
  if (badCount > bad.length) lines.push(`and ${badCount - bad.length} more`)
  lines.push(badCount === 0 ? 'Every checked block is sound.' : `Damaged blocks: ${badCount}.`)
  return `${lines.join('\n')}\n`
}
