/** A receive queue: buffers that the device fills, and frames put together from them. */
import type { BufferPool } from '../memory/buffer-pool.js';
import type { RamRange } from '../memory/ram.js';
import type { DriverQueue, QueueRequest } from '../virtio/queue.js';
import { NUM_BUFFERS_AT } from './constants.js';
import { readWork, type FrameWork } from './frame-work.js';

/** A frame as it came. */
export interface ReceivedFrame extends FrameWork {
  readonly bytes: Uint8Array;
  /** The pair of queues that it came by. */
  readonly queuePair: number;
  /** Buffers that it took. */
  readonly bufferCount: number;
}

export interface ReceiveOptions {
  readonly queuePair: number;
  readonly headerBytes: number;
  readonly mergeable: boolean;
  readonly bufferBytes: number;
  readonly buffers: number;
  readonly received: (frame: ReceivedFrame) => void;
}

class ReceiveBuffer implements QueueRequest {
  readonly addresses: readonly number[];
  readonly lengths: readonly number[];
  readonly readableCount = 0;
  readonly count = 1;
  readonly ram: RamRange;
  readonly #done: (buffer: ReceiveBuffer, result: number) => void;

  constructor(ram: RamRange, lengthBytes: number, done: (buffer: ReceiveBuffer, result: number) => void) {
    this.ram = ram;
    this.addresses = [ram.address];
    this.lengths = [lengthBytes];
    this.#done = done;
  }

  complete(result: number): void {
    this.#done(this, result);
  }
}

export class ReceiveRing {
  readonly #queue: DriverQueue;
  readonly #pool: BufferPool;
  readonly #options: ReceiveOptions;
  /** Buffers that the driver has and the device has not. */
  readonly #idle: ReceiveBuffer[] = [];
  /** The parts of the frame that is coming in, and how many buffers it says to have. */
  #parts: Uint8Array[] = [];
  #expected = 0;
  #work: FrameWork = {};
  #holding = false;

  constructor(queue: DriverQueue, pool: BufferPool, options: ReceiveOptions) {
    this.#queue = queue;
    this.#pool = pool;
    this.#options = options;
    for (let i = 0; i < Math.min(options.buffers, queue.capacity(1)); i++) {
      const ram = pool.take(options.bufferBytes);
      if (ram === undefined) break;
      this.#idle.push(
        new ReceiveBuffer(ram, options.bufferBytes, (buffer, result) => this.#used(buffer, result)),
      );
    }
    this.#post();
  }

  /** While true, used buffers are not given to the device again: a guest that is too slow. */
  set holding(holding: boolean) {
    this.#holding = holding;
    if (!holding) this.#post();
  }

  /** Gives RAM back. Only once the device has no buffers any more. */
  close(): void {
    for (const { ram } of this.#idle.splice(0)) this.#pool.give(ram);
  }

  #post(): void {
    while (this.#idle.length > 0 && this.#queue.add(this.#idle[this.#idle.length - 1])) this.#idle.pop();
  }

  #used(buffer: ReceiveBuffer, result: number): void {
    if (result > 0) this.#collect(buffer.ram, result);
    this.#idle.push(buffer);
    if (result >= 0 && !this.#holding) this.#post();
  }

  #collect({ bytes, view }: RamRange, lengthBytes: number): void {
    const { headerBytes, mergeable, queuePair, received } = this.#options;
    if (this.#parts.length === 0) {
      this.#work = readWork(view);
      this.#expected = mergeable ? view.getUint16(NUM_BUFFERS_AT, true) : 1;
      this.#parts.push(bytes.slice(headerBytes, lengthBytes));
    } else this.#parts.push(bytes.slice(0, lengthBytes));
    if (this.#parts.length < this.#expected) return;
    const parts = this.#parts;
    this.#parts = [];
    received({ ...this.#work, bytes: joined(parts), queuePair, bufferCount: parts.length });
  }
}

function joined(parts: readonly Uint8Array[]): Uint8Array {
  if (parts.length === 1) return parts[0];
  const bytes = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}
