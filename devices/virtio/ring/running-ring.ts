/** What transports see of a running ring, beyond what devices see; and what a ring tells its transport. */
import type { QueueCounters, Virtqueue } from '../device.js';
import type { RingState } from './chain-state.js';

export interface RunningRing extends Virtqueue {
  /**
   * Reset: from now on the ring touches no memory, has no chains and takes none. Chains that a device still holds are
   * recognised by the ring they came from, so that pushing them later does nothing.
   */
  drop(): void;
  /**
   * While paused the ring touches no memory, has no chains, and keeps those that are pushed until it goes on: a function that may not
   * master the bus leaves memory alone, whatever its device has under way.
   */
  setPaused(paused: boolean): void;
  /**
   * True while an address that the driver gave is no memory though it may be soon: the map of memory has changed since the driver started
   * the ring. No chain is taken, and `enableNotifications` says that there is none, until the map changes once more. `RingSignals` was told.
   */
  readonly held: boolean;
  /** The map of memory has been as it is for long enough: addresses that are no memory now are the driver's fault, and break the ring. */
  memorySettled(): void;
  /** True while the device has chains that it has not given back. */
  readonly underWay: boolean;
  /** Where the device stands, as state to save: `QueueConfig` takes it back. */
  readonly position: RingPosition;
  /** All of that, with the chains that the device has: for after a `flush`. A string says why there is no saving it. */
  save(): RingState | string;
}

/**
 * Two numbers of 16 bits. A split ring's are free-running indices. A packed ring's are each an index into the descriptors (bits
 * 0–14) with the wrap counter (bit 15), which is 1 in a fresh ring: as in virtio 1.3, section 2.8.14, and in vhost-user.
 */
export interface RingPosition {
  /** The next entry that the device will take. */
  readonly nextAvail: number;
  /** The next entry that the device will give back. */
  readonly nextUsed: number;
}

/** How a ring reaches whoever carries its device. The calls come from within any of its methods that touch memory. */
export interface RingSignals {
  /** The driver wants to hear of used buffers. False where there is no way to tell it: that is no interrupt. */
  interrupt(queueIndex: number): boolean | void;
  /** The driver broke the ring's rules; the ring is silent from now on. */
  broken(queueIndex: number, reason: string): void;
  /** The ring is held from now on. Called once for each map of memory: look again when that changes, or call `memorySettled` after a time. */
  held(queueIndex: number): void;
}

export function newQueueCounters(): QueueCounters {
  return { kicks: 0, interrupts: 0, wakes: 0, spuriousWakes: 0, polls: 0, requests: 0 };
}
