import type { Chain, DeviceContext, Virtqueue } from '../virtio/device.js';
import type { ReplySink } from './server/block-request.js';

/** So much moved within one batch is worth an interrupt of its own: the driver goes on while we do. */
const BYTES_PER_FLUSH = 1 << 20;

/** The way back to one queue, from one activation to the reset that ends it. */
export class ReplyLane implements ReplySink {
  readonly queue: Virtqueue;
  readonly #context: DeviceContext;
  /** True while the queue's service is at work, which flushes after its batch. */
  #inBatch = false;
  #flushDue = false;
  #unflushedBytes = 0;

  constructor(queue: Virtqueue, context: DeviceContext) {
    this.queue = queue;
    this.#context = context;
  }

  /** Runs one step of a batch. */
  batch(work: (chain: Chain, sink: ReplySink) => void, chain: Chain): void {
    this.#inBatch = true;
    work(chain, this);
    this.#inBatch = false;
  }

  done(chain: Chain, writtenBytes: number): void {
    // A chain that is pushed may be used again at once: its length is looked at before.
    this.#unflushedBytes += chain.readable.byteLength + chain.writable.byteLength;
    this.queue.push(chain, writtenBytes);
    if (!this.#inBatch) this.#flushSoon();
    else if (this.#unflushedBytes >= BYTES_PER_FLUSH) this.#flushNow();
  }

  fault(reason: string): void {
    this.#context.fault(reason);
  }

  /** Threads that end together are told of in one turn of the event loop: their requests share a flush, and an interrupt. */
  #flushSoon(): void {
    if (this.#flushDue) return;
    this.#flushDue = true;
    afterEvents(this.#flushNow);
  }

  readonly #flushNow = (): void => {
    this.#flushDue = false;
    this.#unflushedBytes = 0;
    this.queue.flush();
  };
}

/** Once every event that is there has been handled, and before any that is waited for; at once where there is no such time. */
const afterEvents: (work: () => void) => void =
  typeof setImmediate === 'function' ? setImmediate : queueMicrotask;
