import { ETHERNET_HEADER_BYTES } from '../../ethernet.js';
import { MAX_FRAME_BYTES, type Frame } from '../../frame.js';
import { readHeader } from '../../header.js';
import { FrameLayout } from '../../offload/layout.js';
import { isSound } from '../../offload/soundness.js';
import { PREFIX_BYTES, type StreamFraming } from './framing.js';

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
  readonly bytes: Uint8Array;
  readonly #headerBytes: StreamFraming;
  readonly #mostBytes: number;
  readonly #view: DataView;
  readonly #layout = new FrameLayout();
  #start = 0;
  /** Where bytes are to be read to; to the end of `bytes` there is room for some. */
  end = 0;
  /** The length that was refused. */
  badLength = 0;

  constructor(framing: StreamFraming) {
    this.#headerBytes = framing;
    this.#mostBytes = framing + MAX_FRAME_BYTES;
    this.bytes = new Uint8Array(2 * (PREFIX_BYTES + this.#mostBytes));
    this.#view = new DataView(this.bytes.buffer);
  }

  /** What has been read and is not done with. */
  get left(): Uint8Array {
    return this.bytes.slice(this.#start, this.end);
  }

  clear(): void {
    this.#start = this.end = 0;
  }

  /**
   * Makes `frame` the next one. It stays the next one until `advance`. What is too short to be a frame, or says of itself what does not
   * fit it, is skipped.
   */
  peek(frame: Frame): Next {
    for (;;) {
      const there = this.end - this.#start;
      if (there < PREFIX_BYTES) return this.#wait();
      const length = this.#view.getUint32(this.#start);
      if (length > this.#mostBytes) {
        this.badLength = length;
        return Next.BAD_LENGTH;
      }
      if (there < PREFIX_BYTES + length) return this.#wait();
      if (this.#take(frame, length)) return Next.FRAME;
      this.#start += PREFIX_BYTES + length;
    }
  }

  /** The frame of the last `peek` is done with. */
  advance(frame: Frame): void {
    this.#start += PREFIX_BYTES + this.#headerBytes + frame.byteLength;
  }

  #take(frame: Frame, lengthBytes: number): boolean {
    const frameBytes = lengthBytes - this.#headerBytes;
    if (frameBytes < ETHERNET_HEADER_BYTES) return false;
    const at = this.#start + PREFIX_BYTES;
    frame.clear();
    frame.data.push(this.bytes, at + this.#headerBytes, frameBytes, 0);
    if (this.#headerBytes === 0) return true;
    readHeader(this.#view, frame, at);
    return isSound(frame, this.#layout);
  }

  /** What is there moves to the front, where the rest of it may not have room behind it. */
  #wait(): Next {
    if (this.bytes.length - this.#start < PREFIX_BYTES + this.#mostBytes || this.#start === this.end) {
      this.bytes.copyWithin(0, this.#start, this.end);
      this.end -= this.#start;
      this.#start = 0;
    }
    return Next.PART;
  }
}
