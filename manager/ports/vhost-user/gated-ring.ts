/**
 * A running ring that its front-end can disable, drain, and take the memory away from, while chains are with the device; and whose
 * writes it can have logged. The device and the session see it as the ring.
 */
import type { Chain } from '../../../devices/virtio/device.js';
import type { RingState } from '../../../devices/virtio/ring/chain-state.js';
import type { DescriptorChain } from '../../../devices/virtio/ring/descriptor-chain.js';
import type { RingPosition, RunningRing } from '../../../devices/virtio/ring/running-ring.js';
import type { RingLog } from './ring-log.js';

/** Numbers of chains: small integers, and more than a ring has chains. */
const NUMBER_MASK = 0xf_ffff;

export class GatedRing implements RunningRing {
  readonly index: number;
  readonly size: number;
  /** Where to log what is written to guest memory, while that is asked for. */
  log: RingLog | undefined;
  readonly #ring: RunningRing;
  readonly #onIdle: () => void;
  /** Whether there was nothing under way when the ring started: then all that is was taken since. */
  readonly #startedEmpty: boolean;
  /** Chains that the device has. */
  #inFlight = 0;
  /** Every chain that the ring's pool has given, and when it was taken last: its number among all that were. */
  readonly #taken = new Map<Chain, number>();
  #nextNumber = 0;
  /** Chains that were pushed since the last flush. */
  #unflushed = 0;
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
    const { nextAvail, nextUsed } = ring.position;
    this.#startedEmpty = nextAvail === nextUsed;
  }

  get broken(): boolean {
    return this.#ring.broken;
  }

  get held(): boolean {
    return this.#ring.held;
  }

  setPaused(paused: boolean): void {
    this.#ring.setPaused(paused);
  }

  memorySettled(): void {
    this.#ring.memorySettled();
  }

  get position(): RingPosition {
    return this.#ring.position;
  }

  save(): RingState | string {
    return this.#ring.save();
  }

  /**
   * Where the ring has to go on that replaces this one. Chains that the device still has are taken again if they are the last ones
   * that it took: they lie between what was used and what was taken. Otherwise nothing in the ring says which they are, and
   * they are lost.
   */
  get restartPosition(): RingPosition {
    const { nextAvail, nextUsed } = this.#ring.position;
    const ages = this.#unused().map(([, number]) => (this.#nextNumber - number) & NUMBER_MASK);
    const areLast = this.#startedEmpty && Math.max(...ages) === ages.length;
    return { nextAvail: areLast ? nextUsed : nextAvail, nextUsed };
  }

  get inFlight(): number {
    return this.#inFlight;
  }

  get underWay(): boolean {
    return this.#inFlight > 0;
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
    for (const [i, chain] of this.#heldChains.splice(0).entries()) this.#pushNow(chain, lengths[i]);
    this.flush();
  }

  /** Resolves to true once the device has no chain of the ring, or to false after `timeoutMs`. One caller at a time. */
  async idle(timeoutMs: number): Promise<boolean> {
    if (this.#inFlight === 0 || timeoutMs <= 0) return this.#inFlight === 0;
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
    if (chain === undefined) return undefined;
    this.#inFlight++;
    this.#taken.set(chain, this.#nextNumber);
    this.#nextNumber = (this.#nextNumber + 1) & NUMBER_MASK;
    return chain;
  }

  push(chain: Chain, writtenBytes: number): void {
    // Now, and not when a held chain is pushed: by then its memory may be elsewhere in this process.
    if (this.log !== undefined) this.log.chainWritten(chain, writtenBytes);
    if (this.#held) this.#keep(chain, writtenBytes);
    else this.#pushNow(chain, writtenBytes);
    this.#cameBack();
  }

  unpop(chain: Chain): void {
    this.#ring.unpop(chain);
    this.#nextNumber = (this.#nextNumber - 1) & NUMBER_MASK;
    this.#cameBack();
  }

  flush(): void {
    if (this.#held) return;
    const { log } = this;
    if (log === undefined || this.#unflushed === 0) this.#ring.flush();
    else this.#flushLogged(log);
    // A ring that does not have its memory publishes later.
    if (!this.#ring.held) this.#unflushed = 0;
  }

  disableNotifications(): void {
    if (!this.#enabled || this.#held) return;
    this.#ring.disableNotifications();
    if (this.log !== undefined) this.log.notificationsDisabled();
  }

  enableNotifications(): boolean {
    if (!this.#enabled || this.#held) return false;
    const more = this.#ring.enableNotifications();
    if (this.log !== undefined) this.log.notificationsEnabled();
    return more;
  }

  drop(): void {
    this.#ring.drop();
    this.#settleIdle(false);
  }

  /** The device was reset, and does not write any more to chains that it had: whatever it did write is logged now. */
  logAbandoned(): void {
    const { log } = this;
    if (log === undefined) return;
    for (const [chain] of this.#unused()) log.chainWritten(chain, chain.writable.byteLength);
  }

  /** Chains that the ring has yet to use, with their numbers: the device has them, or they are held. */
  #unused(): [Chain, number][] {
    // What a ring gives are its own; to others they are no more than chains.
    return [...this.#taken].filter(([chain]) => (chain as DescriptorChain).inFlight);
  }

  #cameBack(): void {
    if (--this.#inFlight > 0) return;
    this.#onIdle();
    this.#settleIdle(true);
  }

  #keep(chain: Chain, writtenBytes: number): void {
    this.#heldChains.push(chain);
    this.#heldLengths.push(writtenBytes);
  }

  #pushNow(chain: Chain, writtenBytes: number): void {
    this.#ring.push(chain, writtenBytes);
    this.#unflushed++;
  }

  #flushLogged(log: RingLog): void {
    const { position } = this.#ring;
    log.beforeFlush(position);
    this.#ring.flush();
    log.afterFlush(position);
  }

  #settleIdle(idle: boolean): void {
    this.#idleWaiter?.(idle);
    this.#idleWaiter = undefined;
  }
}
