/** A lab whose two servers, witness and clients are machines of a network of their own. */
import { type LabOptions, type TestLab, withLab } from '../kit/lab.ts'
import { needs } from '../kit/needs.ts'
import { mustRun } from '../kit/tools.ts'
import { RemoteLoad } from './load.ts'
import { Network } from './network.ts'

const machines = ['a', 'b', 'witness', 'client'] as const

export const needsNetwork = needs('root', 'network namespaces', 'ip', 'tc', 'nsenter', 'qemu-io')

/** How long a step may take on a busy two-core machine, milliseconds. */
export const stepMs = 30_000
/** The longest that a survivor's client may wait: lease, 5 %, the arbiter, forming, and a busy machine. */
export const stallMs = 8_000

/** @throws what the test throws; agents and network are gone then, too */
export async function withNetworkLab(
  options: Omit<LabOptions, 'places' | 'witness'>,
  use: (lab: TestLab, network: Network) => Promise<void>,
): Promise<void> {
  const network = Network.lay(machines)
  try {
    const places = network.places('a', 'b', 'witness')
    await withLab({ ...options, witness: true, places }, (lab) => use(lab, network))
  } finally {
    network.remove()
  }
}

/** qemu-io on the clients' machine: commands as `write -P 0x41 0 1M`. @throws when one of them failed */
export function qemuIoThere(network: Network, uri: string, commands: readonly string[]): Promise<string> {
  const [program = '', ...words] = network.enter('client')
  const each = commands.flatMap((command) => ['-c', command])
  return mustRun(program, [...words, 'qemu-io', '-f', 'raw', ...each, uri])
}

/**
 * Clients on a machine of their own, at both servers.
 * @param local servers whose clients run at the server itself, over its Unix socket: a pulled cable leaves them there
 */
export function loadOn(
  lab: TestLab,
  network: Network,
  of: { seed: number; local?: readonly ('a' | 'b')[] },
): Promise<RemoteLoad> {
  const uriOf = (name: 'a' | 'b') => (of.local?.includes(name) ? lab.unixUri(name) : lab.uri(name))
  const servers = (['a', 'b'] as const).map((name) => ({ name, uri: uriOf(name) }))
  return RemoteLoad.begin(network.enter('client'), {
    servers,
    blocks: 512,
    connectionsPerServer: 2,
    depth: 4,
    seed: of.seed,
  })
}
