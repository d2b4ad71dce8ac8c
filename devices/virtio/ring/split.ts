/**
 * The device's side of a running split virtqueue (virtio 1.3, section 2.7).
 *
 * Ordering against the driver, which runs on another core: `idx` is read with Atomics.load before the entries that it
 * hands over, and written with Atomics.store after the entries that it publishes. On x86 those are a plain load and a
 * locked exchange. The exchange matters: publishing the used index and then reading `used_event`, or publishing `avail_event` and
 * then reading the available index, is a store followed by a load of another place, the one order that x86 does not keep by
 * itself. With plain accesses both sides can miss each other's news, and the queue sleeps for ever.
 */
import type { Chain } from '../device.js';
import { INDEX_MASK, VIRTQ_USED_F_NO_NOTIFY } from './defs.js';
import type { SplitInflight } from './inflight/inflight-split.js';
import { splitNeedsInterrupt } from './notification.js';
import { RingBase, usedLength, type RingSetup } from './ring-base.js';
import { resolveSplitAreas, type SplitAreas } from './split-areas.js';
import { SplitChainWalker } from './split-chain.js';

/** Places in the 16-bit arrays of `SplitAreas`. */
const AvailWord = { FLAGS: 0, IDX: 1, RING: 2 } as const;
const UsedWord = { FLAGS: 0, IDX: 1, FIRST_ELEMENT: 2, PER_ELEMENT: 4 } as const;

export class SplitRing extends RingBase<SplitAreas> {
  readonly #walker: SplitChainWalker;
  readonly #slotMask: number;
  readonly #usedEventWord: number;
  readonly #availEventWord: number;
  /** The driver's index as last read: what lies between `nextAvail` and this is known to be there. */
  #availIndex: number;
  #notificationsOff = false;

  readonly #inflight: SplitInflight | undefined;

  constructor(setup: RingSetup, areas: SplitAreas, inflight: SplitInflight | undefined) {
    super(setup, areas, resolveSplitAreas, inflight);
    this.#inflight = inflight;
    this.#walker = new SplitChainWalker(setup.memory, this.size, setup.indirect);
    this.#slotMask = this.size - 1;
    this.#usedEventWord = AvailWord.RING + this.size;
    this.#availEventWord = UsedWord.FIRST_ELEMENT + this.size * UsedWord.PER_ELEMENT;
    this.#availIndex = setup.start.nextAvail;
  }

  pop(): Chain | undefined {
    if (!this.mayTake()) return undefined;
    if (this.again !== undefined) return this.giveAgain(this.again);
    if (this.nextAvail === this.#availIndex && !this.#findMore()) return undefined;
    if (this.outstanding >= this.size) {
      return this.break('the driver made more chains available than the queue holds');
    }
    const { avail, descriptors } = this.areas;
    const head = avail[AvailWord.RING + (this.nextAvail & this.#slotMask)];
    const chain = this.takeChain();
    const problem = this.#walker.walk(chain, descriptors, head);
    if (problem !== undefined) return this.refuse(chain, problem);
    chain.id = head;
    if (this.#inflight !== undefined) chain.inflightNumber = this.#inflight.taken(head);
    this.handOut(chain, (this.nextAvail + 1) & INDEX_MASK);
    return chain;
  }

  push(chain: Chain, writtenBytes: number): void {
    const done = this.reclaim(chain, writtenBytes);
    if (done === undefined) return;
    const length = usedLength(done, writtenBytes);
    if (this.order === undefined) {
      this.writeUsed(this.nextUsed, done.id, length);
      this.used(done, length, (this.nextUsed + 1) & INDEX_MASK);
    } else this.useInOrder(this.order, done, length);
  }

  disableNotifications(): void {
    // With VIRTIO_F_EVENT_IDX the flags mean nothing, and an `avail_event` that stays behind is passed only once.
    if (this.eventIdx || this.#notificationsOff || !this.usable()) return;
    this.areas.used[UsedWord.FLAGS] = VIRTQ_USED_F_NO_NOTIFY;
    this.#notificationsOff = true;
  }

  enableNotifications(): boolean {
    if (!this.usable()) return false;
    const { avail, used } = this.areas;
    if (this.eventIdx) Atomics.store(used, this.#availEventWord, this.nextAvail);
    else Atomics.store(used, UsedWord.FLAGS, 0);
    this.#notificationsOff = false;
    return !this.held && Atomics.load(avail, AvailWord.IDX) !== this.nextAvail;
  }

  protected override advance(position: number, entries: number): number {
    return (position + entries) & INDEX_MASK;
  }

  protected override retreat(position: number, entries: number): number {
    return (position - entries) & INDEX_MASK;
  }

  protected override writeUsed(position: number, id: number, length: number): void {
    const { usedElements } = this.areas;
    const element = 1 + (position & this.#slotMask) * 2;
    usedElements[element] = id;
    usedElements[element + 1] = length;
  }

  protected override publishUsed(_oldUsed: number, newUsed: number): void {
    Atomics.store(this.areas.used, UsedWord.IDX, newUsed);
  }

  protected override interruptWanted(oldUsed: number, newUsed: number): boolean {
    const { avail } = this.areas;
    const usedEvent = this.eventIdx ? Atomics.load(avail, this.#usedEventWord) : 0;
    const flags = this.eventIdx ? 0 : Atomics.load(avail, AvailWord.FLAGS);
    return splitNeedsInterrupt(this.eventIdx, usedEvent, flags, newUsed, oldUsed);
  }

  /** Reads the driver's index; true where it moved on. */
  #findMore(): boolean {
    const index = Atomics.load(this.areas.avail, AvailWord.IDX);
    if (((index - this.nextAvail) & INDEX_MASK) > this.size) {
      this.break('the available index is ahead by more than the queue holds');
      return false;
    }
    this.#availIndex = index;
    return index !== this.nextAvail;
  }
}
