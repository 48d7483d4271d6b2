/** The sign of a state: always an icon and a colour beside a word, never the colour alone. */
import {
  IconAlertTriangle,
  IconArrowsSplit2,
  IconCircleCheck,
  IconCircleX,
  IconHelpCircle,
  IconHourglass,
  type IconProps,
  IconRefresh,
  IconShieldCheck,
  IconShieldUp,
} from '@tabler/icons-react'
import type { ComponentType, ReactNode } from 'react'
import type { FolderState, ReplicaState } from '../../agent/contract/status.ts'
import type { Headline } from '../../agent/contract/words.ts'
import css from './mark.module.css'

/** good: nothing to do. busy: repairing itself. care: works, but look. stop: does not work. calm: not known. */
export type Tone = 'good' | 'busy' | 'care' | 'stop' | 'calm'

interface Look {
  tone: Tone
  Icon: ComponentType<IconProps>
}

export const headlineLook: Readonly<Record<Headline, Look>> = {
  Protected: { tone: 'good', Icon: IconShieldCheck },
  'Protected, catching up': { tone: 'busy', Icon: IconShieldUp },
  'Catching up': { tone: 'busy', Icon: IconRefresh },
  'One copy': { tone: 'care', Icon: IconAlertTriangle },
  Waiting: { tone: 'stop', Icon: IconHourglass },
  'Two versions': { tone: 'stop', Icon: IconArrowsSplit2 },
}

export const replicaLook: Readonly<Record<ReplicaState, Look>> = {
  'in-sync': { tone: 'good', Icon: IconCircleCheck },
  joining: { tone: 'busy', Icon: IconRefresh },
  out: { tone: 'care', Icon: IconCircleX },
  unknown: { tone: 'calm', Icon: IconHelpCircle },
}

/** `low`: usable, but its disk is nearly full. */
export const folderLook: Readonly<Record<FolderState | 'low', Look>> = {
  ok: { tone: 'good', Icon: IconCircleCheck },
  low: { tone: 'care', Icon: IconAlertTriangle },
  missing: { tone: 'care', Icon: IconHelpCircle },
  failed: { tone: 'stop', Icon: IconCircleX },
  'in-use': { tone: 'care', Icon: IconAlertTriangle },
  damaged: { tone: 'stop', Icon: IconCircleX },
  foreign: { tone: 'care', Icon: IconAlertTriangle },
}

/** The round sign in front of a headline. */
export function Mark(props: { look: Look; sizePx: number }) {
  const { Icon, tone } = props.look
  return (
    <span className={css.mark} data-tone={tone} style={{ width: props.sizePx, height: props.sizePx }} aria-hidden>
      <Icon size={Math.round(props.sizePx * 0.56)} stroke={1.8} />
    </span>
  )
}

/** A small state in a row: icon and words. */
export function Chip(props: { look: Look; children: ReactNode }) {
  const { Icon, tone } = props.look
  return (
    <span className={css.chip} data-tone={tone}>
      <Icon size={17} stroke={2} aria-hidden />
      {props.children}
    </span>
  )
}
