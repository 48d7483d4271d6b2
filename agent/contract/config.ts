/** An agent's configuration file (config.json in its storage folder). Parsed once, at start. */
import { z } from 'zod'

/** Names of servers and volumes: what fits a host name, an NBD export and a file name alike. */
export const nameText = z
  .string()
  .regex(/^[a-z0-9][a-z0-9._-]{0,62}$/, 'use 1 to 63 of: a-z 0-9 . _ - (starting with a letter or digit)')

const port = z.number().int().min(1).max(65_535)

export const agentConfig = z.strictObject({
  version: z.literal(1),
  name: nameText,
  /** `storage` holds replicas; `tiebreaker` (the witness) only keeps registers. */
  role: z.enum(['storage', 'tiebreaker']).default('storage'),
  link: z.strictObject({
    /** Loopback unless an administrator says otherwise: the link is authenticated but not yet encrypted. */
    host: z.string().min(1).default('127.0.0.1'),
    port,
    /** Shared by all servers of a cluster. */
    secret: z.string().min(16),
  }),
  /** The other servers. Both ends name each other. */
  peers: z
    .array(
      z.strictObject({
        name: nameText,
        role: z.enum(['storage', 'tiebreaker']).default('storage'),
        host: z.string().min(1),
        port,
      }),
    )
    .max(8)
    .default([]),
  nbd: z
    .strictObject({
      host: z.string().min(1).default('127.0.0.1'),
      /** Null: no TCP listener. */
      port: port.nullable().default(null),
      /** Path of a Unix socket; null: none. */
      unix: z.string().nullable().default(null),
    })
    .prefault({}),
  control: z
    .strictObject({
      /** Path of the API's Unix socket; null: api.sock in the storage folder. */
      socket: z.string().nullable().default(null),
      /** Loopback address of the console; null port: any free one, kept for later starts. */
      host: z.enum(['127.0.0.1', '::1']).default('127.0.0.1'),
      port: port.nullable().default(null),
    })
    .prefault({}),
})

export type AgentConfig = z.infer<typeof agentConfig>
