/**
 * The picture of the servers, the tiebreaker and the links between them, as this server sees them. It knows its own
 * links only, so only those are drawn. For a screen reader it is a list of sentences.
 */
import { VisuallyHidden } from '@mantine/core'
import { roundTripText, sinceText } from '../format.ts'
import css from './topology.module.css'

export interface PictureServer {
  name: string
  role: 'storage' | 'tiebreaker'
  /** Null for this server itself. */
  link: { connected: boolean; roundTripMs: number | null; sinceMs: number | null } | null
}

const box = { width: 142, height: 72, gap: 74, rowGap: 24, left: 1, top: 1 } as const

interface Place {
  x: number
  y: number
  width: number
  height: number
}

const middle = (place: Place) => ({ x: place.x + place.width / 2, y: place.y + place.height / 2 })

/** This server at the left, other storage servers at the right one below the other, tiebreakers below. */
function arrange(servers: readonly PictureServer[]): { places: Place[]; widthPx: number; heightPx: number } {
  const others = servers.filter((server) => server.link !== null && server.role === 'storage').length
  const rows = Math.max(1, others)
  const columnHeight = rows * box.height + (rows - 1) * box.rowGap
  const widthPx = 2 * box.left + 2 * box.width + box.gap
  let nextOther = 0
  let nextTiebreaker = 0
  const places = servers.map((server) => {
    const size = { width: box.width, height: box.height }
    if (server.link === null) {
      // Alone in the picture it stands in the middle.
      const x = servers.length === 1 ? (widthPx - box.width) / 2 : box.left
      return { x, y: box.top + (columnHeight - box.height) / 2, ...size }
    }
    if (server.role === 'storage') {
      const y = box.top + nextOther++ * (box.height + box.rowGap)
      return { x: box.left + box.width + box.gap, y, ...size }
    }
    const y = box.top + columnHeight + box.gap * 0.72 + nextTiebreaker++ * (box.height + box.rowGap)
    return { x: (widthPx - box.width) / 2, y, ...size }
  })
  const heightPx = Math.max(...places.map((place) => place.y + place.height)) + box.top
  return { places, widthPx, heightPx }
}

function linkWords(server: PictureServer, nowMs: number): string {
  if (server.link === null) return 'this server'
  if (server.link.connected) return 'connected'
  return server.link.sinceMs === null ? 'not seen yet' : `not connected ${sinceText(server.link.sinceMs, nowMs)}`
}

/** Sentences for those who do not see the picture. */
function sentence(server: PictureServer, nowMs: number): string {
  const role = server.role === 'tiebreaker' ? 'tiebreaker, ' : ''
  const trip = server.link?.connected && server.link.roundTripMs !== null
  const time = trip ? `, round trip ${roundTripText(server.link?.roundTripMs ?? 0)}` : ''
  return `${server.name}: ${role}${linkWords(server, nowMs)}${time}`
}

function ServerBox(props: { server: PictureServer; place: Place; nowMs: number }) {
  const { server, place, nowMs } = props
  const here = server.link === null
  const connected = here || server.link?.connected === true
  const since = server.link?.sinceMs ?? null
  const lines = connected
    ? [here ? 'this server' : 'connected']
    : [since === null ? 'not seen yet' : 'not connected', ...(since === null ? [] : [sinceText(since, nowMs)])]
  const shape = [css.server, here ? css.here : '', connected ? '' : css.gone].join(' ')
  return (
    <g transform={`translate(${place.x} ${place.y})`}>
      <rect className={shape} width={place.width} height={place.height} rx={10} />
      <Glyph role={server.role} />
      <text className={css.name} x={44} y={27}>
        {server.name.length > 12 ? `${server.name.slice(0, 11)}…` : server.name}
      </text>
      {server.role === 'tiebreaker' && connected && (
        <text className={css.note} x={44} y={44}>
          tiebreaker
        </text>
      )}
      {lines.map((line, index) => (
        <text
          key={line}
          className={here ? css.note : css.state}
          data-tone={connected ? 'good' : 'stop'}
          x={44}
          y={(server.role === 'tiebreaker' && connected ? 61 : 46) + index * 16}
        >
          {line}
        </text>
      ))}
    </g>
  )
}

