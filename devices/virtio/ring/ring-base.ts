/**
 * What rings of every format share: the pool of chains, their way back to the driver, memory that changes underneath, and how a ring
 * ends.
 */
import type { Chain, QueueCounters } from '../device.js';
import type { GuestMemory } from '../memory/guest-memory.js';
import { loadChain, saveChains, type ChainState, type RingState } from './chain-state.js';
import { CompletionOrder } from './completion-order.js';
import { DescriptorChain, isAddressProblem } from './descriptor-chain.js';
import type { InflightRecord } from './inflight/inflight-record.js';
import { InterruptModeration } from './interrupt-moderation.js';
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
  /** VIRTIO_F_INDIRECT_DESC, VIRTIO_F_EVENT_IDX and VIRTIO_F_IN_ORDER, as negotiated. */
  readonly indirect: boolean;
  readonly eventIdx: boolean;
  readonly inOrder: boolean;
  readonly start: RingPosition;
  /** Chains that are under way from the start: known to suit the ring and its memory. */
  readonly chains: readonly ChainState[];
  readonly signals: RingSignals;
  readonly counters: QueueCounters;
}

/** Finds a ring's areas, or says what is wrong with them. */
export type ResolveAreas<Areas> = (placement: RingPlacement, memory: GuestMemory) => Areas | string;

const MAX_USED_LENGTH = 0xffff_ffff;
const NO_BATCH = -1;
/** Numbers of chains: small integers to V8, and so many that what is under way has numbers apart. */
const NUMBER_MASK = 0x3fff_ffff;
/** No generations of memory. */
const ENDED = -1;
const NOT_HELD = -2;
const PAUSED = -3;

/**
 * Addresses that are no memory break a ring: but whose fault it is, the map of memory must say, and that changes in steps. A VMM that moves
 * RAM takes it away and puts it back by two messages, and a look at the ring (a poll, a completion) may fall between them. So there is one
 * rule for all addresses, of areas, tables and buffers alike. In the map that the driver started the ring in, and in any that has
 * settled (`memorySettled`), the driver is to blame and the ring breaks. In one that has changed since, the ring holds: it takes no chain,
 * leaves its memory alone if that is what is missing, and keeps what is pushed, until the map changes again. Whoever carries the device is
 * told of that, and lets a map settle after a time. So a hold costs one look a map and ends by itself; a driver gains nothing by one.
 */
export abstract class RingBase<Areas> implements RunningRing {
  readonly index: number;
  readonly size: number;
  protected readonly eventIdx: boolean;
  /** Good while `usable` says so. */
  protected areas: Areas;
  /** Where the next chain is taken. Positions are what the format makes of them: see `RingPosition`. */
  protected nextAvail: number;
  /** Ring entries of chains that were taken and are not published as used: never more than `size`. */
  protected outstanding = 0;
  /** Where the next used element is written, and where the first one that is not published is. */
  protected nextUsed: number;
  #publishedUsed: number;
  /** What lies between those two. */
  protected unpublishedChains = 0;
  #unpublishedEntries = 0;
  /** Where the used element of a batch is that may still grow. */
  #batch = NO_BATCH;
  protected readonly order: CompletionOrder | undefined;
  /** Chains that a device had when the ring was saved, and has not been given again: the next one last. */
  protected again: DescriptorChain[] | undefined;
  readonly #inflight: InflightRecord | undefined;
  readonly #placement: RingPlacement;
  readonly #memory: GuestMemory;
  readonly #resolve: ResolveAreas<Areas>;
  readonly #signals: RingSignals;
  readonly #counters: QueueCounters;
  readonly #moderation = new InterruptModeration(() => this.#interrupt());
  /** Every chain there is. */
  readonly #pool: DescriptorChain[] = [];
  /** The number of the chain that was taken last. */
  #lastNumber = 0;
  /** Chains that nobody has, a list through `next`. */
  #free: DescriptorChain | undefined;
  /** The memory's generation that `areas` are of; `ENDED` once the ring broke or was dropped. */
  #generation: number;
  #paused = false;
  /** The generation that the driver answers for. */
  #settled: number;
  /** The generation in which an address was no memory, and the ring waits for the next one. */
  #heldAt = NOT_HELD;
  /** Chains that came back while the areas were gone or the ring was paused, and how much was written to them. */
  readonly #kept = new Map<DescriptorChain, number>();
  #broken = false;

