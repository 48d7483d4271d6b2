/** What only the picture and the lists show; all other words and units are made in agent/contract. */
import { whenWords } from '../agent/contract/times.ts'

/** @param milliseconds a round trip @returns "0.3 ms", "12 ms" */
export function roundTripText(milliseconds: number): string {
  if (milliseconds < 0.1) return 'under 0.1 ms'
  return `${milliseconds < 10 ? Number(milliseconds.toFixed(1)) : Math.round(milliseconds)} ms`
}

/** A day as a heading: "Today", or "Friday, 20 November". */
export function dayText(atMs: number, nowMs: number): string {
  const at = new Date(atMs)
  if (at.toDateString() === new Date(nowMs).toDateString()) return 'Today'
  return at.toLocaleDateString('en-GB', { weekday: 'long', day: 'numeric', month: 'long' })
}

/** @returns "since 14:02", or "since 20 Nov at 14:02" */
export function sinceText(atMs: number, nowMs: number): string {
  return `since ${whenWords(atMs, nowMs).replace(/^(at|on) /, '')}`
}