/** A server with its two disks, or the scales of the tiebreaker. */
function Glyph(props: { role: PictureServer['role'] }) {
  const stroke = { fill: 'none', stroke: 'currentColor', strokeWidth: 1.6, strokeLinecap: 'round' } as const
  if (props.role === 'tiebreaker') {
    return (
      <g transform="translate(13 15)" {...stroke}>
        <path d="M11 2v18M6 20h10M3 5h16M3 5l-3 8a3.4 3.4 0 0 0 6 0zM19 5l-3 8a3.4 3.4 0 0 0 6 0z" />
      </g>
    )
  }
  return (
    <g transform="translate(13 14)" {...stroke}>
      <rect x="0" y="0" width="21" height="10" rx="2.5" />
      <rect x="0" y="13" width="21" height="10" rx="2.5" />
      <path d="M4.5 5h.01M4.5 18h.01M12 5h5M12 18h5" />
    </g>
  )
}

function Link(props: { from: Place; to: Place; server: PictureServer }) {
  const link = props.server.link
  if (link === null) return null
  const from = middle(props.from)
  const to = middle(props.to)
  const centre = centreOfGap(props.from, props.to)
  const label = link.roundTripMs === null ? null : roundTripText(link.roundTripMs)
  return (
    <g>
      <line className={link.connected ? css.link : css.linkDown} x1={from.x} y1={from.y} x2={to.x} y2={to.y} />
      {!link.connected && (
        <g transform={`translate(${centre.x} ${centre.y})`}>
          <circle className={css.backdrop} r={11} />
          <path className={css.cross} d="M-5-5 5 5M5-5-5 5" />
        </g>
      )}
      {link.connected && label !== null && (
        <g transform={`translate(${centre.x} ${centre.y})`}>
          <rect className={css.backdrop} x={-26} y={-10} width={52} height={20} rx={6} />
          <text className={css.note} textAnchor="middle" y={4}>
            {label}
          </text>
        </g>
      )}
    </g>
  )
}

/** The middle of the visible part of a line between two boxes' middles. */
function centreOfGap(from: Place, to: Place): { x: number; y: number } {
  const a = middle(from)
  const b = middle(to)
  const leaves = (place: Place, dx: number, dy: number) =>
    Math.min(
      dx === 0 ? Number.POSITIVE_INFINITY : place.width / 2 / Math.abs(dx),
      dy === 0 ? Number.POSITIVE_INFINITY : place.height / 2 / Math.abs(dy),
    )
  const dx = b.x - a.x
  const dy = b.y - a.y
  const at = (leaves(from, dx, dy) + (1 - leaves(to, dx, dy))) / 2
  return { x: a.x + dx * at, y: a.y + dy * at }
}

export function Topology(props: { servers: readonly PictureServer[]; nowMs: number }) {
  const { servers, nowMs } = props
  const { places, widthPx, heightPx } = arrange(servers)
  const herePlace = places[servers.findIndex((server) => server.link === null)]
  return (
    <>
      <VisuallyHidden component="ul" aria-label="Servers and links">
        {servers.map((server) => (
          <li key={server.name}>{sentence(server, nowMs)}</li>
        ))}
      </VisuallyHidden>
      <svg className={css.picture} viewBox={`0 0 ${widthPx} ${heightPx}`} aria-hidden="true">
        {servers.map((server, index) => {
          const place = places[index]
          if (place === undefined || herePlace === undefined) return null
          return <Link key={server.name} from={herePlace} to={place} server={server} />
        })}
        {servers.map((server, index) => {
          const place = places[index]
          return place && <ServerBox key={server.name} server={server} place={place} nowMs={nowMs} />
        })}
      </svg>
    </>
  )
}
