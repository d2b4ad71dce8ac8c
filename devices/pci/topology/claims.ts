/** Which function of one bus answers at which address: a sorted table, rebuilt when something it says has changed. */
import type { Bridge } from './bridge.js';
import type { Endpoint } from './endpoint.js';

/** Physical addresses have 52 bits at most. What is placed beyond cannot be reached, and numbers stay exact. */
const PHYSICAL_ADDRESS_END = 2 ** 52;

/** Part of the address space: a BAR of an endpoint, or a window of a bridge that forwards it to its secondary bus. */
export interface Claim {
  /** Inclusive. */
  readonly start: number;
  /** Exclusive. */
  readonly end: number;
  /** Where the BAR starts, which another claim may hide. */
  readonly base: number;
  /** The BAR's index; no matter for a bridge. */
  readonly bar: number;
  readonly target: Endpoint | Bridge;
}

export class ClaimMap {
  #claims: Claim[] = [];
  #last = 0;

  /** Adds what `target` claims, between `clear` and `build`. Nothing where `end` is not above `start`. */
  add(start: number, end: number, bar: number, target: Endpoint | Bridge): void {
    const last = Math.min(end, PHYSICAL_ADDRESS_END);
    if (start < last) this.#claims.push({ start, end: last, base: start, bar, target });
  }

  clear(): void {
    this.#claims = [];
    this.#last = 0;
  }

  /**
   * Sorts what was added. Where the guest has put claims over each other, the one that starts first has the addresses, and of
   * two that start together the one that was added first.
   */
  build(): void {
    const sorted = this.#claims.sort((a, b) => a.start - b.start);
    const apart: Claim[] = [];
    let taken = 0;
    for (const claim of sorted) {
      if (claim.end <= taken) continue;
      apart.push(claim.start >= taken ? claim : { ...claim, start: taken });
      taken = claim.end;
    }
    this.#claims = apart;
  }

  find(address: number): Claim | undefined {
    const claims = this.#claims;
    const last = claims.at(this.#last);
    if (last !== undefined && address >= last.start && address < last.end) return last;
    let low = 0;
    let high = claims.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (claims[middle].end <= address) low = middle + 1;
      else high = middle;
    }
    if (low === claims.length || address < claims[low].start) return undefined;
    this.#last = low;
    return claims[low];
  }
}
