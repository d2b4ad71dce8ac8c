/** What rings of every format share: the pool of chains, memory that changes underneath, and how a ring ends. */
import type { Chain, QueueCounters } from '../device.js';
import type { GuestMemory } from '../memory/guest-memory.js';
import { DescriptorChain } from './descriptor-chain.js';
import type { RingPosition, RingSignals, RunningRing } from './running-ring.js';

/** Where the areas are in guest memory, as the registers said when the ring was activated. */
export interface RingPlacement {
  readonly size: number;
  readonly descriptorArea: number;
  readonly driverArea: number;
  readonly deviceArea: number;
}

/** All that a ring is made of, in any format. */
export interface RingSetup {
  readonly index: number;
  readonly placement: RingPlacement;
  readonly memory: GuestMemory;
  /** VIRTIO_F_INDIRECT_DESC and VIRTIO_F_EVENT_IDX, as negotiated. */
  readonly indirect: boolean;
  readonly eventIdx: boolean;
  readonly start: RingPosition;
  readonly signals: RingSignals;
  readonly counters: QueueCounters;
}

/** Finds a ring's areas, or says what is wrong with them. */
export type ResolveAreas<Areas> = (placement: RingPlacement, memory: GuestMemory) => Areas | string;

const MAX_USED_LENGTH = 0xffff_ffff;

export abstract class RingBase<Areas> implements RunningRing {
  readonly index: number;
  readonly size: number;
  /** Good while `usable` says so. */
  protected areas: Areas;
  readonly #placement: RingPlacement;
  readonly #memory: GuestMemory;
  readonly #resolve: ResolveAreas<Areas>;
  readonly #signals: RingSignals;
  readonly #counters: QueueCounters;
  readonly #pool: DescriptorChain[] = [];
  #generation: number;
  /** False once the ring broke or was dropped. */
  #live = true;
  #broken = false;

  constructor(setup: RingSetup, areas: Areas, resolve: ResolveAreas<Areas>) {
    this.index = setup.index;
    this.size = setup.placement.size;
    this.#placement = setup.placement;
    this.#memory = setup.memory;
    this.#signals = setup.signals;
    this.#counters = setup.counters;
    this.#generation = setup.memory.generation;
    this.#resolve = resolve;
    this.areas = areas;
  }

  abstract readonly position: RingPosition;
  abstract pop(): Chain | undefined;
  abstract push(chain: Chain, writtenBytes: number): void;
  abstract flush(): void;
  abstract disableNotifications(): void;
  abstract enableNotifications(): boolean;

  get broken(): boolean {
    return this.#broken;
  }

  drop(): void {
    this.#live = false;
  }

  /** Whether the ring may touch memory now. Looks its areas up again where memory has changed since they were. */
  protected usable(): boolean {
    if (!this.#live) return false;
    return this.#generation === this.#memory.generation || this.#resolveAgain();
  }

  protected break(reason: string): undefined {
    this.#live = false;
    this.#broken = true;
    this.#signals.broken(this.index, reason);
    return undefined;
  }

  /** A chain to fill. It stays the pool's until it is marked as in flight: `putBack` it where that does not come. */
  protected takeChain(): DescriptorChain {
    return this.#pool.pop() ?? new DescriptorChain(this);
  }

  protected putBack(chain: DescriptorChain): void {
    this.#pool.push(chain);
  }

  /** Takes a chain back from the device. Undefined where it is none of this ring's, or has come back before. */
  protected reclaim(chain: Chain): DescriptorChain | undefined {
    const done = chain as DescriptorChain;
    if (done.owner !== this || !done.inFlight) return undefined;
    done.inFlight = false;
    this.#pool.push(done);
    return done;
  }

  protected countRequests(count: number): void {
    this.#counters.requests += count;
  }

  protected interrupt(): void {
    this.#counters.interrupts++;
    this.#signals.interrupt(this.index);
  }

  #resolveAgain(): boolean {
    this.#generation = this.#memory.generation;
    const areas = this.#resolve(this.#placement, this.#memory);
    if (typeof areas === 'string') {
      this.break(areas);
      return false;
    }
    this.areas = areas;
    return true;
  }
}

/** The driver reads this much of its buffer: never more than there is, whatever the device says. */
export function usedLength(chain: DescriptorChain, writtenBytes: number): number {
  return writtenBytes > 0 ? Math.min(writtenBytes, chain.writable.byteLength, MAX_USED_LENGTH) : 0;
}
