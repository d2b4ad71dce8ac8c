import type { IoVector } from '../io-vector.js';
import { MAC_BYTES, sameMac } from './ethernet.js';

/** As many addresses as cards have had room for since long; who needs more gets everything, and filters by itself. */
const MAX_ADDRESSES = 64;

/** A table of a driver's addresses, which may be longer than there is room for here. */
export class MacList {
  /** count[1] overflowed[1] addresses[384]. */
  static readonly STATE_BYTES = 2 + MAX_ADDRESSES * MAC_BYTES;

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

  saveInto(bytes: Uint8Array, at: number): void {
    bytes[at] = this.#count;
    bytes[at + 1] = this.#overflowed ? 1 : 0;
    bytes.set(this.#bytes, at + 2);
  }

  /** False where there is no list at `at`. */
  restoreFrom(bytes: Uint8Array, at: number): boolean {
    this.#count = bytes[at];
    this.#overflowed = bytes[at + 1] === 1;
    this.#bytes.set(bytes.subarray(at + 2, at + MacList.STATE_BYTES));
    return this.#count <= MAX_ADDRESSES && bytes[at + 1] <= 1;
  }

  has(bytes: Uint8Array, at: number): boolean {
    if (this.#overflowed) return true;
    for (let i = 0; i < this.#count; i++) if (sameMac(this.#bytes, i * MAC_BYTES, bytes, at)) return true;
    return false;
  }
}
