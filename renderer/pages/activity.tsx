/** What happened, newest first, as this server's agent tells it. */
import type { Event } from '../../agent/contract/events.ts'
import { EventList } from '../parts/event-list.tsx'
import { Panel } from '../parts/panel.tsx'
import css from './pages.module.css'

export function Activity(props: { events: readonly Event[]; serverName: string; nowMs: number }) {
  const newestFirst = [...props.events].reverse()
  return (
    <div className={css.narrow}>
      <div>
        <h1 className={css.title}>Activity</h1>
        <p className={css.lead}>What {props.serverName} saw since Mirrorbay started here, newest first.</p>
      </div>
      <Panel label="Activity">
        {newestFirst.length === 0 ? (
          <p className={css.small}>Nothing has happened yet.</p>
        ) : (
          <EventList events={newestFirst} nowMs={props.nowMs} byDay />
        )}
      </Panel>
    </div>
  )
}
