/**
 * A running ring that its front-end can disable, drain, and take the memory away from, while chains are with the device. The device
 * and the session see it as the ring.
 */
import type { Chain } from '../../../devices/virtio/device.js';
import type { RingPosition, RunningRing } from '../../../devices/virtio/ring/running-ring.js';

export class GatedRing implements RunningRing {
  readonly index: number;
  readonly size: number;
  readonly #ring: RunningRing;
  readonly #onIdle: () => void;
  /** Chains that the device has. */
  #inFlight = 0;
  #enabled = true;
  #held = false;
  /** Chains that came back while the ring was held, and how much was written to them. */
  readonly #heldChains: Chain[] = [];
  readonly #heldLengths: number[] = [];
  #idleWaiter: ((idle: boolean) => void) | undefined;

  /** `onIdle` is told each time the last chain has come back. */
  constructor(ring: RunningRing, onIdle: () => void) {
    this.index = ring.index;
    this.size = ring.size;
    this.#ring = ring;
    this.#onIdle = onIdle;
  }

  get broken(): boolean {
    return this.#ring.broken;
  }

  get position(): RingPosition {
    return this.#ring.position;
  }

  get inFlight(): number {
    return this.#inFlight;
  }

  get enabled(): boolean {
    return this.#enabled;
  }

  /** While disabled no chain is taken; those that the device has come back as ever. */
  set enabled(enabled: boolean) {
    this.#enabled = enabled;
  }

  /** The ring's own memory is gone, for now: nothing is read or written until `release`. */
  hold(): void {
    this.#held = true;
  }

  /** The ring's memory is where it was before `hold`. */
  release(): void {
    if (!this.#held) return;
    this.#held = false;
    const lengths = this.#heldLengths.splice(0);
    for (const [i, chain] of this.#heldChains.splice(0).entries()) this.#ring.push(chain, lengths[i]);
    this.#ring.flush();
  }

  /** Resolves to true once the device has no chain of the ring, or to false after `timeoutMs`. One caller at a time. */
  async idle(timeoutMs: number): Promise<boolean> {
    if (this.#inFlight === 0) return true;
    return new Promise((resolve) => {
      const timer = setTimeout(() => this.#settleIdle(false), timeoutMs);
      this.#idleWaiter = (idle) => {
        clearTimeout(timer);
        resolve(idle);
      };
    });
  }

  pop(): Chain | undefined {
    if (!this.#enabled || this.#held) return undefined;
    const chain = this.#ring.pop();
    if (chain !== undefined) this.#inFlight++;
    return chain;
  }

  push(chain: Chain, writtenBytes: number): void {
    if (this.#held) {
      this.#heldChains.push(chain);
      this.#heldLengths.push(writtenBytes);
    } else {
      this.#ring.push(chain, writtenBytes);
    }
    if (--this.#inFlight > 0) return;
    this.#onIdle();
    this.#settleIdle(true);
  }

  flush(): void {
    if (!this.#held) this.#ring.flush();
  }

  disableNotifications(): void {
    if (this.#enabled && !this.#held) this.#ring.disableNotifications();
  }

  enableNotifications(): boolean {
    return this.#enabled && !this.#held && this.#ring.enableNotifications();
  }

  drop(): void {
    this.#ring.drop();
    this.#settleIdle(false);
  }

  #settleIdle(idle: boolean): void {
    this.#idleWaiter?.(idle);
    this.#idleWaiter = undefined;
  }
}
