/** What a server that is not in sync and its host tell each other beside `pass` and `passed` (link/messages.ts). */
import { z } from 'zod'
import type { ServerId } from '../kit/ids.ts'
import { count, volumeField } from '../membership/messages.ts'

const volume = volumeField

export const hostMessages = {
  /** "Do you serve it?" From a server whose replica is not in sync, to every other one with a replica. */
  'host.find': z.object({ volume }),
  /** To every server whose replica is not in sync: "I serve it in this session"; 0: not now. With the sender's own time. */
  'host.offer': z.object({ volume, session: count, sizeBytes: count, sentMs: count }),
  /** W9: "are the connections still open whose requests you passed?" With the host's own time. */
  'host.ask': z.object({ volume, sentMs: count }),
  /** "All but those that I called closed before, on this stream": the question's time comes back. */
  'host.alive': z.object({ volume, heardMs: count }),
  /** W9: a client's connection is closed: nothing of it starts any more. */
  'host.closed': z.object({ volume, connection: count }),
  /** W8: "what became of these writes of my run?" With the session in which each began executing. */
  'outcome.ask': z.object({ volume, writes: z.array(z.object({ number: count, session: count })).max(4_096) }),
  'outcome.answer': z.object({
    volume,
    writes: z.array(z.object({ number: count, outcome: z.enum(['applied', 'barred', 'unknown']) })).max(4_096),
  }),
} as const

export type HostMessageKind = keyof typeof hostMessages
/** A message as its sender gives it: the volume is added on the way. */
export type HostBody<Kind extends HostMessageKind> = Omit<z.infer<(typeof hostMessages)[Kind]>, 'volume'>
export type HostSend = <Kind extends HostMessageKind>(to: ServerId, kind: Kind, body: HostBody<Kind>) => void

export const isHostKind = (kind: string): kind is HostMessageKind => Object.hasOwn(hostMessages, kind)
