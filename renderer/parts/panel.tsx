import type { ReactNode } from 'react'
import css from './panel.module.css'

/** A card of the window. With a title it is a region that a screen reader can jump to. */
export function Panel(props: { title?: string; aside?: ReactNode; children: ReactNode; label?: string }) {
  const heading = props.title === undefined ? null : <h2>{props.title}</h2>
  return (
    <section className={css.panel} aria-label={props.label ?? props.title}>
      {heading && (
        <div className={css.title}>
          {heading}
          {props.aside}
        </div>
      )}
      {props.children}
    </section>
  )
}
