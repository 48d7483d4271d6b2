/** Aim: the real store and the simulator's keep the same promises. */
import { storeSuite } from './suite.ts'
import { bothWorlds } from './worlds.ts'

for (const { name, make } of bothWorlds) storeSuite(`store ${name}`, make)
