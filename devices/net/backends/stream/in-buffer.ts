import { ETHERNET_HEADER_BYTES } from '../../ethernet.js';
import { MAX_FRAME_BYTES, type Frame } from '../../frame.js';
import { PREFIX_BYTES } from './out-buffer.js';

/** What is next in the stream. */
export const Next = {
  FRAME: 0,
  /** Less than a frame, so far. */
  PART: 1,
  /** A length that no frame has: the peer does not speak the protocol. */
  BAD_LENGTH: 2,
} as const;
export type Next = (typeof Next)[keyof typeof Next];

/** Frames out of a socket's stream. */
export class InBuffer {
  /** Room for two of the longest frames, so that there is always some to read into. */
  readonly bytes = new Uint8Array(2 * (PREFIX_BYTES + MAX_FRAME_BYTES));
  readonly #view = new DataView(this.bytes.buffer);
  #start = 0;
  /** Where bytes are to be read to; to the end of `bytes` there is room for some. */
  end = 0;
  /** The length that was refused. */
  badLength = 0;

  clear(): void {
    this.#start = this.end = 0;
  }

  /** Makes `frame` the next one. It stays the next one until `advance`. Frames that are too short to be any are skipped. */
  peek(frame: Frame): Next {
    for (;;) {
      const there = this.end - this.#start;
      if (there < PREFIX_BYTES) return this.#wait();
      const length = this.#view.getUint32(this.#start);
      if (length > MAX_FRAME_BYTES) {
        this.badLength = length;
        return Next.BAD_LENGTH;
      }
      if (there < PREFIX_BYTES + length) return this.#wait();
      if (length < ETHERNET_HEADER_BYTES) {
        this.#start += PREFIX_BYTES + length;
        continue;
      }
      frame.clear();
      frame.data.push(this.bytes, this.#start + PREFIX_BYTES, length, 0);
      return Next.FRAME;
    }
  }

  /** The frame of the last `peek` is done with. */
  advance(frame: Frame): void {
    this.#start += PREFIX_BYTES + frame.byteLength;
  }

  /** What is there moves to the front, where the rest of it may not have room behind it. */
  #wait(): Next {
    if (this.bytes.length - this.#start < PREFIX_BYTES + MAX_FRAME_BYTES || this.#start === this.end) {
      this.bytes.copyWithin(0, this.#start, this.end);
      this.end -= this.#start;
      this.#start = 0;
    }
    return Next.PART;
  }
}
