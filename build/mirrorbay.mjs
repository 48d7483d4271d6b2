#!/usr/bin/env node
/** The `mirrorbay` command: its program is agent/cli/main.ts, started under the right Node (see launch.mjs). */
import { join } from 'node:path'
import { launch, root } from './launch.mjs'

launch([join(root, 'agent', 'cli', 'main.ts'), ...process.argv.slice(2)])
