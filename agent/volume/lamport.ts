/** The clock of P1 and C7: larger than any time told or seen. */
export class Lamport {
  #time = 0

  get now(): number {
    return this.#time
  }

  tick(): number {
    this.#time += 1
    return this.#time
  }

  observe(time: number): void {
    if (time > this.#time) this.#time = time
  }
}
