import type { IoVector } from '../io-vector.js';
import { MAC_BYTES, sameMac } from './ethernet.js';

/** As many addresses as cards have had room for since long; who needs more gets everything, and filters by itself. */
const MAX_ADDRESSES = 64;

/** A table of a driver's addresses, which may be longer than there is room for here. */
export class MacList {
  readonly #bytes = new Uint8Array(MAX_ADDRESSES * MAC_BYTES);
  #count = 0;
  /** Whether there were more addresses than there is room for: then all are taken for listed. */
  #overflowed = false;

  clear(): void {
    this.#count = 0;
    this.#overflowed = false;
  }

  /** Takes over `entries` addresses from byte `from` on, which are there. */
  set(source: IoVector, from: number, entries: number): void {
    this.#overflowed = entries > MAX_ADDRESSES;
    this.#count = Math.min(entries, MAX_ADDRESSES);
    source.gather(from, this.#bytes, 0, this.#count * MAC_BYTES);
  }

  has(bytes: Uint8Array, at: number): boolean {
    if (this.#overflowed) return true;
    for (let i = 0; i < this.#count; i++) if (sameMac(this.#bytes, i * MAC_BYTES, bytes, at)) return true;
    return false;
  }
}
