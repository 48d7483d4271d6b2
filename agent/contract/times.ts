/** Moments as people say them. The moment and "now" are handed in; only the machine's time zone is looked up. */

const two = (value: number): string => String(value).padStart(2, '0')
const months = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec'] as const

/** @returns "14:02" @param atMs milliseconds since 1970 */
export function clockWords(atMs: number): string {
  const at = new Date(atMs)
  return `${two(at.getHours())}:${two(at.getMinutes())}`
}

/** @returns "at 14:02" for today, else "on 20 Nov at 14:02" @param nowMs milliseconds since 1970 */
export function whenWords(atMs: number, nowMs: number): string {
  const today = new Date(atMs).toDateString() === new Date(nowMs).toDateString()
  return today ? `at ${clockWords(atMs)}` : `on ${dayWords(atMs)} at ${clockWords(atMs)}`
}

/** @returns "14:02:11" */
export const clockSecondWords = (atMs: number): string => `${clockWords(atMs)}:${two(new Date(atMs).getSeconds())}`

/** @returns "20 Nov" */
export const dayWords = (atMs: number): string => `${new Date(atMs).getDate()} ${months[new Date(atMs).getMonth()]}`
