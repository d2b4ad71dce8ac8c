const TWO_POW_32 = 0x1_0000_0000;
const FIRST_BYTES = 4096;

/** Bytes of a field. 8 bytes hold a whole number up to 2^53. */
export type FieldWidth = 1 | 2 | 4 | 8;

/** Appends fields to a blob, little-endian. */
export class StateWriter {
  #bytes = new Uint8Array(FIRST_BYTES);
  #view = new DataView(this.#bytes.buffer);
  #lengthBytes = 0;

  /** What was written: the writer's own memory, good until it writes more. */
  get bytes(): Uint8Array {
    return this.#bytes.subarray(0, this.#lengthBytes);
  }

  write(width: FieldWidth, value: number): void {
    const at = this.#reserve(width);
    if (width === 1) this.#view.setUint8(at, value);
    else if (width === 2) this.#view.setUint16(at, value, true);
    else this.#view.setUint32(at, value % TWO_POW_32, true);
    if (width === 8) this.#view.setUint32(at + 4, Math.floor(value / TWO_POW_32), true);
  }

  /** The fields of `table`, in its order. */
  record<Name extends string>(
    table: Readonly<Record<Name, FieldWidth>>,
    fields: Readonly<Record<NoInfer<Name>, number>>,
  ): void {
    for (const name in table) this.write(table[name], fields[name]);
  }

  /** `count[4]`, then each of them. */
  list<Item>(items: readonly Item[], each: (item: Item) => void): void {
    this.write(4, items.length);
    for (const item of items) each(item);
  }

  /** The same of items that are made one after the other, so that there is never more than one of them. */
  stream<Item>(items: Iterable<Item>, each: (item: Item) => void): void {
    const at = this.#reserve(4);
    let count = 0;
    for (const item of items) {
      each(item);
      count++;
    }
    this.#view.setUint32(at, count, true);
  }

  /** `length[4] bytes[length]`, a byte a character. */
  text(characters: string): void {
    this.write(4, characters.length);
    const at = this.#reserve(characters.length);
    for (let i = 0; i < characters.length; i++) this.#bytes[at + i] = characters.charCodeAt(i);
  }

  /** `length[4] bytes[length]` */
  blob(bytes: Uint8Array): void {
    this.write(4, bytes.length);
    const at = this.#reserve(bytes.length);
    this.#bytes.set(bytes, at);
  }

  #reserve(lengthBytes: number): number {
    const at = this.#lengthBytes;
    this.#lengthBytes += lengthBytes;
    if (this.#lengthBytes > this.#bytes.length) {
      const grown = new Uint8Array(Math.max(this.#lengthBytes, 2 * this.#bytes.length));
      grown.set(this.#bytes);
      this.#bytes = grown;
      this.#view = new DataView(grown.buffer);
    }
    return at;
  }
}
