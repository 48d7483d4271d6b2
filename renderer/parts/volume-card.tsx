import { Button } from '@mantine/core'
import { IconArrowRight, IconPlugConnected, IconRefresh, IconSettings } from '@tabler/icons-react'
import type { ErrorBody } from '../../agent/contract/errors.ts'
import { formatBytes, formatSize } from '../../agent/contract/sizes.ts'
import type { VolumeStatus } from '../../agent/contract/status.ts'
import { clientsWords, type VolumeWords } from '../../agent/contract/words.ts'
import { ErrorNote } from './error-note.tsx'
import { headlineLook, Mark } from './mark.tsx'
import { Panel } from './panel.tsx'
import { ReplicaList } from './replica-list.tsx'
import { type ResyncAction, ResyncProgress } from './resync-progress.tsx'
import css from './volume-card.module.css'

/** Resync now makes sense when a copy is behind, its server answers, and nothing is being copied yet. */
const mayResyncNow = (volume: VolumeStatus): boolean =>
  volume.resync === null && volume.replicas.some((replica) => replica.state === 'out' && replica.connected)

/** One shared disk: is it safe, what happens if a server stops, what is to be done; then the details. */
export function VolumeCard(props: {
  volume: VolumeStatus
  words: VolumeWords
  thisServerId: string
  busy: ResyncAction | null
  error: ErrorBody | null
  onResync: (action: ResyncAction) => void
  connectHref: string
  manageHref: string
}) {
  const { volume, words } = props
  const look = headlineLook[words.headline]
  return (
    <Panel label={volume.name}>
      <div data-tone={look.tone}>
        <div className={css.head}>
          <Mark look={look} sizePx={56} />
          <div className={css.words}>
            <h2 className={css.disk}>
              <strong>{volume.name}</strong> <span>shared disk, {formatSize(volume.sizeBytes)}</span>
            </h2>
            <p className={css.headline} data-headline={words.headline} role="status">
              {words.headline}
            </p>
            <div className={css.sentences}>
              {words.trouble !== null && <p>{words.trouble}</p>}
              {words.ifAServerStops !== null && <p>{words.ifAServerStops}</p>}
            </div>
          </div>
        </div>
        {words.toDo !== null && (
          <div className={css.toDo}>
            <IconArrowRight size={18} aria-hidden />
            <p>{words.toDo}</p>
          </div>
        )}
      </div>
      {volume.resync !== null && words.progress !== null && (
        <div className={css.part}>
          <ResyncProgress resync={volume.resync} words={words.progress} busy={props.busy} onAction={props.onResync} />
        </div>
      )}
      {props.error !== null && (
        <div className={css.error}>
          <ErrorNote error={props.error} />
        </div>
      )}
      <div className={css.actions}>
        {mayResyncNow(volume) && (
          <Button
            loading={props.busy === 'now'}
            leftSection={<IconRefresh size={18} aria-hidden />}
            onClick={() => props.onResync('now')}
          >
            Resync now
          </Button>
        )}
        <Button
          component="a"
          href={props.connectHref}
          variant="default"
          leftSection={<IconPlugConnected size={18} aria-hidden />}
        >
          Connect a computer
        </Button>
        <Button
          component="a"
          href={props.manageHref}
          variant="default"
          leftSection={<IconSettings size={18} aria-hidden />}
        >
          Size, snapshots, delete
        </Button>
      </div>
      <div className={css.part}>
        <h3 className={css.subtitle}>Copies</h3>
        <ReplicaList replicas={volume.replicas} thisServerId={props.thisServerId} />
        <Facts volume={volume} thisServerId={props.thisServerId} />
      </div>
    </Panel>
  )
}

/** Plain facts under the list of copies, from this server's own knowledge. */
function Facts(props: { volume: VolumeStatus; thisServerId: string }) {
  const { arbiter, counters, scrub, snapshots, writeThrough } = props.volume
  const away = arbiter.reachable ? '' : ', does not answer'
  return (
    <dl className={css.facts}>
      <dt>Decides in a dispute</dt>
      <dd>{arbiter.kind === 'witness' ? `tiebreaker ${arbiter.serverName}${away}` : `${arbiter.serverName}${away}`}</dd>
      <dt>Connected here</dt>
      <dd>{clientsWords(props.volume) ?? 'no computer yet'}</dd>
      {snapshots.length > 0 && (
        <>
          <dt>Snapshots</dt>
          <dd>{snapshots.map(({ name }) => name).join(', ')}</dd>
        </>
      )}
      {writeThrough && (
        <>
          <dt>Writes</dt>
          <dd>each one on the disks before it is answered</dd>
        </>
      )}
      <dt>Disk here checked</dt>
      <dd>{checkedWords(scrub)}</dd>
      <dt>Since start, here</dt>
      <dd>
        {formatBytes(counters.readBytes)} read, {formatBytes(counters.writtenBytes)} written
      </dd>
    </dl>
  )
}

/** When all that this server holds was last read, and what was found. */
function checkedWords(scrub: VolumeStatus['scrub']): string {
  const lost = scrub.unreadablePieces > 0 ? `, ${formatBytes(scrub.unreadablePieces * 2 ** 20)} could not be read` : ''
  const repaired = scrub.repairedBytes > 0 ? `, ${formatBytes(scrub.repairedBytes)} repaired` : ''
  const found = lost + repaired === '' ? ', all as it was written' : lost + repaired
  if (scrub.progress !== null) return `now, ${Math.floor(scrub.progress * 100)} %${lost + repaired}`
  if (scrub.readBytes === 0) return 'not yet (once a week, by itself)'
  return `on ${new Date(scrub.endedMs).toLocaleDateString()}${found}`
}
