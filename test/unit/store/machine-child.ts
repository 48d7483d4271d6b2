/** The store of machine.test.ts in a process of its own, so that it can be killed: carries out what it is sent. */
import { UserError } from '../../../agent/kit/failure.ts'
import { StoreFaults } from '../../../agent/store/faults.ts'
import { openStore } from '../../../agent/store/open-store.ts'
import { type Answer, type Call, carryOut, show } from './machine-worlds.ts'
import { quiet, realClock } from './world.ts'

const faults = new StoreFaults()
const store = await openStore({ dir: process.argv[2] ?? '', clock: realClock, log: quiet, faults }).catch(
  (error: unknown) => {
    if (!(error instanceof UserError)) throw error
    process.send?.({ number: -1, refused: { code: error.code, happened: error.message } }, () => process.exit(0))
    return new Promise<never>(() => undefined)
  },
)
const tell = (number: number, answer: Answer) => process.send?.({ number, answer })

process.on('message', (message) => {
  const { number, call } = message as { number: number; call: Call } // of machine-worlds.ts
  const setFull = (isFull: boolean) => faults.set(isFull ? 'disk-full' : 'off')
  carryOut(store, call, setFull, (answer) => tell(number, answer))
})
// Nobody is left to hear it.
process.on('disconnect', () => process.exit(0))
tell(0, { failure: null, data: new Uint8Array(0), shown: show(store) })
