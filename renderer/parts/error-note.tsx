import { IconAlertCircle } from '@tabler/icons-react'
import type { ErrorBody } from '../../agent/contract/errors.ts'
import css from './error-note.module.css'

/** A refusal in three sentences: what happened, whether the data is safe, what to do next. */
export function ErrorNote(props: { error: ErrorBody }) {
  return (
    <div className={css.note} role="alert">
      <IconAlertCircle size={20} aria-hidden />
      <div>
        <p className={css.happened}>{props.error.happened}</p>
        <p>
          {props.error.dataIsSafe} {props.error.next}
        </p>
      </div>
    </div>
  )
}
