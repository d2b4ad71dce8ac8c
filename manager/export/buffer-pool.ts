/** Memory for messages, in a few sizes, reused. All of it stays in place, so that the kernel can be given its address. */
import type { IoSource } from '../../devices/io-vector.js';
import { addressOf } from '../../host/index.js';

export class MessageBuffer implements IoSource {
  readonly bytes: Uint8Array;
  readonly view: DataView;
  readonly bytesOffset = 0;
  readonly address: number;

  constructor(byteLength: number) {
    const memory = new ArrayBuffer(byteLength);
    this.bytes = new Uint8Array(memory);
    this.view = new DataView(memory);
    this.address = addressOf(this.bytes);
  }

  get byteLength(): number {
    return this.bytes.byteLength;
  }
}

/** The smallest size is 2 to the power of this. */
const SMALLEST_LOG2 = 14;
/** Room beside a power of two, in which data usually comes, for the header before it and for what was received behind it. */
const EXTRA_BYTES = 4096;
/** What is kept for reuse at most; the rest is left to the garbage collector. */
const MAX_IDLE_BYTES = 64 * 2 ** 20;

export class BufferPool {
  readonly #idle: MessageBuffer[][] = [];
  #idleBytes = 0;

  /** A buffer of at least `lengthBytes`, with whatever is in it. */
  take(lengthBytes: number): MessageBuffer {
    const size = sizeIndex(lengthBytes);
    const buffer = this.#idle[size]?.pop();
    if (buffer === undefined) return new MessageBuffer(2 ** (SMALLEST_LOG2 + size) + EXTRA_BYTES);
    this.#idleBytes -= buffer.byteLength;
    return buffer;
  }

  give(buffer: MessageBuffer): void {
    if (this.#idleBytes + buffer.byteLength > MAX_IDLE_BYTES) return;
    this.#idleBytes += buffer.byteLength;
    (this.#idle[sizeIndex(buffer.byteLength)] ??= []).push(buffer);
  }
}

function sizeIndex(lengthBytes: number): number {
  const rest = Math.max(1, lengthBytes - EXTRA_BYTES);
  return Math.max(0, 32 - Math.clz32(rest - 1) - SMALLEST_LOG2);
}
