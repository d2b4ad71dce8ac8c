/**
 * Cursors over one message: a reader that cannot leave its payload, and a writer that grows its buffer. Both keep one DataView,
 * and a message costs them no allocation.
 */
import type { AccessWidth } from '../../../devices/pci/function.js';

const TWO_POW_32 = 2 ** 32;

/** Reads a payload. Past its end every read gives 0 and `overrun` stays true: check once, after the last field. */
export class WireReader {
  overrun = false;
  #bytes: Uint8Array;
  #view: DataView;
  #position = 0;
  #end = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  /** Another buffer in the place of the present one. */
  rebase(bytes: Uint8Array): void {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  /** Reads from `position` up to `end`, both in the buffer. */
  reset(position: number, end: number): void {
    this.#position = position;
    this.#end = end;
    this.overrun = false;
  }

  get remaining(): number {
    return this.#end - this.#position;
  }

  /** The present position, for `rewind`. */
  mark(): number {
    return this.#position;
  }

  rewind(mark: number): void {
    this.#position = mark;
  }

  u8(): number {
    const at = this.#advance(1);
    return at < 0 ? 0 : this.#view.getUint8(at);
  }

  u16(): number {
    const at = this.#advance(2);
    return at < 0 ? 0 : this.#view.getUint16(at, true);
  }

  u32(): number {
    const at = this.#advance(4);
    return at < 0 ? 0 : this.#view.getUint32(at, true);
  }

  /** Exact up to 2^53; larger values come out above `Number.MAX_SAFE_INTEGER`, which is how their user tells. */
  u64(): number {
    const at = this.#advance(8);
    if (at < 0) return 0;
    return this.#view.getUint32(at + 4, true) * TWO_POW_32 + this.#view.getUint32(at, true);
  }

  /** A little-endian value of a register's width. */
  value(width: AccessWidth): number {
    if (width === 4) return this.u32();
    return width === 2 ? this.u16() : this.u8();
  }

  skip(lengthBytes: number): void {
    this.#advance(lengthBytes);
  }

  /** The next `lengthBytes` bytes in place: valid until the message is finished. Empty when there are not so many. */
  bytes(lengthBytes: number): Uint8Array {
    const at = this.#advance(lengthBytes);
    return at < 0 ? this.#bytes.subarray(0, 0) : this.#bytes.subarray(at, at + lengthBytes);
  }

  #advance(lengthBytes: number): number {
    const at = this.#position;
    if (this.overrun || lengthBytes > this.#end - at) {
      this.overrun = true;
      return -1;
    }
    this.#position = at + lengthBytes;
    return at;
  }
}

/** Writes a message. Call `reserve` before the fields it makes room for; `put…` beyond it throws a RangeError. */
export class WireWriter {
  bytes: Uint8Array<ArrayBuffer>;
  position = 0;
  #view: DataView;

  constructor(capacityBytes: number) {
    this.bytes = new Uint8Array(capacityBytes);
    this.#view = new DataView(this.bytes.buffer);
  }

  /** Makes room for `lengthBytes` more bytes from `position` on. */
  reserve(lengthBytes: number): void {
    const needed = this.position + lengthBytes;
    if (needed <= this.bytes.byteLength) return;
    const grown = new Uint8Array(needed);
    grown.set(this.bytes.subarray(0, this.position));
    this.bytes = grown;
    this.#view = new DataView(grown.buffer);
  }

  putU16(value: number): void {
    this.#view.setUint16(this.position, value, true);
    this.position += 2;
  }

  putU32(value: number): void {
    this.#view.setUint32(this.position, value, true);
    this.position += 4;
  }

  /** A non-negative integer up to 2^53. */
  putU64(value: number): void {
    this.#view.setUint32(this.position, value >>> 0, true);
    this.#view.setUint32(this.position + 4, Math.floor(value / TWO_POW_32), true);
    this.position += 8;
  }

  /** A little-endian value of a register's width. */
  putValue(width: AccessWidth, value: number): void {
    if (width === 4) this.#view.setUint32(this.position, value, true);
    else if (width === 2) this.#view.setUint16(this.position, value, true);
    else this.#view.setUint8(this.position, value);
    this.position += width;
  }

  putBytes(bytes: Uint8Array): void {
    this.bytes.set(bytes, this.position);
    this.position += bytes.byteLength;
  }
}
