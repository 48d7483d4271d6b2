#!/usr/bin/env node
/** `node build/run.mjs TOOL-OR-SCRIPT ARGUMENTS`: every npm script goes through here (see launch.mjs). */
import { launch } from './launch.mjs'

launch(process.argv.slice(2))
