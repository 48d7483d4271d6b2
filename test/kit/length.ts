/** How long a test may try: `npm test` is short, `test:full` and `test:long` take more rounds. */
export function rounds(of: { readonly short: number; readonly full: number; readonly long: number }): number {
  const length = process.env.MIRRORBAY_TEST_LENGTH ?? 'short'
  return length === 'full' || length === 'long' ? of[length] : of.short
}
