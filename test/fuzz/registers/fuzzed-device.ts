import type { Chain, DeviceContext, VirtioDevice, Virtqueue } from '../../../devices/virtio/device.js';

export interface KeptChain {
  readonly queue: Virtqueue;
  readonly chain: Chain;
}

/** A device that completes some chains at once and keeps others, and keeps the books. */
export class FuzzedDevice implements VirtioDevice {
  readonly deviceId = 9;
  readonly pciClass = 0x00_02_00;
  readonly features = 1n;
  readonly queueSizes: readonly number[];
  readonly config = new Uint8Array(6);
  context: DeviceContext | undefined;
  /** What it has from each queue, and how many chains it was given since the session began that are not void. */
  readonly kept: KeptChain[] = [];
  readonly given: number[];
  /** Chains from before a reset, which are void. */
  readonly stale: KeptChain[] = [];
  /** Of how many chains it keeps one; 0 for none. */
  readonly #keepEvery: number;
  readonly #queueResetsEnd: boolean;
  #handled = 0;

  constructor(queueSizes: readonly number[], keepEvery: number, queueResetsEnd: boolean) {
    this.queueSizes = queueSizes;
    this.given = queueSizes.map(() => 0);
    this.#keepEvery = keepEvery;
    this.#queueResetsEnd = queueResetsEnd;
  }

  writeConfig(offset: number, bytes: Uint8Array): void {
    this.config.set(bytes, offset);
  }

  activate(context: DeviceContext): void {
    if (this.context !== undefined) throw new Error('it was activated while it is at work');
    this.context = context;
    this.given.fill(0);
  }

  handleChain(queue: Virtqueue, chain: Chain): void {
    if (this.context === undefined) throw new Error('a chain without a session');
    this.given[queue.index]++;
    if (this.#keepEvery > 0 && this.#handled++ % this.#keepEvery === 0) this.kept.push({ queue, chain });
    else queue.push(chain, chain.writable.byteLength);
  }

  complete(which: number): void {
    const [done] = this.kept.splice(which % this.kept.length, 1);
    if (done === undefined) return;
    done.queue.push(done.chain, 1);
    done.queue.flush();
  }

  /** Gives back a chain that is void: nobody may notice. */
  completeStale(which: number): void {
    const [done] = this.stale.splice(which % this.stale.length, 1);
    done?.queue.push(done.chain, 1);
    done?.queue.flush();
  }

  reset(): void {
    if (this.context === undefined) throw new Error('it was reset while it is not at work');
    this.context = undefined;
    this.stale.push(...this.kept.splice(0));
  }

  resetQueue(index: number): void | Promise<void> {
    const lost = this.kept.filter(({ queue }) => queue.index === index);
    this.given[index] -= lost.length;
    for (const each of lost) this.stale.push(...this.kept.splice(this.kept.indexOf(each), 1));
    return this.#queueResetsEnd ? undefined : new Promise(() => {});
  }

  close(): void {}
}
