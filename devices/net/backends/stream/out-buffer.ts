import type { Frame } from '../../frame.js';

/** Each frame goes behind its length, in network order, as QEMU's `-netdev stream` has it. */
export const PREFIX_BYTES = 4;

/** Frames on their way into a socket: bytes in one array, in their order. */
export class OutBuffer {
  readonly bytes: Uint8Array;
  readonly #view: DataView;
  /** What is not sent yet lies from here to there. */
  start = 0;
  #end = 0;

  constructor(capacityBytes: number) {
    this.bytes = new Uint8Array(capacityBytes);
    this.#view = new DataView(this.bytes.buffer);
  }

  get length(): number {
    return this.#end - this.start;
  }

  /** Room for bytes of frames and prefixes. */
  get free(): number {
    return this.bytes.length - this.length;
  }

  /** Appends a finished frame, for which there is room. */
  append(frame: Frame): void {
    const { byteLength } = frame;
    if (this.#end + PREFIX_BYTES + byteLength > this.bytes.length) this.#compact();
    this.#view.setUint32(this.#end, byteLength);
    frame.data.gather(0, this.bytes, this.#end + PREFIX_BYTES, byteLength);
    this.#end += PREFIX_BYTES + byteLength;
  }

  /** So much has been sent. */
  advance(lengthBytes: number): void {
    this.start += lengthBytes;
    if (this.start === this.#end) this.clear();
  }

  clear(): void {
    this.start = this.#end = 0;
  }

  #compact(): void {
    this.bytes.copyWithin(0, this.start, this.#end);
    this.#end -= this.start;
    this.start = 0;
  }
}
