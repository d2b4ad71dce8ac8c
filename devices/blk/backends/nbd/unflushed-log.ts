/**
 * Copies of the writes that a server has acknowledged and not yet brought to its medium. When the server goes away it may
 * have lost them: they are sent again before anything else, so that the flush which the guest counts on covers them. (NFS clients
 * keep unstable writes for the same reason.)
 *
 * A ring of bytes and a ring of entries, both of a fixed size: a write that does not fit is not kept, and has to be made durable
 * before it is acknowledged to the guest.
 */
import { IoVector } from '../../../io-vector.js';

const RING_BYTES = 32 * 2 ** 20;
const ENTRIES = 2 ** 15;
/** From so much on a flush of our own makes room. */
const HIGH_WATER_BYTES = RING_BYTES / 2;
const HIGH_WATER_ENTRIES = ENTRIES / 2;

/** Of what `save` tells: the number of entries, and each of them. */
const COUNT_BYTES = 4;
const ENTRY_BYTES = 16;

/** A kept write: its data, or how many zeroes. */
export interface KeptWrite {
  readonly offsetBytes: number;
  readonly lengthBytes: number;
  readonly isZeroes: boolean;
  /** Empty for zeroes. The log's own memory: good until the entry is dropped. */
  readonly data: IoVector;
}

export class UnflushedLog {
  /** Made with the first write: a disk that is only read needs none. The system gives it memory as it is used. */
  #ring: Uint8Array | undefined;
  readonly #offsets = new Float64Array(ENTRIES);
  readonly #lengths = new Float64Array(ENTRIES);
  readonly #zeroes = new Uint8Array(ENTRIES);
  /** Numbers of entries, and of bytes, that were ever dropped and ever added. */
  #firstEntry = 0;
  #nextEntry = 0;
  #firstByte = 0;
  #nextByte = 0;

  /** The number of the next entry: everything that is kept now has a smaller one. */
  get sequence(): number {
    return this.#nextEntry;
  }

  get isEmpty(): boolean {
    return this.#firstEntry === this.#nextEntry;
  }

  /** Whether a flush should make room soon. */
  get isFilling(): boolean {
    return (
      this.#nextByte - this.#firstByte >= HIGH_WATER_BYTES ||
      this.#nextEntry - this.#firstEntry >= HIGH_WATER_ENTRIES
    );
  }

  /** Keeps `lengthBytes` of the vector from `from` on; false where there is no room. */
  addWrite(offsetBytes: number, vector: IoVector, from: number, lengthBytes: number): boolean {
    if (RING_BYTES - (this.#nextByte - this.#firstByte) < lengthBytes) return false;
    if (!this.#add(offsetBytes, lengthBytes, false)) return false;
    const ring = (this.#ring ??= new Uint8Array(RING_BYTES));
    const at = this.#nextByte % RING_BYTES;
    const first = Math.min(lengthBytes, RING_BYTES - at);
    vector.gather(from, ring, at, first);
    vector.gather(from + first, ring, 0, lengthBytes - first);
    this.#nextByte += lengthBytes;
    return true;
  }

  addZeroes(offsetBytes: number, lengthBytes: number): boolean {
    return this.#add(offsetBytes, lengthBytes, true);
  }

  /** Everything with a number below `sequence` is on the medium. */
  flushed(sequence: number): void {
    while (this.#firstEntry < sequence) {
      const entry = this.#firstEntry % ENTRIES;
      if (this.#zeroes[entry] === 0) this.#firstByte += this.#lengths[entry];
      this.#firstEntry++;
    }
  }

  /** What is kept, oldest first. Nothing is added or dropped meanwhile. */
  *entries(): Generator<KeptWrite> {
    let byte = this.#firstByte;
    for (let number = this.#firstEntry; number < this.#nextEntry; number++) {
      const entry = number % ENTRIES;
      const lengthBytes = this.#lengths[entry];
      const isZeroes = this.#zeroes[entry] === 1;
      const data = isZeroes ? new IoVector() : this.#dataAt(byte, lengthBytes);
      if (!isZeroes) byte += lengthBytes;
      yield { offsetBytes: this.#offsets[entry], lengthBytes, isZeroes, data };
    }
  }

  /** All that is kept: count[4], then count of offset[8] length[4] isZeroes[4], and the data. Little-endian, the offset a double. */
  save(): Uint8Array {
    const entries = [...this.entries()];
    const dataBytes = entries.reduce((sum, { data }) => sum + data.byteLength, 0);
    const bytes = new Uint8Array(COUNT_BYTES + entries.length * ENTRY_BYTES + dataBytes);
    const view = new DataView(bytes.buffer);
    view.setUint32(0, entries.length, true);
    let dataAt = COUNT_BYTES + entries.length * ENTRY_BYTES;
    for (const [number, { offsetBytes, lengthBytes, isZeroes, data }] of entries.entries()) {
      const at = COUNT_BYTES + number * ENTRY_BYTES;
      view.setFloat64(at, offsetBytes, true);
      view.setUint32(at + 8, lengthBytes, true);
      view.setUint32(at + 12, Number(isZeroes), true);
      data.gather(0, bytes, dataAt, data.byteLength);
      dataAt += data.byteLength;
    }
    return bytes;
  }

  /** Keeps what another log saved, in place of everything. False where that is none. */
  restore(bytes: Uint8Array): boolean {
    this.flushed(this.#nextEntry);
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    const count = bytes.byteLength < COUNT_BYTES ? Infinity : view.getUint32(0, true);
    let dataAt = COUNT_BYTES + count * ENTRY_BYTES;
    if (count > ENTRIES || dataAt > bytes.byteLength) return false;
    for (let at = COUNT_BYTES; at < COUNT_BYTES + count * ENTRY_BYTES; at += ENTRY_BYTES) {
      const offsetBytes = view.getFloat64(at, true);
      const lengthBytes = view.getUint32(at + 8, true);
      const isZeroes = view.getUint32(at + 12, true) === 1;
      if (!Number.isSafeInteger(offsetBytes) || offsetBytes < 0) return false;
      const data = new IoVector();
      if (!isZeroes && lengthBytes > bytes.byteLength - dataAt) return false;
      if (!isZeroes) data.push(bytes, dataAt, lengthBytes, 0);
      dataAt += data.byteLength;
      const kept = isZeroes
        ? this.addZeroes(offsetBytes, lengthBytes)
        : this.addWrite(offsetBytes, data, 0, lengthBytes);
      if (!kept) return false;
    }
    return dataAt === bytes.byteLength;
  }

  #add(offsetBytes: number, lengthBytes: number, isZeroes: boolean): boolean {
    if (this.#nextEntry - this.#firstEntry >= ENTRIES) return false;
    const entry = this.#nextEntry++ % ENTRIES;
    this.#offsets[entry] = offsetBytes;
    this.#lengths[entry] = lengthBytes;
    this.#zeroes[entry] = isZeroes ? 1 : 0;
    return true;
  }

  #dataAt(byte: number, lengthBytes: number): IoVector {
    const ring = this.#ring as Uint8Array;
    const at = byte % RING_BYTES;
    const first = Math.min(lengthBytes, RING_BYTES - at);
    const data = new IoVector();
    data.push(ring, at, first, 0);
    if (first < lengthBytes) data.push(ring, 0, lengthBytes - first, 0);
    return data;
  }
}
