/** Finds whose BAR an address is in: from the root bus down, through the windows of bridges that forward it. */
import type { AccessWidth } from '../function.js';
import type { AddressSpace, Bus } from './bus.js';
import { Endpoint } from './endpoint.js';

/** Where an address leads. One object is used over and over: it is good until the next look-up. */
export interface Hit {
  /** The addresses that surely lead to the same place: `start` inclusive, `end` exclusive. */
  start: number;
  end: number;
  endpoint: Endpoint;
  bar: number;
  /** Where the BAR starts. */
  base: number;
}

export class Router {
  readonly #root: Bus;
  readonly #space: AddressSpace;
  /** Accesses come in runs: most ask for the BAR of the one before. */
  #last: Hit | undefined;

  constructor(root: Bus, space: AddressSpace) {
    this.#root = root;
    this.#space = space;
  }

  /** Something has changed that says where addresses lead. */
  forget(): void {
    this.#last = undefined;
  }

  /** The BAR that holds all of `address … address + width`, which is aligned to `width`. */
  find(address: number, width: AccessWidth): Hit | undefined {
    const last = this.#last;
    if (last !== undefined && address >= last.start && address + width <= last.end) return last;
    return this.#walk(address, width);
  }

  #walk(address: number, width: AccessWidth): Hit | undefined {
    let start = 0;
    let end = Infinity;
    let bus: Bus | undefined = this.#root;
    while (bus !== undefined) {
      const claim = bus.claimAt(this.#space, address);
      if (claim === undefined) return undefined;
      start = Math.max(start, claim.start);
      end = Math.min(end, claim.end);
      if (claim.target instanceof Endpoint) {
        if (address + width > end) return undefined;
        return this.#remember(start, end, claim.target, claim.bar, claim.base);
      }
      bus = claim.target.secondary;
    }
    return undefined;
  }

  #remember(start: number, end: number, endpoint: Endpoint, bar: number, base: number): Hit {
    const hit = (this.#last ??= { start, end, endpoint, bar, base });
    hit.start = start;
    hit.end = end;
    hit.endpoint = endpoint;
    hit.bar = bar;
    hit.base = base;
    return hit;
  }
}
