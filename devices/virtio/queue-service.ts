import type { QueueCounters, VirtioDevice } from './device.js';
import type { RunningRing } from './ring/running-ring.js';

/** Feeds one queue's chains to its device. What a device throws comes out of `service` and `poll`. */
export class QueueService {
  readonly #ring: RunningRing;
  readonly #device: VirtioDevice;
  readonly #counters: QueueCounters;

  constructor(ring: RunningRing, device: VirtioDevice, counters: QueueCounters) {
    this.#ring = ring;
    this.#device = device;
    this.#counters = counters;
  }

  /**
   * Serves a wake: takes chains, with notifications off, until none are left, then turns notifications on and looks once
   * more, because chains may have come in between that nobody will notify of. Takes `budget` chains at most; true
   * where that stopped it, so that there may be work left (and notifications are still off). `kicked` says whether a doorbell was
   * the reason: without one it is a look.
   */
  service(budget: number, kicked = true): boolean {
    if (this.#filledByDevice) {
      this.wake(budget, kicked);
      return false;
    }
    const ring = this.#ring;
    let left = budget;
    let served = 0;
    ring.disableNotifications();
    do {
      const taken = this.#take(left);
      ring.flush();
      served += taken;
      // A round costs something even if it found nothing: a driver that moves its index to and fro must not keep us here.
      left -= Math.max(taken, 1);
      if (left <= 0) {
        this.#countLook(kicked, served);
        return true;
      }
    } while (ring.enableNotifications());
    this.#countLook(kicked, served);
    return false;
  }

  /** Serves a wake, `budget` chains of it at most, and leaves notifications off: the queue is to be polled until it rests. */
  wake(budget: number, kicked = true): void {
    this.mute();
    const taken = this.#take(budget);
    this.#ring.flush();
    this.#countLook(kicked, taken);
  }

  /** Turns notifications off, unless they are the device's own business. */
  mute(): void {
    if (!this.#filledByDevice) this.#ring.disableNotifications();
  }

  /** Looks without having been woken, and leaves notifications as they are. Answers how many chains it took. */
  poll(budget: number): number {
    this.#counters.polls++;
    const taken = this.#take(budget);
    // Also what was pushed while the ring's memory was gone.
    this.#ring.flush();
    return taken;
  }

  /** Ends polling: turns notifications on. True where chains came before that, so that the queue has to be polled on. */
  rest(): boolean {
    return !this.#filledByDevice && this.#ring.enableNotifications();
  }

  get #filledByDevice(): boolean {
    const { filledQueues } = this.#device;
    return filledQueues !== undefined && filledQueues.includes(this.#ring.index);
  }

  #countLook(kicked: boolean, taken: number): void {
    if (!kicked) {
      this.#counters.polls++;
      return;
    }
    this.#counters.wakes++;
    if (taken === 0) this.#counters.spuriousWakes++;
  }

  #take(budget: number): number {
    const ring = this.#ring;
    const { filledQueues } = this.#device;
    if (filledQueues !== undefined && filledQueues.includes(ring.index))
      return filledQueues.buffersAdded(ring);
    let taken = 0;
    while (taken < budget) {
      const chain = ring.pop();
      if (chain === undefined) break;
      this.#device.handleChain(ring, chain);
      taken++;
    }
    return taken;
  }
}
