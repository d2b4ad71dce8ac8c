/** Bytes on their way between a guest's command and the host: a bounded first in, first out. */
import type { IoVector } from '../../../../io-vector.js';

export class ByteQueue {
  readonly #capacityBytes: number;
  readonly #pieces: Uint8Array[] = [];
  /** Where the first piece goes on. */
  #at = 0;
  #lengthBytes = 0;

  /** Whoever puts something in asks `isFull` first: what is put in when it is not may exceed the capacity once. */
  constructor(capacityBytes: number) {
    this.#capacityBytes = capacityBytes;
  }

  get lengthBytes(): number {
    return this.#lengthBytes;
  }

  get isFull(): boolean {
    return this.#lengthBytes >= this.#capacityBytes;
  }

  /** `bytes` are the queue's from then on. */
  put(bytes: Uint8Array): void {
    if (bytes.length === 0) return;
    this.#pieces.push(bytes);
    this.#lengthBytes += bytes.length;
  }

  /** Moves up to `maxBytes` of it; answers how many. */
  takeInto(into: IoVector, maxBytes: number): number {
    return this.#take(maxBytes, (piece, from, taken, length) => into.scatter(taken, piece, from, length));
  }

  /** Up to `maxBytes` of it. */
  take(maxBytes: number): Uint8Array {
    const bytes = new Uint8Array(Math.min(maxBytes, this.#lengthBytes));
    this.#take(bytes.length, (piece, from, taken, length) =>
      bytes.set(piece.subarray(from, from + length), taken),
    );
    return bytes;
  }

  clear(): void {
    this.#pieces.length = 0;
    this.#at = this.#lengthBytes = 0;
  }

  #take(
    maxBytes: number,
    move: (piece: Uint8Array, from: number, taken: number, length: number) => void,
  ): number {
    let taken = 0;
    while (taken < maxBytes && this.#pieces.length > 0) {
      const [piece] = this.#pieces;
      const length = Math.min(piece.length - this.#at, maxBytes - taken);
      move(piece, this.#at, taken, length);
      taken += length;
      this.#at += length;
      if (this.#at < piece.length) break;
      this.#pieces.shift();
      this.#at = 0;
    }
    this.#lengthBytes -= taken;
    return taken;
  }
}
