/** How long rings that are disabled or stopped wait for requests under way. */
import type { GatedRing } from './gated-ring.js';

/** The front-end, and with it the whole virtual machine, stands still meanwhile. */
export const DRAIN_TIMEOUT_MS = 1000;

/** Rings that are stopped one after the other have the time together. */
export class DrainBudget {
  /** When they have waited long enough, by performance.now(). */
  #deadline = -Infinity;

  /** Whether the ring's requests end within the time that is left. */
  async drained(ring: GatedRing): Promise<boolean> {
    return ring.idle(this.leftMs());
  }

  /** How long whoever comes now may wait, in milliseconds; nothing, or less, for those who come after others that waited in vain. */
  leftMs(): number {
    const now = performance.now();
    if (now > this.#deadline + DRAIN_TIMEOUT_MS) this.#deadline = now + DRAIN_TIMEOUT_MS;
    return this.#deadline - now;
  }

  /** Rings run again: the next ones that stop have all the time. */
  renew(): void {
    this.#deadline = -Infinity;
  }
}
