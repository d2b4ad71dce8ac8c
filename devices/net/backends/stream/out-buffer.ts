import type { Frame } from '../../frame.js';
import { writeHeader } from '../../header.js';
import { PREFIX_BYTES, type StreamFraming } from './framing.js';

/** Frames on their way into a socket: bytes in one array, in their order. */
export class OutBuffer {
  readonly bytes: Uint8Array;
  readonly #headerBytes: StreamFraming;
  readonly #view: DataView;
  /** What is not sent yet lies from here to there. */
  start = 0;
  #end = 0;

  constructor(framing: StreamFraming, capacityBytes: number) {
    this.bytes = new Uint8Array(capacityBytes);
    this.#headerBytes = framing;
    this.#view = new DataView(this.bytes.buffer);
  }

  get length(): number {
    return this.#end - this.start;
  }

  /** Room for bytes of frames, and what goes before each. */
  get free(): number {
    return this.bytes.length - this.length;
  }

  /** What is not sent yet. */
  get left(): Uint8Array {
    return this.bytes.slice(this.start, this.#end);
  }

  /** What another buffer had not sent. False where it has no room here. */
  restore(left: Uint8Array): boolean {
    if (left.length > this.bytes.length) return false;
    this.bytes.set(left);
    this.start = 0;
    this.#end = left.length;
    return true;
  }

  /** Appends a frame, for which there is room; a finished one where the framing has no place for what is left to do. */
  append(frame: Frame): void {
    const { byteLength } = frame;
    const lengthBytes = this.#headerBytes + byteLength;
    if (this.#end + PREFIX_BYTES + lengthBytes > this.bytes.length) this.#compact();
    const at = this.#end + PREFIX_BYTES;
    this.#view.setUint32(this.#end, lengthBytes);
    if (this.#headerBytes > 0) writeHeader(this.#view, frame, 0, 0, at);
    frame.data.gather(0, this.bytes, at + this.#headerBytes, byteLength);
    this.#end = at + lengthBytes;
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
