/** What is measured: the jobs that people compare block devices by. */

export interface BenchJob {
  readonly name: string
  readonly words: string
  readonly rw: string
  readonly blockSize: string
  readonly depth: number
  readonly unit: 'IOPS' | 'MB/s'
  readonly more: readonly string[]
}

const job = (
  name: string,
  words: string,
  [rw, blockSize, depth]: readonly [string, string, number],
  unit: 'IOPS' | 'MB/s',
  more: readonly string[] = [],
): BenchJob => ({ name, words, rw, blockSize, depth, unit, more })

export const benchJobs: readonly BenchJob[] = [
  job('rw4k-q1', '4k random write QD1', ['randwrite', '4k', 1], 'IOPS'),
  job('rw4k-q32', '4k random write QD32', ['randwrite', '4k', 32], 'IOPS'),
  job('rr4k-q32', '4k random read QD32', ['randread', '4k', 32], 'IOPS'),
  job('mix70-q32', '4k 70 % read, 30 % write QD32', ['randrw', '4k', 32], 'IOPS', ['--rwmixread=70']),
  job('sw128k-q8', '128k sequential write QD8', ['write', '128k', 8], 'MB/s'),
  job('sr128k-q8', '128k sequential read QD8', ['read', '128k', 8], 'MB/s'),
  job('rw4k-flush', '4k random write QD1, flush each', ['randwrite', '4k', 1], 'IOPS', ['--fsync=1']),
]
