/**
 * Cuts what a socket delivers into 9p messages, which are served where they were received. A buffer that a request still
 * uses is left to it, and receiving goes on in another.
 */
import { Errno } from '../../devices/errno.js';
import { HEADER_BYTES } from '../../devices/9p/protocol/constants.js';
import { receiveBytes } from '../../host/index.js';
import type { BufferPool, MessageBuffer } from './buffer-pool.js';

/**
 * Bytes asked for beyond the message that has begun: hundreds of small requests in one system call, and little to move where
 * messages are large.
 */
const AHEAD_BYTES = 65_536;

/** The beginning of a message is moved to the buffer's start where it is no longer than this, also if the rest has room behind it. */
const MOVED_BYTES = 4096;

/** A buffer and how many requests use a message in it. The receiver's own use counts as one. */
export interface Received {
  readonly buffer: MessageBuffer;
  users: number;
}

/** {@link Receiver.next}: no message can be of the size that the next one claims. */
export const BAD_SIZE = -1;

export class Receiver {
  readonly #fd: number;
  readonly #pool: BufferPool;
  readonly #maxMessageBytes: number;
  #current: Received;
  #start = 0;
  #end = 0;
  /** Bytes of the buffers that only requests use. */
  #lentBytes = 0;

  /** @param maxMessageBytes what a longer message is refused with {@link BAD_SIZE} for */
  constructor(fd: number, pool: BufferPool, maxMessageBytes: number) {
    this.#fd = fd;
    this.#pool = pool;
    this.#maxMessageBytes = maxMessageBytes;
    this.#current = { buffer: pool.take(AHEAD_BYTES), users: 1 };
  }

  get buffer(): MessageBuffer {
    return this.#current.buffer;
  }

  /** Where the message that `next` found starts in `buffer`. */
  get offset(): number {
    return this.#start;
  }

  get lentBytes(): number {
    return this.#lentBytes;
  }

  /** True where a message has begun. */
  get isPartial(): boolean {
    return this.#end > this.#start;
  }

  /** One receive. Call it when `next` has answered 0. Bytes received, 0 at the end of the stream, or a negative errno. */
  receive(): number {
    const haveBytes = this.#end - this.#start;
    const missingBytes = haveBytes < 4 ? 0 : this.#sizeField() - haveBytes;
    this.#makeRoom(haveBytes, missingBytes);
    const { buffer } = this.#current;
    const wanted = Math.min(missingBytes + AHEAD_BYTES, buffer.byteLength - this.#end);
    const received = receiveBytes(this.#fd, buffer.address + this.#end, wanted);
    if (received > 0) this.#end += received;
    return received === -Errno.EINTR ? -Errno.EAGAIN : received;
  }

  /** The size of the message at `offset`, 0 where it is not all there, or {@link BAD_SIZE}. */
  next(): number {
    const haveBytes = this.#end - this.#start;
    if (haveBytes < 4) return 0;
    const sizeBytes = this.#sizeField();
    if (sizeBytes < HEADER_BYTES || sizeBytes > this.#maxMessageBytes) return BAD_SIZE;
    return sizeBytes <= haveBytes ? sizeBytes : 0;
  }

  /** Goes on behind a message of this size. */
  skip(sizeBytes: number): void {
    this.#start += sizeBytes;
  }

  /** The buffer stays as it is until it is given to `unpin`. */
  pin(): Received {
    this.#current.users++;
    return this.#current;
  }

  unpin(received: Received): void {
    if (--received.users > 0) return;
    this.#lentBytes -= received.buffer.byteLength;
    this.#pool.give(received.buffer);
  }

  /** Lets go of the buffer. What is pinned stays so. */
  close(): void {
    this.#leave(this.#current);
  }

  #sizeField(): number {
    return this.#current.buffer.view.getUint32(this.#start, true);
  }

  /** Sees to it that what is missing of the message, and something of the next one, has room behind what there is of it. */
  #makeRoom(haveBytes: number, missingBytes: number): void {
    const { buffer, users } = this.#current;
    if (haveBytes === 0 && users === 1) {
      this.#start = 0;
      this.#end = 0;
      return;
    }
    const fits = buffer.byteLength - this.#end > missingBytes;
    if (fits && (users > 1 || haveBytes > MOVED_BYTES)) return;
    const neededBytes = haveBytes + missingBytes + 1;
    if (users > 1 || neededBytes > buffer.byteLength)
      this.#moveTo(this.#pool.take(Math.max(neededBytes, AHEAD_BYTES)));
    else buffer.bytes.copyWithin(0, this.#start, this.#end);
    this.#start = 0;
    this.#end = haveBytes;
  }

  #moveTo(buffer: MessageBuffer): void {
    const old = this.#current;
    buffer.bytes.set(old.buffer.bytes.subarray(this.#start, this.#end));
    this.#current = { buffer, users: 1 };
    this.#leave(old);
  }

  #leave(received: Received): void {
    this.#lentBytes += received.buffer.byteLength;
    this.unpin(received);
  }
}
