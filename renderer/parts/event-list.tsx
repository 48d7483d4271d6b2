import { VisuallyHidden } from '@mantine/core'
import { IconAlertTriangle, IconCheck, IconPointFilled, type IconProps } from '@tabler/icons-react'
import { type ComponentType, Fragment } from 'react'
import { type EventWeight, eventWords } from '../../agent/contract/event-words.ts'
import type { Event } from '../../agent/contract/events.ts'
import { clockWords } from '../../agent/contract/times.ts'
import { dayText } from '../format.ts'
import css from './event-list.module.css'
import type { Tone } from './mark.tsx'

const looks: Readonly<Record<EventWeight, { tone: Tone; Icon: ComponentType<IconProps>; spoken: string | null }>> = {
  trouble: { tone: 'care', Icon: IconAlertTriangle, spoken: 'Trouble:' },
  good: { tone: 'good', Icon: IconCheck, spoken: null },
  plain: { tone: 'calm', Icon: IconPointFilled, spoken: null },
}

function Row(props: { event: Event }) {
  const { text, weight } = eventWords(props.event)
  const { tone, Icon, spoken } = looks[weight]
  return (
    <li className={css.row}>
      <time className={css.time} dateTime={new Date(props.event.atMs).toISOString()}>
        {clockWords(props.event.atMs)}
      </time>
      <span className={css.sign} data-tone={tone}>
        <Icon size={weight === 'plain' ? 10 : 16} aria-hidden />
      </span>
      <span>
        {spoken !== null && <VisuallyHidden>{spoken} </VisuallyHidden>}
        {text}
      </span>
    </li>
  )
}

/** Newest first. @param props.byDay with a heading for each day */
export function EventList(props: { events: readonly Event[]; nowMs: number; byDay: boolean }) {
  if (!props.byDay) {
    return (
      <ul className={css.list}>
        {props.events.map((event) => (
          <Row key={event.number} event={event} />
        ))}
      </ul>
    )
  }
  const days = Map.groupBy(props.events, (event) => dayText(event.atMs, props.nowMs))
  return [...days].map(([day, events]) => (
    <Fragment key={day}>
      <h2 className={css.day}>{day}</h2>
      <ul className={css.list}>
        {events.map((event) => (
          <Row key={event.number} event={event} />
        ))}
      </ul>
    </Fragment>
  ))
}