  constructor(
    setup: RingSetup,
    areas: Areas,
    resolve: ResolveAreas<Areas>,
    inflight: InflightRecord | undefined,
  ) {
    this.index = setup.index;
    this.size = setup.placement.size;
    this.eventIdx = setup.eventIdx;
    this.nextAvail = setup.start.nextAvail;
    this.nextUsed = this.#publishedUsed = setup.start.nextUsed;
    this.order = setup.inOrder ? new CompletionOrder() : undefined;
    this.#inflight = inflight;
    this.#placement = setup.placement;
    this.#memory = setup.memory;
    this.#signals = setup.signals;
    this.#counters = setup.counters;
    this.#generation = this.#settled = setup.memory.generation;
    this.#resolve = resolve;
    this.areas = areas;
    if (setup.chains.length > 0) this.#takeUp(setup.chains);
  }

  abstract pop(): Chain | undefined;
  abstract push(chain: Chain, writtenBytes: number): void;
  abstract disableNotifications(): void;
  abstract enableNotifications(): boolean;

  /** The position `entries` ring entries on. */
  protected abstract advance(position: number, entries: number): number;
  /** The position `entries` ring entries back. */
  protected abstract retreat(position: number, entries: number): number;
  /** Writes a used element, over what was written at the same position before. The driver sees none before `publishUsed`. */
  protected abstract writeUsed(position: number, id: number, length: number, isFirst: boolean): void;
  /** Shows the driver the used elements from `oldUsed` to `newUsed`. */
  protected abstract publishUsed(oldUsed: number, newUsed: number): void;
  /** Whether the driver wants to hear of those. Reads what it wrote into memory after what it has just been shown. */
  protected abstract interruptWanted(oldUsed: number, newUsed: number): boolean;

