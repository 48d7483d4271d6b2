import { hash48 } from '../kit/hash.ts'
import type { ServerId } from '../kit/ids.ts'
import type { Configuration } from './configuration.ts'

/** One epoch and one run of each of its in-sync servers (E9); permissions, leases and mirror messages belong to it. */
export interface Session {
  /** 48 bits over configuration id and runs: the same vector is the same session. */
  readonly number: number
  readonly configuration: Configuration
  readonly runs: ReadonlyMap<ServerId, number>
  /** The in-sync servers but this one, ascending. */
  readonly others: readonly ServerId[]
}

export function makeSession(
  configuration: Configuration,
  runs: ReadonlyMap<ServerId, number>,
  self: ServerId,
): Session {
  const vector = configuration.inSync.map((server) => `${server}:${runs.get(server)}`)
  return {
    number: hash48(`${configuration.id} ${vector.join(' ')}`),
    configuration,
    runs,
    others: configuration.inSync.filter((server) => server !== self),
  }
}

/** @returns the server that leads the forming and orders copies: the lowest id of the set (E9). */
export function leaderOf(configuration: Configuration): ServerId {
  const [leader] = configuration.inSync
  // The schema refuses an empty set, so there is a first one; the fallback is for the type only.
  return leader ?? configuration.arbiter.serverId
}
