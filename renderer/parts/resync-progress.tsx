import { Button, Progress } from '@mantine/core'
import { IconPlayerPause, IconPlayerPlay } from '@tabler/icons-react'
import type { ResyncStatus } from '../../agent/contract/status.ts'
import css from './resync-progress.module.css'

export type ResyncAction = 'now' | 'pause' | 'continue'

/** @returns 0 to 99: that all is done is said by the headline, when it is true */
function percentDone({ totalBytes, doneBytes }: ResyncStatus): number {
  if (totalBytes === 0) return 0
  return Math.max(0, Math.min(99, Math.floor((doneBytes / totalBytes) * 100)))
}

/** A copy being brought up to date: bar, the measured numbers in words, and the button that makes sense now. */
export function ResyncProgress(props: {
  resync: ResyncStatus
  /** contract/words.ts: "43 % - 412 GB left - 380 MB/s - about 18 min" */
  words: string
  busy: ResyncAction | null
  onAction: (action: ResyncAction) => void
}) {
  const { resync, busy } = props
  const paused = resync.phase === 'paused'
  const title = `${paused ? 'Paused: copying to' : 'Copying to'} ${resync.serverName}`
  return (
    <div className={css.box}>
      <div className={css.head}>
        <strong>{title}</strong>
        {paused ? (
          <Button
            size="compact-md"
            loading={busy === 'continue'}
            leftSection={<IconPlayerPlay size={16} aria-hidden />}
            onClick={() => props.onAction('continue')}
          >
            Continue
          </Button>
        ) : (
          <Button
            size="compact-md"
            variant="default"
            loading={busy === 'pause'}
            leftSection={<IconPlayerPause size={16} aria-hidden />}
            onClick={() => props.onAction('pause')}
          >
            Pause
          </Button>
        )}
      </div>
      <Progress.Root size="lg" radius="xl" className={css.track ?? ''}>
        <Progress.Section value={percentDone(resync)} animated={!paused} striped={paused} aria-label={title} />
      </Progress.Root>
      <p className={css.numbers}>{props.words}</p>
    </div>
  )
}
