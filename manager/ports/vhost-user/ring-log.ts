/**
 * What serving one ring writes to guest memory, page by page into the log of dirty pages.
 *
 * Order: a chain's data is marked after the device wrote it and before the ring makes the chain used, so that no driver ever sees data
 * whose pages look clean. The ring's own fields are marked after they were written: a mark that comes earlier may be taken out
 * of the log, and its page copied, before the write. What publishes a batch is in a page of its own at times, which is therefore marked
 * on both sides of the flush.
 */
import type { Chain } from '../../../devices/virtio/device.js';
import {
  EVENT_SUPPRESS_BYTES,
  INDEX_MASK,
  VIRTQ_DESC_BYTES,
  VirtqUsed,
} from '../../../devices/virtio/ring/defs.js';
import { packedIndex, packedSteps } from '../../../devices/virtio/ring/packed-position.js';
import type { RingPosition } from '../../../devices/virtio/ring/running-ring.js';
import type { DirtyLog } from './dirty-log.js';
import type { MemoryTable } from './memory-table.js';

/** Bytes of `flags`, of `idx` and of `avail_event` in a used ring. */
const FIELD_BYTES = 2;

export interface RingLogOptions {
  readonly log: DirtyLog;
  readonly table: MemoryTable;
  /** Whether the data of chains is logged, beside the ring itself. */
  readonly data: boolean;
  readonly packed: boolean;
  readonly eventIdx: boolean;
  readonly size: number;
  /** Guest-physical address of the descriptors, which a packed ring's device writes to. */
  readonly descriptorAddress: number;
  /** Where writes to the device area are logged: VHOST_USER_SET_VRING_ADDR says it where it asks for a log. */
  readonly deviceAddress: number;
}

export class RingLog {
  readonly #options: RingLogOptions;

  constructor(options: RingLogOptions) {
    this.#options = options;
  }

  /** The device has written the first `writtenBytes` bytes that a chain gives it to write. */
  chainWritten({ writable }: Chain, writtenBytes: number): void {
    const { data, table, log } = this.#options;
    if (!data) return;
    let left = writtenBytes;
    for (let i = 0; i < writable.count && left > 0; i++) {
      const lengthBytes = Math.min(left, writable.lengths[i]);
      table.markWritten(log, writable.addresses[i], lengthBytes);
      left -= lengthBytes;
    }
  }

  /** Chains that were pushed are about to be published, by a ring at `position`. */
  beforeFlush({ nextUsed, nextAvail }: RingPosition): void {
    if (this.#options.packed) this.#markDescriptors(nextUsed, nextAvail);
    else this.#markUsedElements(nextUsed, nextAvail);
    this.#markPublished(nextUsed);
  }

  /** They have been, where the ring stood at `position` before. */
  afterFlush({ nextUsed }: RingPosition): void {
    this.#markPublished(nextUsed);
    this.#options.log.notify();
  }

  /** The ring wrote that it wants no notifications. */
  notificationsDisabled(): void {
    const { packed, eventIdx } = this.#options;
    // With the event index a split ring has no word for that.
    if (packed || !eventIdx) this.notificationsEnabled();
  }

  /** The ring wrote which notifications it wants. */
  notificationsEnabled(): void {
    const { log, packed, eventIdx, size, deviceAddress } = this.#options;
    if (packed) log.mark(deviceAddress, EVENT_SUPPRESS_BYTES);
    else if (eventIdx) log.mark(deviceAddress + VirtqUsed.RING + size * VirtqUsed.ELEMENT_BYTES, FIELD_BYTES);
    else log.mark(deviceAddress + VirtqUsed.FLAGS, FIELD_BYTES);
    log.notify();
  }

  /** The index of a split ring, or the flags by which a packed one shows its first descriptor, and with it the others. */
  #markPublished(nextUsed: number): void {
    const { log, packed, descriptorAddress, deviceAddress } = this.#options;
    if (packed) log.mark(descriptorAddress + packedIndex(nextUsed) * VIRTQ_DESC_BYTES, VIRTQ_DESC_BYTES);
    else log.mark(deviceAddress + VirtqUsed.IDX, FIELD_BYTES);
  }

  /** No more elements can have been filled since the last flush than chains were taken. */
  #markUsedElements(nextUsed: number, nextAvail: number): void {
    const { size, deviceAddress } = this.#options;
    const count = (nextAvail - nextUsed) & INDEX_MASK;
    this.#markSlots(deviceAddress + VirtqUsed.RING, VirtqUsed.ELEMENT_BYTES, nextUsed & (size - 1), count);
  }

  #markDescriptors(nextUsed: number, nextAvail: number): void {
    const { size, descriptorAddress } = this.#options;
    const count = packedSteps(nextUsed, nextAvail, size);
    this.#markSlots(descriptorAddress, VIRTQ_DESC_BYTES, packedIndex(nextUsed), count);
  }

  /** `count` slots of a ring from `first` on, which may go on at its start. */
  #markSlots(address: number, slotBytes: number, first: number, count: number): void {
    const { log, size } = this.#options;
    const beforeEnd = Math.min(count, size - first);
    log.mark(address + first * slotBytes, beforeEnd * slotBytes);
    log.mark(address, Math.min(count - beforeEnd, size) * slotBytes);
  }
}
