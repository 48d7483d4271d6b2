/** What servers tell each other about membership: schemas of the control messages' bodies. */
import { z } from 'zod'
import { type ConfigurationId, configurationId, type ServerId, serverId, type VolumeId, volumeId } from '../kit/ids.ts'
import { limits } from '../limits.ts'
import { configurationSchema } from './configuration.ts'
import { peerStoreSchema } from './record.ts'

const idText = z.string().regex(/^[0-9a-f]{32}$/)
export const serverField = idText.transform((text): ServerId => serverId(text))
export const volumeField = idText.transform((text): VolumeId => volumeId(text))
const configurationField = idText.transform((text): ConfigurationId => configurationId(text))
/** Integers of at most 48 bits travel on the links. */
export const count = z.number().int().min(0).max(281_474_976_710_655)

/** C7, W8: a write that its member does not know confirmed, and has applied. */
export const writeNameSchema = z.object({
  origin: serverField,
  run: count,
  number: count,
  /** Lamport time at which it began executing. */
  time: count,
  offsetBytes: count,
  lengthBytes: count.min(1),
})
export type WriteName = z.infer<typeof writeNameSchema>

/** Consecutive regions of one grade worse than sound (C2). */
export const doubtSchema = z.object({ first: count, last: count, grade: z.enum(['torn', 'lossy']) })
export type Doubt = z.infer<typeof doubtSchema>

/** E9: what a member tells when it has stopped serving and drained. */
export const tellSchema = z.object({
  /** Id of the configuration that it last opened; null before the first. */
  openedId: configurationField.nullable(),
  doubts: z.array(doubtSchema).max(20_000),
  /** C12: its lossy regions are an older copy: they lack also what was flushed. */
  older: z.boolean().optional(),
  names: z.array(writeNameSchema).max(20_000),
  /** Its Lamport clock. */
  time: count,
})
export type Tell = z.infer<typeof tellSchema>

const session = count
const inVolume = { volume: volumeField }

/** Kind of each message and the schema of its body. */
export const memberMessages = {
  /** E1: the sender's present configuration. */
  'member.configuration': z.object({ ...inVolume, configuration: configurationSchema }),
  /** C12: the sender's store, and what it remembers of the receiver's. */
  'member.store': z.object({
    ...inVolume,
    facts: z.object({ storeId: idText, life: idText, found: count, commits: count }),
    remembered: peerStoreSchema.nullable(),
    wantsAnswer: z.boolean(),
  }),
  /** E3, E7, E8: "I have stopped in every session of this configuration, and go on only in another one." */
  'member.leave': z.object({ ...inVolume, configurationId: configurationField, reason: z.string().max(40) }),
  'form.tell': z.object({ ...inVolume, configurationId: configurationField, tell: tellSchema, round: count }),
  'form.begin': z.object({
    ...inVolume,
    configurationId: configurationField,
    session,
    runs: z.array(z.object({ serverId: serverField, run: count })).max(limits.replicas),
  }),
  'form.ready': z.object({ ...inVolume, session }),
  'form.record': z.object({ ...inVolume, session, time: count }),
  'form.recorded': z.object({ ...inVolume, session }),
  'form.open': z.object({ ...inVolume, session }),
} as const

export type MemberMessageKind = keyof typeof memberMessages
export type MemberMessage<Kind extends MemberMessageKind> = z.infer<(typeof memberMessages)[Kind]>
/** A message as its sender gives it: the volume is added on the way. */
export type MemberBody<Kind extends MemberMessageKind> = Omit<MemberMessage<Kind>, 'volume'>
export type MemberHandlers = { readonly [Kind in MemberMessageKind]: (body: MemberBody<Kind>) => void }

/** @returns the body, checked, or null when it is none of this kind */
export function parseMemberMessage<Kind extends MemberMessageKind>(
  kind: Kind,
  body: unknown,
): MemberMessage<Kind> | null {
  const parsed = memberMessages[kind].safeParse(body)
  // The schema was chosen by the kind, so the data has that kind's shape; TypeScript cannot follow the table.
  return parsed.success ? (parsed.data as MemberMessage<Kind>) : null
}
