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
import { DescWord, PackedDescFlag, RingEventFlags, VIRTQ_DESC_WORDS, VirtqDescFlag } from './defs.js';
import type { PackedInflight } from './inflight/inflight-packed.js';
import { packedNeedsInterrupt } from './notification.js';
import { resolvePackedAreas, type PackedAreas } from './packed-areas.js';
import { PackedChainWalker } from './packed-chain.js';
import { packedAdvance, packedIndex, packedRetreat, packedWrap } from './packed-position.js';
import { RingBase, usedLength, type RingSetup } from './ring-base.js';

const { RING_EVENT_FLAGS_DESC, RING_EVENT_FLAGS_DISABLE, RING_EVENT_FLAGS_ENABLE } = RingEventFlags;
/** Flags are in the upper half of their 32 bits, in event suppression structures as in descriptors. */
const FLAGS_SHIFT = 16;
const OFF_WRAP_MASK = 0xffff;
/** Flags as they stand in a descriptor's fourth word. */
const AVAIL = PackedDescFlag.VIRTQ_DESC_F_AVAIL << FLAGS_SHIFT;
const USED = PackedDescFlag.VIRTQ_DESC_F_USED << FLAGS_SHIFT;
const AVAIL_AND_USED = AVAIL | USED;
const WRITE = VirtqDescFlag.VIRTQ_DESC_F_WRITE << FLAGS_SHIFT;
const { LEN, ID_AND_FLAGS } = DescWord;
const DESC_WORDS = VIRTQ_DESC_WORDS;

export class PackedRing extends RingBase<PackedAreas> {
  readonly #walker: PackedChainWalker;
  /** Id and flags of the first element that is not published: the ones that publish the others. */
  #firstUsed = 0;
  #notificationsOff = false;

  readonly #inflight: PackedInflight | undefined;

  constructor(setup: RingSetup, areas: PackedAreas, inflight: PackedInflight | undefined) {
    super(setup, areas, resolvePackedAreas, inflight);
    this.#inflight = inflight;
    this.#walker = new PackedChainWalker(setup.memory, this.size, setup.indirect);
  }

  pop(): Chain | undefined {
    if (!this.mayTake()) return undefined;
    if (this.again !== undefined) return this.giveAgain(this.again);
    const position = this.nextAvail;
    const at = packedIndex(position) * DESC_WORDS;
    const { descriptors } = this.areas;
    const idAndFlags = Atomics.load(descriptors, at + ID_AND_FLAGS);
    if ((idAndFlags & AVAIL_AND_USED) !== (packedWrap(position) ? AVAIL : USED)) return undefined;
    const most = this.size - this.outstanding;
    if (most === 0) return this.break('the driver made more chains available than the queue holds');
    const chain = this.takeChain();
    const problem = this.#walker.walk(chain, descriptors, at, idAndFlags, most);
    if (problem !== undefined) return this.refuse(chain, problem);
    if (this.#inflight !== undefined) this.#inflight.taken(chain, descriptors, at);
    this.handOut(chain, packedAdvance(position, chain.ringEntries, this.size));
    return chain;
  }

  push(chain: Chain, writtenBytes: number): void {
    const done = this.reclaim(chain, writtenBytes);
    if (done === undefined) return;
    const length = usedLength(done, writtenBytes);
    if (this.order === undefined) {
      this.writeUsed(this.nextUsed, done.id, length, this.unpublishedChains === 0);
      this.used(done, length, packedAdvance(this.nextUsed, done.ringEntries, this.size));
    } else this.useInOrder(this.order, done, length);
  }

  disableNotifications(): void {
    if (this.#notificationsOff || !this.usable()) return;
    this.areas.deviceEvent[0] = RING_EVENT_FLAGS_DISABLE << FLAGS_SHIFT;
    this.#notificationsOff = true;
  }

  enableNotifications(): boolean {
    if (!this.usable()) return false;
    const { descriptors, deviceEvent } = this.areas;
    const position = this.nextAvail;
    const flags = this.eventIdx ? RING_EVENT_FLAGS_DESC : RING_EVENT_FLAGS_ENABLE;
    Atomics.store(deviceEvent, 0, (flags << FLAGS_SHIFT) | position);
    this.#notificationsOff = false;
    const idAndFlags = Atomics.load(descriptors, packedIndex(position) * DESC_WORDS + ID_AND_FLAGS);
    return !this.held && (idAndFlags & AVAIL_AND_USED) === (packedWrap(position) ? AVAIL : USED);
  }

  protected override advance(position: number, entries: number): number {
    return packedAdvance(position, entries, this.size);
  }

  protected override retreat(position: number, entries: number): number {
    return packedRetreat(position, entries, this.size);
  }

  protected override writeUsed(position: number, id: number, length: number, isFirst: boolean): void {
    const { descriptors } = this.areas;
    const at = packedIndex(position) * DESC_WORDS;
    const lap = packedWrap(position) ? AVAIL_AND_USED : 0;
    const idAndFlags = lap | (length > 0 ? WRITE : 0) | id;
    descriptors[at + LEN] = length;
    if (isFirst) this.#firstUsed = idAndFlags;
    else descriptors[at + ID_AND_FLAGS] = idAndFlags;
  }

  protected override publishUsed(oldUsed: number): void {
    const at = packedIndex(oldUsed) * DESC_WORDS;
    Atomics.store(this.areas.descriptors, at + ID_AND_FLAGS, this.#firstUsed);
  }

  protected override interruptWanted(oldUsed: number, newUsed: number): boolean {
    const event = Atomics.load(this.areas.driverEvent, 0);
    const offWrap = event & OFF_WRAP_MASK;
    return packedNeedsInterrupt(this.eventIdx, event >>> FLAGS_SHIFT, offWrap, newUsed, oldUsed, this.size);
  }
}
