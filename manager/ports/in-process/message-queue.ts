/**
 * Interrupt messages on their way to the guest. A message that waits already is not queued again, as an interrupt controller
 * remembers a vector once: so the queue is never longer than the guest has messages set up.
 */
export class MessageQueue {
  readonly #addresses: number[] = [];
  readonly #data: number[] = [];

  push(address: number, data: number): void {
    for (let i = 0; i < this.#data.length; i++) {
      if (this.#data[i] === data && this.#addresses[i] === address) return;
    }
    this.#addresses.push(address);
    this.#data.push(data);
  }

  /** Takes the oldest message and gives it to `handler`; false where there is none. */
  deliver(handler: (address: number, data: number) => void): boolean {
    const address = this.#addresses.shift();
    const data = this.#data.shift();
    if (address === undefined || data === undefined) return false;
    handler(address, data);
    return true;
  }

  get length(): number {
    return this.#data.length;
  }

  clear(): void {
    this.#addresses.length = 0;
    this.#data.length = 0;
  }
}
