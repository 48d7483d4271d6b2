/** The window: who speaks, the pages, and what is shown while nobody speaks. */
import { Button, Loader, useComputedColorScheme, useMantineColorScheme } from '@mantine/core'
import { IconMoon, IconPlugConnectedX, IconSun } from '@tabler/icons-react'
import { type ReactNode, useEffect, useRef, useState } from 'react'
import type { Status } from '../agent/contract/status.ts'
import { statusWords } from '../agent/contract/words.ts'
import css from './app.module.css'
import { Activity } from './pages/activity.tsx'
import { Connect } from './pages/connect.tsx'
import { Manage } from './pages/manage.tsx'
import { NewDisk } from './pages/new-disk.tsx'
import { Overview } from './pages/overview.tsx'
import pagesCss from './pages/pages.module.css'
import { ErrorNote } from './parts/error-note.tsx'
import { type AgentView, type Command, useAgent } from './use-agent.ts'
import { hrefs, type Route, useRoute } from './use-route.ts'

/** How often "today" and "since" are looked at again, milliseconds. */
const clockMs = 30_000

function useNowMs(): number {
  const [nowMs, setNowMs] = useState(() => Date.now())
  useEffect(() => {
    const timer = setInterval(() => setNowMs(Date.now()), clockMs)
    return () => clearInterval(timer)
  }, [])
  return nowMs
}

/** The worst headline stands in the window's title, so that it shows in the task bar too. */
function titleOf(agent: AgentView, nowMs: number): string {
  if (agent.phase === 'lost') return 'No agent - Mirrorbay'
  if (agent.phase === 'refused') return 'Not signed in - Mirrorbay'
  if (agent.status === null) return 'Mirrorbay'
  const { headline } = statusWords(agent.status, nowMs)
  return `${headline ?? 'No shared disk yet'} - ${agent.status.server.name} - Mirrorbay`
}

export function App() {
  const { view, command } = useAgent()
  const route = useRoute()
  const nowMs = useNowMs()
  const title = titleOf(view, nowMs)
  useEffect(() => {
    document.title = title
  }, [title])
  const main = useRef<HTMLElement>(null)
  return (
    <>
      <button type="button" className={css.skip} onClick={() => main.current?.focus()}>
        Skip to the content
      </button>
      <Header view={view} route={route} />
      <main className={css.main} id="main" ref={main} tabIndex={-1}>
        {view.phase === 'lost' && <Lost status={view.status} />}
        <Body view={view} route={route} nowMs={nowMs} command={command} />
      </main>
    </>
  )
}

function Body(props: { view: AgentView; route: Route; nowMs: number; command: Command }) {
  const { view, route, nowMs, command } = props
  if (view.phase === 'refused') {
    return (
      <div className={pagesCss.narrow}>
        <ErrorNote error={view.refusal} />
      </div>
    )
  }
  const { status } = view
  if (status === null) {
    if (view.phase === 'lost') return null
    return (
      <div className={css.waiting}>
        <Loader size="sm" aria-hidden /> <span role="status">Asking the agent on this server…</span>
      </div>
    )
  }
  const page = pageOf({ view, status, route, nowMs, command })
  // What is old must not look alive: it stays readable, but nothing on it can be pressed.
  return view.phase === 'lost' ? (
    <div className={css.old} inert>
      {page}
    </div>
  ) : (
    page
  )
}

function pageOf(props: { view: AgentView; status: Status; route: Route; nowMs: number; command: Command }): ReactNode {
  const { view, status, route, nowMs, command } = props
  switch (route.page) {
    case 'overview':
      return <Overview status={status} events={view.events} nowMs={nowMs} command={command} />
    case 'new-disk':
      return (
        <div className={pagesCss.narrow}>
          <NewDisk status={status} command={command} lead="One virtual disk, kept on every storage server." />
        </div>
      )
    case 'connect':
      return <Connect volumes={status.volumes} name={route.volume} serverName={status.server.name} />
    case 'disk':
      return <Manage status={status} name={route.volume} nowMs={nowMs} command={command} />
    case 'activity':
      return <Activity events={view.events} serverName={status.server.name} nowMs={nowMs} />
  }
}

function Header(props: { view: AgentView; route: Route }) {
  const { view, route } = props
  const links = [
    { href: hrefs.overview, label: 'Overview', page: 'overview' },
    { href: hrefs.connect(), label: 'Connect', page: 'connect' },
    { href: hrefs.activity, label: 'Activity', page: 'activity' },
  ] as const
  return (
    <header className={css.header}>
      <div className={css.bar}>
        <span className={css.brand}>
          <img src="./icon.svg" alt="" width={26} height={26} />
          <span>Mirrorbay</span>
        </span>
        {view.status !== null && <span className={css.server}>{view.status.server.name}</span>}
        <nav className={css.nav} aria-label="Pages">
          {links.map(({ href, label, page }) => (
            <a key={page} href={href} className={css.link} aria-current={route.page === page ? 'page' : undefined}>
              {label}
            </a>
          ))}
        </nav>
        <SchemeButton />
      </div>
    </header>
  )
}

function SchemeButton() {
  const { setColorScheme } = useMantineColorScheme()
  const scheme = useComputedColorScheme('light')
  const other = scheme === 'light' ? 'dark' : 'light'
  return (
    <Button
      variant="subtle"
      color="gray"
      size="compact-md"
      className={css.scheme ?? ''}
      aria-label={`Use the ${other} colours`}
      onClick={() => setColorScheme(other)}
    >
      {scheme === 'light' ? <IconMoon size={18} aria-hidden /> : <IconSun size={18} aria-hidden />}
    </Button>
  )
}

function Lost(props: { status: Status | null }) {
  const where = props.status === null ? 'on this server' : `on ${props.status.server.name}`
  return (
    <div className={css.lost}>
      <div className={css.lostRow} role="alert">
        <IconPlugConnectedX size={28} aria-hidden />
        <div>
          <h1 className={css.lostTitle}>This window has lost its agent</h1>
          <p>
            Mirrorbay {where} does not answer. Your data is not touched by that; the other servers go on by their own
            rules. This window tries again by itself.
            {props.status !== null && ' What you see below is what was true before.'}
          </p>
        </div>
      </div>
    </div>
  )
}
