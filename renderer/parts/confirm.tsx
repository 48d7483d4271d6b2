import { Button, TextInput } from '@mantine/core'
import { type FormEvent, type ReactNode, useState } from 'react'
import css from './confirm.module.css'

/**
 * The question before something that cannot be taken back easily. Cancel has the focus, so that Enter does no harm.
 */
export function Confirm(props: {
  /** What is asked, for a screen reader. */
  title: string
  children: ReactNode
  /** What has to be typed; null: nothing. */
  typed: string | null
  /** On the button: the verb, and what it is done to. */
  verb: string
  busy: boolean
  onCancel: () => void
  onConfirm: () => void
}) {
  const [text, setText] = useState('')
  const isTyped = props.typed === null || text.trim() === props.typed
  const submit = (event: FormEvent) => {
    event.preventDefault()
    if (isTyped) props.onConfirm()
  }
  return (
    <form className={css.box} aria-label={props.title} onSubmit={submit}>
      {props.children}
      {props.typed !== null && (
        <TextInput
          label={`Type ${props.typed} to go on`}
          value={text}
          onChange={(event) => setText(event.currentTarget.value)}
          autoComplete="off"
          spellCheck={false}
        />
      )}
      <div className={css.buttons}>
        <Button variant="default" onClick={props.onCancel} autoFocus>
          Cancel
        </Button>
        <Button type="submit" color="stop" disabled={!isTyped} loading={props.busy}>
          {props.verb}
        </Button>
      </div>
    </form>
  )
}
