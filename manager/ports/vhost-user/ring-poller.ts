/** Looks at rings whose front-end gave no descriptor for kicks. */

/** How long a ring is left alone after a look that found nothing. */
const IDLE_PAUSE_MS = 1;

export class RingPoller {
  readonly #poll: () => number | undefined;
  #timer: NodeJS.Timeout | undefined;
  #immediate: NodeJS.Immediate | undefined;

  /** `poll` looks at the rings and answers how many chains it served, or undefined where there is no ring to look at. */
  constructor(poll: () => number | undefined) {
    this.#poll = poll;
  }

  /** Polls, from the event loop, until there is no ring to look at any more. */
  start(): void {
    if (this.#timer === undefined && this.#immediate === undefined) this.#soon();
  }

  stop(): void {
    clearTimeout(this.#timer);
    clearImmediate(this.#immediate);
    this.#timer = undefined;
    this.#immediate = undefined;
  }

  #soon(): void {
    this.#immediate = setImmediate(() => this.#look());
  }

  #look(): void {
    this.stop();
    const served = this.#poll();
    if (served === undefined) return;
    if (served > 0) this.#soon();
    else this.#timer = setTimeout(() => this.#look(), IDLE_PAUSE_MS);
  }
}
