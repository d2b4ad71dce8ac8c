/**
 * The device's side of a running packed virtqueue (virtio 1.3, section 2.8).
 *
 * Ordering against the driver, which runs on another core: a descriptor's flags are read with Atomics.load before the rest of it, and
 * a batch becomes used by an Atomics.store of its first element's flags after all of its other bytes. The driver takes elements in
 * order, so those behind the first may already look used: nobody looks. As in the split ring, that store comes before a load of what
 * the driver wants to hear of, and the store of what the device wants to hear of comes before a load of the next descriptor's flags: with
 * plain accesses both sides can miss each other's news.
 */
import type { Chain } from '../device.js';
import { PackedDesc, PackedDescFlag, RingEventFlags, VIRTQ_DESC_BYTES, VirtqDescFlag } from './defs.js';
import { packedNeedsInterrupt } from './notification.js';
import { resolvePackedAreas, type PackedAreas } from './packed-areas.js';
import { flagsWord, isAvailable, PackedChainWalker } from './packed-chain.js';
import { packedAdvance, packedIndex, packedSteps, packedWrap } from './packed-position.js';
import { RingBase, usedLength, type RingSetup } from './ring-base.js';
import type { RingPosition } from './running-ring.js';

const { RING_EVENT_FLAGS_DESC, RING_EVENT_FLAGS_DISABLE, RING_EVENT_FLAGS_ENABLE } = RingEventFlags;
/** The used element of a lap with the wrap counter at 1; it is 0 on the others. */
const USED_ON_WRAP = PackedDescFlag.VIRTQ_DESC_F_AVAIL | PackedDescFlag.VIRTQ_DESC_F_USED;
/** An event suppression structure's flags are in the upper half of its 32 bits. */
const EVENT_FLAGS_SHIFT = 16;
const OFF_WRAP_MASK = 0xffff;

export class PackedRing extends RingBase<PackedAreas> {
  readonly #eventIdx: boolean;
  readonly #walker: PackedChainWalker;
  /** Positions, as packed-position.ts has them. */
  #nextAvail: number;
  #nextUsed: number;
  #publishedUsed: number;
  /** Flags of the first element that is not published: the one that publishes the others. */
  #firstUsedFlags = 0;
  /** Chains that are pushed and not yet published. */
  #unpublished = 0;
  /** Descriptors of chains taken and not yet published as used: the ring has no more than `size`. */
  #outstanding = 0;
  #notificationsOff = false;

  constructor(setup: RingSetup, areas: PackedAreas) {
    super(setup, areas, resolvePackedAreas);
    this.#eventIdx = setup.eventIdx;
    this.#walker = new PackedChainWalker(setup.memory, this.size, setup.indirect);
    this.#nextAvail = setup.start.nextAvail;
    this.#nextUsed = this.#publishedUsed = setup.start.nextUsed;
  }

  get position(): RingPosition {
    return { nextAvail: this.#nextAvail, nextUsed: this.#publishedUsed };
  }

  pop(): Chain | undefined {
    if (!this.usable()) return undefined;
    const first = this.#nextAvail;
    const flags = Atomics.load(this.areas.descriptorWords, flagsWord(first));
    if (!isAvailable(flags, first)) return undefined;
    const most = this.size - this.#outstanding;
    if (most === 0) return this.break('the driver made more chains available than the queue holds');
    const chain = this.takeChain();
    const problem = this.#walker.walk(chain, this.areas, first, flags, most);
    if (problem !== undefined) {
      this.putBack(chain);
      return this.break(problem);
    }
    chain.inFlight = true;
    this.#outstanding += chain.ringDescriptors;
    this.#nextAvail = packedAdvance(first, chain.ringDescriptors, this.size);
    return chain;
  }

  push(chain: Chain, writtenBytes: number): void {
    const done = this.reclaim(chain);
    if (done === undefined || !this.usable()) return;
    const { descriptors, descriptorsStart, descriptorWords } = this.areas;
    const position = this.#nextUsed;
    const at = descriptorsStart + packedIndex(position) * VIRTQ_DESC_BYTES;
    const length = usedLength(done, writtenBytes);
    descriptors.setUint32(at + PackedDesc.LEN, length, true);
    descriptors.setUint16(at + PackedDesc.ID, done.id, true);
    const flags =
      (packedWrap(position) ? USED_ON_WRAP : 0) | (length > 0 ? VirtqDescFlag.VIRTQ_DESC_F_WRITE : 0);
    if (this.#unpublished === 0) this.#firstUsedFlags = flags;
    else descriptorWords[flagsWord(position)] = flags;
    this.#unpublished++;
    this.#nextUsed = packedAdvance(position, done.ringDescriptors, this.size);
  }

  flush(): void {
    if (this.#unpublished === 0 || !this.usable()) return;
    const { descriptorWords, driverEvent } = this.areas;
    const oldUsed = this.#publishedUsed;
    const newUsed = this.#nextUsed;
    Atomics.store(descriptorWords, flagsWord(oldUsed), this.#firstUsedFlags);
    this.#publishedUsed = newUsed;
    this.#outstanding -= packedSteps(oldUsed, newUsed, this.size);
    this.countRequests(this.#unpublished);
    this.#unpublished = 0;
    const event = Atomics.load(driverEvent, 0);
    const flags = event >>> EVENT_FLAGS_SHIFT;
    if (packedNeedsInterrupt(this.#eventIdx, flags, event & OFF_WRAP_MASK, newUsed, oldUsed, this.size)) {
      this.interrupt();
    }
  }

  disableNotifications(): void {
    if (this.#notificationsOff || !this.usable()) return;
    this.areas.deviceEvent[0] = RING_EVENT_FLAGS_DISABLE << EVENT_FLAGS_SHIFT;
    this.#notificationsOff = true;
  }

  enableNotifications(): boolean {
    if (!this.usable()) return false;
    const { descriptorWords, deviceEvent } = this.areas;
    const next = this.#nextAvail;
    const flags = this.#eventIdx ? RING_EVENT_FLAGS_DESC : RING_EVENT_FLAGS_ENABLE;
    Atomics.store(deviceEvent, 0, (flags << EVENT_FLAGS_SHIFT) | next);
    this.#notificationsOff = false;
    return isAvailable(Atomics.load(descriptorWords, flagsWord(next)), next);
  }
}
