import type { Chain, VirtioDevice, Virtqueue } from '../../../../devices/virtio/device.js';
import { echo } from '../../../guest/virtio/echo-machine.js';

/** One that there are transitional functions of. */
const DEVICE_ID = 9;

/**
 * Echoes chains, and counts those that it is given; the count goes with it from one function to the next. Even queues echo at once. Odd ones
 * gather chains and answer in each turn of the event loop every other one of them, the newest first: so there are old chains under way,
 * with younger ones used before them.
 */
export class CountingDevice implements VirtioDevice {
  readonly deviceId = DEVICE_ID;
  readonly pciClass = 0xff0000;
  readonly features = 0n;
  readonly completesInOrder = true;
  readonly config = Uint8Array.of(3, 0, 0x61, 0x62, 0x63);
  readonly queueSizes: readonly number[];
  given = 0;
  restores = 0;
  /** Called with each chain: before the device sees it, and once it has been pushed. */
  onChain: (when: 'before' | 'after') => void = () => {};
  readonly #held: Chain[][];
  /** Chains from before a reset are not to be touched. */
  #resets = 0;

  constructor(queueCount: number, queueSize: number) {
    this.queueSizes = new Array<number>(queueCount).fill(queueSize);
    this.#held = this.queueSizes.map(() => []);
  }

  writeConfig(): void {}
  activate(): void {}
  close(): void {}

  handleChain(queue: Virtqueue, chain: Chain): void {
    const resets = this.#resets;
    this.given++;
    this.onChain('before');
    if (resets !== this.#resets) return;
    if (queue.index % 2 === 0) this.#answer(queue, chain);
    else if (this.#held[queue.index].push(chain) === 1) setImmediate(() => this.#answerSome(queue));
  }

  reset(): void {
    this.#resets++;
    for (const held of this.#held) held.length = 0;
  }

  resetQueue(index: number): void {
    this.#held[index].length = 0;
  }

  saveState(): Uint8Array {
    return new Uint8Array(Uint32Array.of(this.given).buffer);
  }

  restoreState(bytes: Uint8Array): string | undefined {
    if (bytes.length !== 4) return 'a count has 4 bytes';
    this.restores++;
    this.given = new DataView(bytes.buffer, bytes.byteOffset).getUint32(0, true);
    return undefined;
  }

  #answerSome(queue: Virtqueue): void {
    const resets = this.#resets;
    const held = this.#held[queue.index].splice(0);
    const now = held.filter((_, i) => (held.length - i) % 2 === 1).reverse();
    this.#held[queue.index].push(...held.filter((chain) => !now.includes(chain)));
    for (const chain of now) {
      if (resets === this.#resets) this.#answer(queue, chain);
    }
    queue.flush();
    if (this.#held[queue.index].length > 0) setImmediate(() => this.#answerSome(queue));
  }

  #answer(queue: Virtqueue, chain: Chain): void {
    echo(queue, chain);
    this.onChain('after');
  }
}
