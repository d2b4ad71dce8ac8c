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
import { splitNeedsInterrupt } from './notification.js';
import { RingBase, usedLength, type RingSetup } from './ring-base.js';
import type { RingPosition } from './running-ring.js';
import { resolveSplitAreas, type SplitAreas } from './split-areas.js';
import { SplitChainWalker } from './split-chain.js';

/** Places in the 16-bit arrays of `SplitAreas`. */
const AvailWord = { FLAGS: 0, IDX: 1, RING: 2 } as const;
const UsedWord = { FLAGS: 0, IDX: 1, FIRST_ELEMENT: 2, PER_ELEMENT: 4 } as const;

export class SplitRing extends RingBase<SplitAreas> {
  readonly #eventIdx: boolean;
  readonly #walker: SplitChainWalker;
  readonly #slotMask: number;
  readonly #usedEventWord: number;
  readonly #availEventWord: number;

  /** The next available entry to take, and the driver's index as last read: what lies between is known to be there. */
  #nextAvail: number;
  #availIndex: number;
  /** The next used entry to fill, and the index as last published. */
  #nextUsed: number;
  #publishedUsed: number;
  /** Chains taken and not yet published as used: never more than an honest driver has descriptors. */
  #outstanding = 0;
  #notificationsOff = false;

  constructor(setup: RingSetup, areas: SplitAreas) {
    super(setup, areas, resolveSplitAreas);
    this.#eventIdx = setup.eventIdx;
    this.#walker = new SplitChainWalker(setup.memory, this.size, setup.indirect);
    this.#slotMask = this.size - 1;
    this.#usedEventWord = AvailWord.RING + this.size;
    this.#availEventWord = UsedWord.FIRST_ELEMENT + this.size * UsedWord.PER_ELEMENT;
    this.#nextAvail = this.#availIndex = setup.start.nextAvail;
    this.#nextUsed = this.#publishedUsed = setup.start.nextUsed;
  }

  get position(): RingPosition {
    return { nextAvail: this.#nextAvail, nextUsed: this.#publishedUsed };
  }

  pop(): Chain | undefined {
    if (!this.usable()) return undefined;
    if (this.#nextAvail === this.#availIndex && !this.#findMore()) return undefined;
    if (this.#outstanding >= this.size) {
      return this.break('the driver made more chains available than the queue holds');
    }
    const head = this.areas.avail[AvailWord.RING + (this.#nextAvail & this.#slotMask)];
    const chain = this.takeChain();
    const { descriptors, descriptorsStart } = this.areas;
    const problem = this.#walker.walk(chain, descriptors, descriptorsStart, head);
    if (problem !== undefined) {
      this.putBack(chain);
      return this.break(problem);
    }
    chain.id = head;
    chain.inFlight = true;
    this.#outstanding++;
    this.#nextAvail = (this.#nextAvail + 1) & INDEX_MASK;
    return chain;
  }

  push(chain: Chain, writtenBytes: number): void {
    const done = this.reclaim(chain);
    if (done === undefined || !this.usable()) return;
    const element = 1 + (this.#nextUsed & this.#slotMask) * 2;
    const { usedElements } = this.areas;
    usedElements[element] = done.id;
    usedElements[element + 1] = usedLength(done, writtenBytes);
    this.#nextUsed = (this.#nextUsed + 1) & INDEX_MASK;
  }

  flush(): void {
    const oldUsed = this.#publishedUsed;
    const newUsed = this.#nextUsed;
    if (newUsed === oldUsed || !this.usable()) return;
    const { avail, used } = this.areas;
    Atomics.store(used, UsedWord.IDX, newUsed);
    const count = (newUsed - oldUsed) & INDEX_MASK;
    this.#publishedUsed = newUsed;
    this.#outstanding -= count;
    this.countRequests(count);
    const usedEvent = this.#eventIdx ? Atomics.load(avail, this.#usedEventWord) : 0;
    const flags = this.#eventIdx ? 0 : Atomics.load(avail, AvailWord.FLAGS);
    if (splitNeedsInterrupt(this.#eventIdx, usedEvent, flags, newUsed, oldUsed)) this.interrupt();
  }

  disableNotifications(): void {
    // With VIRTIO_F_EVENT_IDX the flags mean nothing, and an `avail_event` that stays behind is passed only once.
    if (this.#eventIdx || this.#notificationsOff || !this.usable()) return;
    this.areas.used[UsedWord.FLAGS] = VIRTQ_USED_F_NO_NOTIFY;
    this.#notificationsOff = true;
  }

  enableNotifications(): boolean {
    if (!this.usable()) return false;
    const { avail, used } = this.areas;
    if (this.#eventIdx) Atomics.store(used, this.#availEventWord, this.#nextAvail);
    else Atomics.store(used, UsedWord.FLAGS, 0);
    this.#notificationsOff = false;
    return Atomics.load(avail, AvailWord.IDX) !== this.#nextAvail;
  }

  /** Reads the driver's index; true where it moved on. */
  #findMore(): boolean {
    const index = Atomics.load(this.areas.avail, AvailWord.IDX);
    if (((index - this.#nextAvail) & INDEX_MASK) > this.size) {
      this.break('the available index is ahead by more than the queue holds');
      return false;
    }
    this.#availIndex = index;
    return index !== this.#nextAvail;
  }
}
