import { Button } from '@mantine/core'
import { IconCheck, IconCopy } from '@tabler/icons-react'
import { useEffect, useState } from 'react'
import css from './copy-line.module.css'

/** How long the button says that it copied, milliseconds. */
const saysSoMs = 2_000

/** A command with its button. Where the browser refuses the clipboard, the text is selected for the person to copy. */
export function CopyLine(props: { text: string; what: string }) {
  const [copied, setCopied] = useState<'no' | 'yes' | 'select'>('no')
  useEffect(() => {
    if (copied === 'no') return
    const timer = setTimeout(() => setCopied('no'), saysSoMs)
    return () => clearTimeout(timer)
  }, [copied])
  const id = `copy-${props.what.replaceAll(/\W+/g, '-')}`
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(props.text)
      setCopied('yes')
    } catch {
      const line = document.getElementById(id)
      if (line !== null) window.getSelection()?.selectAllChildren(line)
      setCopied('select')
    }
  }
  return (
    <div className={css.line}>
      <code className={css.text} id={id}>
        {props.text}
      </code>
      <Button
        size="compact-sm"
        variant="subtle"
        aria-label={`Copy ${props.what}`}
        leftSection={copied === 'yes' ? <IconCheck size={15} /> : <IconCopy size={15} />}
        onClick={() => void copy()}
      >
        <span aria-live="polite">{{ no: 'Copy', yes: 'Copied', select: 'Press Ctrl+C' }[copied]}</span>
      </Button>
    </div>
  )
}
