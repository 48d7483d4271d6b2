/** What a store has measured about itself in this run: its pauses, and how it keeps them short. */
export class StoreFigures {
  /** Milliseconds the longest sync took, whoever asked for it. */
  longestSyncMs = 0
  /** Syncs that nobody asked for. */
  backgroundSyncs = 0
  /** Writes that were held back because too much was dirty. */
  held = 0
}
