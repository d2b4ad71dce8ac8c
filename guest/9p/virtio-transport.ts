/** 9p messages over a virtqueue: a request's chain is its T-message to read and room for its R-message to write. */
import { GuestError } from '../errors.js';
import type { BufferPool } from '../memory/buffer-pool.js';
import type { RamRange } from '../memory/ram.js';
import type { DriverQueue, QueueRequest } from '../virtio/queue.js';
import type { Exchange, Transport9p } from './transport.js';

/** The request and the reply are one buffer each: guest RAM is handed out in contiguous runs. */
const BUFFERS_PER_REQUEST = 2;

class VirtioExchange implements Exchange, QueueRequest {
  readonly addresses = [0, 0];
  readonly lengths = [0, 0];
  readonly readableCount = 1;
  readonly count = BUFFERS_PER_REQUEST;
  request!: RamRange;
  reply!: RamRange;
  readonly #transport: VirtioTransport9p;
  #resolve: ((replyBytes: number) => void) | undefined;
  #reject: ((error: GuestError) => void) | undefined;
  /** The device has the buffers. */
  #out = false;
  #released = false;

  constructor(transport: VirtioTransport9p) {
    this.#transport = transport;
  }

  start(request: RamRange, reply: RamRange): void {
    this.request = request;
    this.reply = reply;
    this.#released = false;
  }

  get replyCapacity(): number {
    return this.reply.sizeBytes;
  }

  send(lengthBytes: number): Promise<number> {
    this.addresses[0] = this.request.address;
    this.addresses[1] = this.reply.address;
    this.lengths[0] = lengthBytes;
    this.lengths[1] = this.reply.sizeBytes;
    return new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
      this.#out = this.#transport.submit(this);
      if (!this.#out) reject(this.#transport.failure());
    });
  }

  cancel(): void {
    this.#resolve = undefined;
    this.#reject = undefined;
  }

  release(): void {
    this.#released = true;
    if (!this.#out) this.#transport.recycle(this);
  }

  complete(result: number): void {
    this.#out = false;
    if (result < 0) this.#reject?.(new GuestError(result, { syscall: 'send' }));
    // Given back unanswered, since what would have answered is gone.
    else if (result === 0 && this.#transport.hasFailed) this.#reject?.(this.#transport.failure());
    else this.#resolve?.(result);
    if (this.#released) this.#transport.recycle(this);
  }
}

interface Waiter {
  readonly requestBytes: number;
  readonly replyBytes: number;
  readonly urgent: boolean;
  readonly resolve: (exchange: Exchange) => void;
  readonly reject: (error: GuestError) => void;
}

export class VirtioTransport9p implements Transport9p {
  readonly maxMessageBytes: number;
  readonly #queue: DriverQueue;
  readonly #pool: BufferPool;
  readonly #closeDevice: () => Promise<void>;
  readonly #idle: VirtioExchange[] = [];
  readonly #waiters: Waiter[] = [];
  /** Requests that the ring always has room for. */
  readonly #capacity: number;
  #busy = 0;
  #failure: string | undefined;

  /**
   * `closeDevice` resets the device, which fails everything under way. Messages are `maxMessageBytes` long at most: with a
   * buffer a message, the queue sets no other bound.
   */
  constructor(
    queue: DriverQueue,
    pool: BufferPool,
    maxMessageBytes: number,
    closeDevice: () => Promise<void>,
  ) {
    this.#queue = queue;
    this.#pool = pool;
    this.maxMessageBytes = maxMessageBytes;
    this.#closeDevice = closeDevice;
    this.#capacity = queue.capacity(BUFFERS_PER_REQUEST);
  }

  acquire(
    requestBytes: number,
    replyBytes: number,
    signal?: AbortSignal,
    urgent = false,
  ): Exchange | Promise<Exchange> {
    if (this.#failure !== undefined) throw this.failure();
    const exchange = this.#waitsBefore(urgent) ? undefined : this.#take(requestBytes, replyBytes, urgent);
    return exchange ?? this.#wait(requestBytes, replyBytes, signal, urgent);
  }

  async close(): Promise<void> {
    this.fail('EIO');
    await this.#closeDevice();
  }

  /** The device broke or went: whoever waits is rejected with `code`, and so is everybody who comes. */
  fail(code: string): void {
    this.#failure ??= code;
    for (const waiter of this.#waiters.splice(0)) waiter.reject(this.failure());
  }

  get hasFailed(): boolean {
    return this.#failure !== undefined;
  }

  failure(): GuestError {
    return new GuestError(this.#failure ?? 'EIO', { syscall: 'send' });
  }

  /** Hands an exchange's request to the device; false where the ring is broken. */
  submit(exchange: VirtioExchange): boolean {
    return this.#failure === undefined && this.#queue.add(exchange);
  }

  /** Takes back an exchange that neither its user nor the device holds. */
  recycle(exchange: VirtioExchange): void {
    this.#pool.give(exchange.request);
    this.#pool.give(exchange.reply);
    this.#idle.push(exchange);
    this.#busy--;
    this.#serveWaiters();
  }

  /** Whoever came first goes first; urgent requests queue among themselves. */
  #waitsBefore(urgent: boolean): boolean {
    return this.#waiters.length > 0 && this.#waiters.some((waiter) => waiter.urgent === urgent);
  }

  #take(requestBytes: number, replyBytes: number, urgent: boolean): VirtioExchange | undefined {
    // The last place is for flushes, unless it is the only one.
    const limit = urgent || this.#capacity === 1 ? this.#capacity : this.#capacity - 1;
    if (this.#busy >= limit) return undefined;
    const request = this.#pool.take(requestBytes);
    const reply = request === undefined ? undefined : this.#pool.take(replyBytes);
    if (request === undefined || reply === undefined) {
      if (request !== undefined) this.#pool.give(request);
      return undefined;
    }
    this.#busy++;
    const exchange = this.#idle.pop() ?? new VirtioExchange(this);
    exchange.start(request, reply);
    return exchange;
  }

  #wait(
    requestBytes: number,
    replyBytes: number,
    signal: AbortSignal | undefined,
    urgent: boolean,
  ): Promise<Exchange> {
    // With nothing under way nothing comes free: more was asked for than there is.
    if (this.#busy === 0) throw outOfMemory();
    return new Promise((resolve, reject) => {
      const onAbort = () => {
        this.#waiters.splice(this.#waiters.indexOf(waiter), 1);
        reject(signal?.reason as Error);
        this.#serveWaiters();
      };
      const settle = () => signal?.removeEventListener('abort', onAbort);
      const waiter: Waiter = {
        requestBytes,
        replyBytes,
        urgent,
        resolve: (exchange) => {
          settle();
          resolve(exchange);
        },
        reject: (error) => {
          settle();
          reject(error);
        },
      };
      this.#waiters.push(waiter);
      signal?.addEventListener('abort', onAbort);
    });
  }

  #serveWaiters(): void {
    for (const urgent of [true, false]) {
      for (;;) {
        const index = this.#waiters.findIndex((waiter) => waiter.urgent === urgent);
        if (index < 0) break;
        const waiter = this.#waiters[index];
        const exchange = this.#take(waiter.requestBytes, waiter.replyBytes, urgent);
        if (exchange === undefined && this.#busy > 0) break;
        this.#waiters.splice(index, 1);
        if (exchange === undefined) waiter.reject(outOfMemory());
        else waiter.resolve(exchange);
      }
    }
  }
}

function outOfMemory(): GuestError {
  return new GuestError('ENOMEM', { syscall: 'send', detail: "no room in the guest's RAM" });
}
