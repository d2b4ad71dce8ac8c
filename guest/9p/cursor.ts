/** Little-endian reading and writing of one message. Overruns stick: they are checked once, when the message is done. */
import type { MessageBuffer } from './transport.js';

const encoder = new TextEncoder();

/** A name or text as callers give it: strings are sent in UTF-8. */
export type Bytes = string | Uint8Array;

export function toBytes(value: Bytes): Uint8Array {
  return typeof value === 'string' ? encoder.encode(value) : value;
}

export class MessageWriter {
  #buffer!: MessageBuffer;
  #end = 0;
  #overrun = false;

  /** Bytes written so far. */
  get length(): number {
    return this.#end;
  }

  /** True where something did not fit its field or the buffer; the message is useless. */
  get overrun(): boolean {
    return this.#overrun;
  }

  start(buffer: MessageBuffer): void {
    this.#buffer = buffer;
    this.#end = 0;
    this.#overrun = false;
  }

  u8(value: number): void {
    const at = this.#advance(1);
    if (at >= 0) this.#buffer.view.setUint8(at, value);
  }

  u16(value: number): void {
    const at = this.#advance(2);
    if (at >= 0) this.#buffer.view.setUint16(at, value, true);
  }

  u32(value: number): void {
    const at = this.#advance(4);
    if (at >= 0) this.#buffer.view.setUint32(at, value, true);
  }

  /** An integer of up to 2^53, negative ones in two's complement. */
  u64(value: number): void {
    this.u32(value >>> 0);
    this.u32(Math.floor(value / 2 ** 32));
  }

  /** len[2] bytes[len] */
  string(value: Bytes): void {
    const bytes = toBytes(value);
    if (bytes.byteLength > 0xffff) {
      this.#overrun = true;
      return;
    }
    this.u16(bytes.byteLength);
    this.data(bytes);
  }

  data(bytes: Uint8Array): void {
    const at = this.#advance(bytes.byteLength);
    if (at >= 0) this.#buffer.bytes.set(bytes, at);
  }

  /** Overwrites the message's first four bytes. */
  setSize(size: number): void {
    this.#buffer.view.setUint32(0, size, true);
  }

  #advance(bytes: number): number {
    const at = this.#end;
    if (at + bytes > this.#buffer.bytes.byteLength) {
      this.#overrun = true;
      return -1;
    }
    this.#end = at + bytes;
    return at;
  }
}

export class MessageReader {
  #buffer!: MessageBuffer;
  #at = 0;
  #end = 0;
  #overrun = false;

  /** True where the message was shorter than its fields: what was read is 0 or empty from there on. */
  get overrun(): boolean {
    return this.#overrun;
  }

  /** Bytes not read yet. */
  get left(): number {
    return this.#end - this.#at;
  }

  /** Reads `buffer` from `at` to `end`, which lie inside it. */
  start(buffer: MessageBuffer, at: number, end: number): void {
    this.#buffer = buffer;
    this.#at = at;
    this.#end = end;
    this.#overrun = false;
  }

  u8(): number {
    const at = this.#advance(1);
    return at < 0 ? 0 : this.#buffer.view.getUint8(at);
  }

  u16(): number {
    const at = this.#advance(2);
    return at < 0 ? 0 : this.#buffer.view.getUint16(at, true);
  }

  u32(): number {
    const at = this.#advance(4);
    return at < 0 ? 0 : this.#buffer.view.getUint32(at, true);
  }

  /** Exact up to 2^53, rounded beyond. */
  u64(): number {
    const low = this.u32();
    return this.u32() * 2 ** 32 + low;
  }

  /** A signed 64-bit integer, for times: exact within ±2^53. */
  i64(): number {
    const low = this.u32();
    return (this.u32() | 0) * 2 ** 32 + low;
  }

  bigU64(): bigint {
    const low = this.u32();
    return (BigInt(this.u32()) << 32n) | BigInt(low);
  }

  /** len[2] bytes[len], copied. */
  string(): Uint8Array {
    return this.data(this.u16()).slice();
  }

  /** The next bytes in place: valid until the exchange is released. */
  data(lengthBytes: number): Uint8Array {
    const at = this.#advance(lengthBytes);
    return at < 0 ? new Uint8Array() : this.#buffer.bytes.subarray(at, at + lengthBytes);
  }

  /** Marks the message as not what its fields say. */
  fail(): void {
    this.#overrun = true;
  }

  /** Passes over reserved fields. */
  skip(lengthBytes: number): void {
    this.#advance(lengthBytes);
  }

  #advance(bytes: number): number {
    const at = this.#at;
    if (at + bytes > this.#end) {
      this.#overrun = true;
      this.#at = this.#end;
      return -1;
    }
    this.#at = at + bytes;
    return at;
  }
}