  get position(): RingPosition {
    return { nextAvail: this.nextAvail, nextUsed: this.#publishedUsed };
  }

  save(): RingState | string {
    this.#moderation.release();
    if (this.unpublishedChains > 0) return 'what its device has completed cannot be published now';
    const age = ({ number }: DescriptorChain) => (this.#lastNumber - number) & NUMBER_MASK;
    const underWay =
      this.order?.chains() ?? this.#pool.filter(({ inFlight }) => inFlight).sort((a, b) => age(b) - age(a));
    const chains = saveChains(underWay, (chain) => this.#completedLength(chain), this.#memory);
    return typeof chains === 'string' ? chains : { ...this.position, chains };
  }

  get broken(): boolean {
    return this.#broken;
  }

  get held(): boolean {
    return this.#heldAt === this.#memory.generation;
  }

  get underWay(): boolean {
    return this.#pool.some(
      (chain) => chain.inFlight && !this.#kept.has(chain) && this.again?.includes(chain) !== true,
    );
  }

  setPaused(paused: boolean): void {
    if (paused) this.#moderation.release();
    this.#paused = paused;
    if (paused && this.#generation !== ENDED) this.#generation = PAUSED;
  }

  memorySettled(): void {
    this.#settled = this.#memory.generation;
    this.#heldAt = NOT_HELD;
  }

  unpop(chain: Chain): void {
    const last = chain as DescriptorChain;
    if (last.owner !== this || !last.inFlight || this.#kept.has(last) || this.again?.includes(last)) return;
    if (last.restored) {
      (this.again ??= []).push(last);
      return;
    }
    last.inFlight = false;
    this.#lastNumber = (this.#lastNumber - 1) & NUMBER_MASK;
    this.outstanding -= last.ringEntries;
    this.nextAvail = this.retreat(this.nextAvail, last.ringEntries);
    if (this.order !== undefined) this.order.untaken();
    if (this.#inflight !== undefined) this.#inflight.untaken(last);
    this.putBack(last);
  }

  flush(): void {
    if (!this.usable()) return;
    const chains = this.unpublishedChains;
    if (chains === 0) return;
    const oldUsed = this.#publishedUsed;
    const newUsed = this.nextUsed;
    const inflight = this.#inflight;
    if (inflight !== undefined) inflight.publishing(newUsed);
    this.publishUsed(oldUsed, newUsed);
    if (inflight !== undefined) inflight.published(newUsed);
    this.outstanding -= this.#unpublishedEntries;
    this.#publishedUsed = newUsed;
    this.unpublishedChains = 0;
    this.#unpublishedEntries = 0;
    this.#batch = NO_BATCH;
    this.#counters.requests += chains;
    const moderation = this.#moderation;
    // What the driver wanted to hear of it wants to hear of still.
    if (!moderation.holding && !this.interruptWanted(oldUsed, newUsed)) moderation.published();
    else if (moderation.interruptsNow(chains)) this.#interrupt();
  }

  drop(): void {
    this.#moderation.release();
    this.#generation = ENDED;
  }

  /** Whether the ring may touch memory now. Looks its areas up again where memory has changed since they were, or the ring was paused. */
  protected usable(): boolean {
    return this.#generation === this.#memory.generation || this.#resolveAgain();
  }

  /** Whether a chain may be taken now. */
  protected mayTake(): boolean {
    return this.usable() && this.#heldAt !== this.#generation;
  }

  /** The next chain is no good. */
  protected refuse(chain: DescriptorChain, problem: string): undefined {
    this.putBack(chain);
    return isAddressProblem(problem) ? this.#missing(problem) : this.break(problem);
  }

  protected break(reason: string): undefined {
    this.#moderation.release();
    this.#generation = ENDED;
    this.#broken = true;
    this.#signals.broken(this.index, reason);
    return undefined;
  }

  /** A chain to fill, without segments. It stays the ring's until `handOut`: `putBack` it where that does not come. */
  protected takeChain(): DescriptorChain {
    const chain = this.#free;
    if (chain === undefined) return this.#grow();
    this.#free = chain.next;
    chain.next = undefined;
    chain.restored = false;
    chain.readable.clear();
    chain.writable.clear();
    return chain;
  }

  protected putBack(chain: DescriptorChain): void {
    chain.next = this.#free;
    this.#free = chain;
  }

  /** Takes a chain back from the device. Undefined where it is none of this ring's, or has come back before. */
  protected reclaim(chain: Chain, writtenBytes: number): DescriptorChain | undefined {
    const done = chain as DescriptorChain;
    // First, because it may be what uses this very chain: one that was pushed while the areas were gone.
    const usable = this.usable();
    if (done.owner !== this || !done.inFlight) return undefined;
    if (!usable) {
      this.#keep(done, writtenBytes);
      return undefined;
    }
    done.inFlight = false;
    return done;
  }

  /** The chain at `nextAvail` is the device's now, and the next one is at `next`. */
  protected handOut(chain: DescriptorChain, next: number): void {
    chain.inFlight = true;
    chain.number = this.#lastNumber = (this.#lastNumber + 1) & NUMBER_MASK;
    this.outstanding += chain.ringEntries;
    this.nextAvail = next;
    if (this.order !== undefined) this.order.taken(chain);
  }

  /** Its used element is written, or is one with that of a chain behind it. */
  protected used(chain: DescriptorChain, length: number, next: number): void {
    this.nextUsed = next;
    const readableLength = chain.readable.byteLength;
    this.#moderation.completed(length > readableLength ? length : readableLength);
    this.#unpublishedEntries += chain.ringEntries;
    this.unpublishedChains++;
    if (this.#inflight !== undefined) this.#inflight.used(chain);
    this.putBack(chain);
  }

  /**
   * Writes used elements for the chains that are completed and have none before them that is not. One element stands for a whole batch, of
   * which it names the last chain: the driver takes it that the device used the others completely. So a batch ends with the first chain
   * that was not written to its end, and it ends where the driver sees it.
   */
  protected useInOrder(order: CompletionOrder, done: DescriptorChain, length: number): void {
    done.completed = true;
    done.usedLength = length;
    for (let chain = order.shift(); chain !== undefined; chain = order.shift()) {
      const isFirst = this.unpublishedChains === 0 || this.#batch === this.#publishedUsed;
      if (this.#batch === NO_BATCH) this.#batch = this.nextUsed;
      this.writeUsed(this.#batch, chain.id, chain.usedLength, isFirst);
      if (chain.usedLength !== chain.writable.byteLength) this.#batch = NO_BATCH;
      this.used(chain, chain.usedLength, this.advance(this.nextUsed, chain.ringEntries));
    }
  }

  /** One of the chains that the device had when the ring was saved. */
  protected giveAgain(again: DescriptorChain[]): DescriptorChain | undefined {
    if (again.length === 1) this.again = undefined;
    return again.pop();
  }

  #interrupt(): void {
    if (this.#signals.interrupt(this.index) !== false) this.#counters.interrupts++;
  }

  #grow(): DescriptorChain {
    const chain = new DescriptorChain(this);
    this.#pool.push(chain);
    return chain;
  }

  #takeUp(saved: readonly ChainState[]): void {
    const again: DescriptorChain[] = [];
    for (const state of saved) {
      const chain = this.#grow();
      loadChain(chain, state, this.#memory);
      chain.restored = true;
      if (this.#inflight !== undefined) this.#inflight.adopt(chain);
      this.handOut(chain, this.nextAvail);
      if (state.completed) this.#kept.set(chain, state.usedLength);
      else again.push(chain);
    }
    if (again.length > 0) this.again = again.reverse();
    // So that those which are completed are used as soon as the ring may be.
    if (this.#kept.size > 0) this.#generation = PAUSED;
  }

  /** What the device wrote to a chain that it is done with, and that is yet to be used; undefined where it is not done. */
  #completedLength(chain: DescriptorChain): number | undefined {
    const keptLength = this.#kept.get(chain);
    if (keptLength !== undefined) return usedLength(chain, keptLength);
    return chain.inFlight ? undefined : chain.usedLength;
  }

  #resolveAgain(): boolean {
    if (this.#generation === ENDED || this.#paused) return false;
    const areas = this.#resolve(this.#placement, this.#memory);
    if (typeof areas === 'string') {
      this.#missing(areas);
      return false;
    }
    this.#generation = this.#memory.generation;
    this.areas = areas;
    for (const [chain, writtenBytes] of this.#kept) this.push(chain, writtenBytes);
    this.#kept.clear();
    return true;
  }

  /** An address is no memory. */
  #missing(problem: string): undefined {
    if (this.#memory.generation === this.#settled) return this.break(problem);
    const isKnown = this.held;
    this.#heldAt = this.#memory.generation;
    if (!isKnown) this.#signals.held(this.index);
    return undefined;
  }

  /** The chain is the device's no more, but stays in flight: it is yet to be used. */
  #keep(done: DescriptorChain, writtenBytes: number): void {
    if (this.#generation === ENDED) done.inFlight = false;
    else if (!this.#kept.has(done)) this.#kept.set(done, writtenBytes);
  }
}

/** The driver reads this much of its buffer: never more than there is, whatever the device says. */
export function usedLength(chain: DescriptorChain, writtenBytes: number): number {
  const room = chain.writable.byteLength;
  if (!(writtenBytes > 0)) return 0;
  if (writtenBytes < room) return writtenBytes;
  return room > MAX_USED_LENGTH ? MAX_USED_LENGTH : room;
}
