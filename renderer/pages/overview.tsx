/** Is my data safe, what happens if a server stops, do I have to do anything: the answers, then the picture. */
import { Anchor, Button, VisuallyHidden } from '@mantine/core'
import { IconPlus } from '@tabler/icons-react'
import { useState } from 'react'
import type { ErrorBody } from '../../agent/contract/errors.ts'
import type { Event } from '../../agent/contract/events.ts'
import type { Status, VolumeStatus } from '../../agent/contract/status.ts'
import { statusWords, type VolumeWords } from '../../agent/contract/words.ts'
import { EventList } from '../parts/event-list.tsx'
import { FolderList } from '../parts/folder-list.tsx'
import { Panel } from '../parts/panel.tsx'
import type { ResyncAction } from '../parts/resync-progress.tsx'
import { type PictureServer, Topology } from '../parts/topology.tsx'
import { VolumeCard } from '../parts/volume-card.tsx'
import type { Command } from '../use-agent.ts'
import { hrefs } from '../use-route.ts'
import { NewDisk } from './new-disk.tsx'
import css from './pages.module.css'
import { RecentlyDeleted } from './recently-deleted.tsx'

const recentEvents = 5

export function Overview(props: { status: Status; events: readonly Event[]; nowMs: number; command: Command }) {
  const { status, nowMs, command } = props
  const words = statusWords(status, nowMs)
  const tiebreakerOnly = status.server.role === 'tiebreaker'
  const recent = props.events.slice(-recentEvents).reverse()
  return (
    <div className={css.columns}>
      {words.volumes.length > 0 && <VisuallyHidden component="h1">Overview</VisuallyHidden>}
      <div className={css.column}>
        {words.volumes.map((volumeWords) => {
          const volume = status.volumes.find((candidate) => candidate.name === volumeWords.name)
          return (
            volume && (
              <LiveVolume
                key={volume.id}
                volume={volume}
                words={volumeWords}
                thisServerId={status.server.id}
                command={command}
              />
            )
          )
        })}
        {words.volumes.length === 0 && tiebreakerOnly && (
          <Panel label="Tiebreaker">
            <h1 className={css.title}>This server is the tiebreaker</h1>
            <p className={css.lead}>{words.second}</p>
          </Panel>
        )}
        {words.volumes.length === 0 && !tiebreakerOnly && (
          <NewDisk status={status} command={command} lead={words.second} />
        )}
        {words.volumes.length > 0 && (
          <div>
            <Button
              component="a"
              href={hrefs.newDisk}
              variant="subtle"
              size="compact-md"
              leftSection={<IconPlus size={16} aria-hidden />}
            >
              New shared disk
            </Button>
          </div>
        )}
        {status.deletedVolumes.length > 0 && (
          <RecentlyDeleted
            deleted={status.deletedVolumes}
            taken={status.volumes.map(({ name }) => name)}
            nowMs={nowMs}
            command={command}
          />
        )}
      </div>
      <div className={css.column}>
        <Panel title="Servers">
          <Topology servers={pictureOf(status)} nowMs={nowMs} />
          {status.peers.length === 0 && (
            <p className={`${css.small} ${css.below}`}>
              In this version other servers are named in the configuration: config.json in {status.server.dir}, on each
              server.
            </p>
          )}
        </Panel>
        {!tiebreakerOnly && (
          <Panel title={`Storage of ${status.server.name}`}>
            <FolderList folders={status.folders} />
          </Panel>
        )}
        <Panel
          title="Activity"
          aside={
            <Anchor href={hrefs.activity} size="sm" underline="always">
              Show all
            </Anchor>
          }
        >
          {recent.length === 0 ? (
            <p className={css.small}>Nothing has happened since Mirrorbay started here.</p>
          ) : (
            <EventList events={recent} nowMs={nowMs} byDay={false} />
          )}
        </Panel>
      </div>
    </div>
  )
}

function pictureOf({ server, peers }: Status): PictureServer[] {
  const here: PictureServer = { name: server.name, role: server.role, link: null }
  const others = peers.map(({ name, role, connected, roundTripMs, sinceMs }): PictureServer => {
    return { name, role, link: { connected, roundTripMs, sinceMs } }
  })
  return [here, ...others]
}

/** A volume's card with its buttons joined to the agent: which one is under way, and what it refused. */
function LiveVolume(props: { volume: VolumeStatus; words: VolumeWords; thisServerId: string; command: Command }) {
  const { volume, command } = props
  const [busy, setBusy] = useState<ResyncAction | null>(null)
  const [error, setError] = useState<ErrorBody | null>(null)
  const resync = async (action: ResyncAction) => {
    setBusy(action)
    setError(await command('resync', { volume: volume.name, action }))
    setBusy(null)
  }
  return (
    <VolumeCard
      volume={volume}
      words={props.words}
      thisServerId={props.thisServerId}
      busy={busy}
      error={error}
      onResync={(action) => void resync(action)}
      connectHref={hrefs.connect(volume.name)}
      manageHref={hrefs.disk(volume.name)}
    />
  )
}
