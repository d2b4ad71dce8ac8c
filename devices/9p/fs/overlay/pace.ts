/**
 * Gives others their turn in work that may be long: layers that answer at once would keep the event loop, and with it every guest, until
 * all is done.
 */
export class Pace {
  readonly #budget: number;
  #left: number;

  /** `budget` is what may be spent between two turns of others, in whatever unit. */
  constructor(budget: number) {
    this.#budget = budget;
    this.#left = budget;
  }

  async spend(cost: number): Promise<void> {
    this.#left -= cost;
    if (this.#left > 0) return;
    this.#left = this.#budget;
    await new Promise((resolve) => setTimeout(resolve));
  }
}

/** Bytes read or written: some milliseconds. */
export const BYTES_A_TURN = 4 * 1024 * 1024;
/** Entries looked at, or removed. */
export const ENTRIES_A_TURN = 256;
