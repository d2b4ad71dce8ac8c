/** Requests of copied bytes over a queue: for frames to send, and for commands. */
import { GuestError } from '../errors.js';
import type { BufferPool } from '../memory/buffer-pool.js';
import type { RamRange } from '../memory/ram.js';
import type { DriverQueue, QueueRequest } from '../virtio/queue.js';

/** Bytes for the device to read, in buffers of any cut, and room for its answer behind them. */
class CopiedRequest implements QueueRequest {
  readonly addresses: number[] = [];
  readonly lengths: number[] = [];
  readonly readableCount: number;
  readonly done: Promise<number>;
  #settle!: (result: number) => void;

  constructor(ram: RamRange, readableBytes: readonly number[], answerBytes: number) {
    let at = 0;
    for (const length of [...readableBytes, answerBytes]) {
      if (length === 0) continue;
      this.addresses.push(ram.address + at);
      this.lengths.push(length);
      at += length;
    }
    this.readableCount = this.addresses.length - (answerBytes > 0 ? 1 : 0);
    this.done = new Promise((resolve) => (this.#settle = resolve));
  }

  get count(): number {
    return this.addresses.length;
  }

  complete(result: number): void {
    this.#settle(result);
  }
}

export class RequestLane {
  readonly #queue: () => DriverQueue;
  readonly #pool: BufferPool;
  readonly #waiting: (() => void)[] = [];
  #failure: string | undefined;

  constructor(queue: () => DriverQueue, pool: BufferPool) {
    this.#queue = queue;
    this.#pool = pool;
  }

  /** Sends parts, each in a buffer of its own. Answers what the device wrote. Rejects with ENOMEM, EIO or ENODEV. */
  async send(parts: readonly Uint8Array[], answerBytes = 0): Promise<Uint8Array> {
    const readableBytes = parts.reduce((sum, part) => sum + part.length, 0);
    const ram = this.#pool.take(readableBytes + answerBytes);
    if (ram === undefined) throw new GuestError('ENOMEM', { syscall: 'send' });
    try {
      let at = 0;
      for (const part of parts) {
        ram.bytes.set(part, at);
        at += part.length;
      }
      const request = new CopiedRequest(
        ram,
        parts.map(({ length }) => length),
        answerBytes,
      );
      await this.#submit(request);
      const result = await request.done;
      if (result < 0) throw new GuestError(result, { syscall: 'send' });
      return ram.bytes.slice(at, at + result);
    } finally {
      this.#pool.give(ram);
      this.#waiting.shift()?.();
    }
  }

  /** The device broke or went: whoever waits for room is rejected with `code`. */
  fail(code: string): void {
    this.#failure ??= code;
    for (const wake of this.#waiting.splice(0)) wake();
  }

  async #submit(request: CopiedRequest): Promise<void> {
    for (;;) {
      if (this.#failure !== undefined) throw new GuestError(this.#failure, { syscall: 'send' });
      if (this.#queue().add(request)) return;
      await new Promise<void>((wake) => this.#waiting.push(wake));
    }
  }
}
