import type { AwakeSession } from './device-session.js';

/** How long rings are left alone once they have been empty for a while, in milliseconds. */
const IDLE_PAUSE_MS = 1;
/** Looks in a row that find nothing before the pauses begin: what comes next often comes at once. */
const IDLE_LOOKS = 64;

/** Rings that nobody rings a doorbell for: `poll` looks at them and is true where there was something. */
export type PolledRings = Pick<AwakeSession, 'poll'>;

/** Looks at rings over and over from the event loop while there is work, and after pauses while there is none, until it is stopped. */
export class RingPoller {
  readonly #defer: (work: () => void) => void;
  #rings: PolledRings | undefined;
  #idleLooks = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;

  /** `defer` runs work soon, from the event loop. */
  constructor(defer: (work: () => void) => void) {
    this.#defer = defer;
  }

  /** Looks at these rings from now on, and at no others. */
  start(rings: PolledRings): void {
    if (rings === this.#rings) return;
    this.stop();
    this.#rings = rings;
    this.#idleLooks = 0;
    const look = (): void => this.#look(rings, look);
    this.#defer(look);
  }

  /** May come from within a look. */
  stop(): void {
    this.#rings = undefined;
    clearTimeout(this.#timer);
  }

  /** `again` is the same look, made once for all of them. */
  #look(rings: PolledRings, again: () => void): void {
    if (rings !== this.#rings) return;
    this.#idleLooks = rings.poll() ? 0 : this.#idleLooks + 1;
    // The driver may have ended the session from within, at an interrupt.
    if (rings !== this.#rings) return;
    if (this.#idleLooks < IDLE_LOOKS) this.#defer(again);
    else this.#timer = setTimeout(again, IDLE_PAUSE_MS);
  }
}
