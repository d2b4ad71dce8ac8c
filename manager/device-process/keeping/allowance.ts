/** What several may have of something together. */
export class Allowance {
  #left: number;

  constructor(most: number) {
    this.#left = most;
  }

  /** False, and nothing is taken, where that is more than is left. */
  take(count: number): boolean {
    if (count > this.#left) return false;
    this.#left -= count;
    return true;
  }

  giveBack(count: number): void {
    this.#left += count;
  }
}
