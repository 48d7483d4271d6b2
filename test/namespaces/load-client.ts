/** The process behind load.ts: runs the load where it was started, answers the questions of its parent, ends with it. */
import type { Violation } from '../kit/history.ts'
import { Load } from '../kit/load.ts'
import type { LoadAnswer, LoadQuestion } from './load.ts'

let load: Load | null = null

async function answer(question: LoadQuestion): Promise<readonly Violation[] | null> {
  if (question.ask === 'begin') {
    load = await Load.begin(question.options)
    return null
  }
  if (load === null) throw new Error('the load has not begun')
  return question.ask === 'stop' ? await load.stop(question.finallyReadAt) : null
}

function tell(violations: readonly Violation[] | null, failure: string | null): void {
  const reports = Object.fromEntries(load?.reports ?? [])
  const told: LoadAnswer = { reports, values: load?.history.size().values ?? 0, violations, failure }
  process.send?.(told)
}

process.on('message', (message) => {
  // The form that load.ts sends.
  answer(message as LoadQuestion).then(
    (violations) => tell(violations, null),
    (failure: unknown) => tell(null, failure instanceof Error ? failure.message : String(failure)),
  )
})
process.on('disconnect', () => process.exit(1))
