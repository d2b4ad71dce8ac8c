import type { FieldWidth } from './state-writer.js';

const TWO_POW_32 = 0x1_0000_0000;
const NO_BYTES = new Uint8Array(0);
/** Of a text, at a time: each character is an argument of a call. */
const CHUNK_BYTES = 4096;

/** Takes fields out of a blob that somebody else made. Beyond its end everything is 0 or empty, and `overrun` says so from then on. */
export class StateReader {
  overrun = false;
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  #at = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  get leftBytes(): number {
    return this.#bytes.length - this.#at;
  }

  read(width: FieldWidth): number {
    const at = this.#take(width);
    if (at < 0) return 0;
    if (width === 1) return this.#view.getUint8(at);
    if (width === 2) return this.#view.getUint16(at, true);
    const low = this.#view.getUint32(at, true);
    return width === 4 ? low : this.#view.getUint32(at + 4, true) * TWO_POW_32 + low;
  }

  /** The fields of `table`, in its order. */
  record<Name extends string>(table: Readonly<Record<Name, FieldWidth>>): Record<Name, number> {
    const fields: Partial<Record<Name, number>> = {};
    for (const name in table) fields[name] = this.read(table[name]);
    return fields as Record<Name, number>;
  }

  /** `count[4]`, then each of them. Stops where the blob ends, so that a count costs no more than there are bytes. */
  list<Item>(each: () => Item): Item[] {
    const items: Item[] = [];
    for (let left = this.read(4); left > 0 && !this.overrun; left--) items.push(each());
    return items;
  }

  /** `length[4] bytes[length]`, as a copy. */
  blob(): Uint8Array {
    const lengthBytes = this.read(4);
    const at = this.#take(lengthBytes);
    return at < 0 || lengthBytes === 0 ? NO_BYTES : this.#bytes.slice(at, at + lengthBytes);
  }

  /** The same, a character a byte. */
  text(): string {
    const lengthBytes = this.read(4);
    const at = this.#take(lengthBytes);
    let characters = '';
    for (let from = Math.max(at, 0), end = at + lengthBytes; at >= 0 && from < end; from += CHUNK_BYTES)
      characters += String.fromCharCode(...this.#bytes.subarray(from, Math.min(from + CHUNK_BYTES, end)));
    return characters;
  }

  /** Where the next `lengthBytes` bytes are, or -1. */
  #take(lengthBytes: number): number {
    if (this.overrun || lengthBytes > this.leftBytes) {
      this.overrun = true;
      return -1;
    }
    const at = this.#at;
    this.#at += lengthBytes;
    return at;
  }
}
