import type { Chain, Virtqueue } from '../virtio/device.js';

/** The way back to one queue, from one activation to the reset that ends it. */
export class QueueReplies {
  readonly queue: Virtqueue;
  /** True while the queue's service is at work, which flushes after its batch. */
  inBatch = false;
  #flushDue = false;

  constructor(queue: Virtqueue) {
    this.queue = queue;
  }

  readonly done = (chain: Chain, replyBytes: number): void => {
    this.queue.push(chain, replyBytes);
    if (this.inBatch || this.#flushDue) return;
    this.#flushDue = true;
    // Requests that end in the same turn of the event loop share a flush, and with it an interrupt.
    queueMicrotask(this.#flush);
  };

  readonly #flush = (): void => {
    this.#flushDue = false;
    this.queue.flush();
  };
}
