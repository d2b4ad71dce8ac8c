/**
 * The driver's side of a packed virtqueue (virtio 1.3, section 2.8). As with the split one, guest and device run on one thread, and
 * the order of the writes is all that is kept: a chain's first flags come last.
 */
import type { GuestRam, RamRange } from '../memory/ram.js';
import { packedNeedEvent } from './notification.js';
import {
  writableBytes,
  type DriverQueue,
  type DriverQueueOptions,
  type QueueRequest,
  type RingAddresses,
} from './queue.js';
import { PackedRing, RingEventFlags, VirtqDescFlag } from './registers.js';
import { RequestOrder } from './request-order.js';
import { allocateRing, INDIRECT_ENTRIES, writeBuffer } from './ring-memory.js';

const { VIRTQ_DESC_F_AVAIL, VIRTQ_DESC_F_USED, VIRTQ_DESC_F_WRITE } = VirtqDescFlag;
const { VIRTQ_DESC_F_INDIRECT, VIRTQ_DESC_F_NEXT } = VirtqDescFlag;
const AVAIL_AND_USED = VIRTQ_DESC_F_AVAIL | VIRTQ_DESC_F_USED;
/** The bits of an event suppression structure's flags that are not reserved. */
const EVENT_FLAGS_MASK = 3;

/** Where a side goes on: it flips its wrap counter each time it passes the ring's end. */
interface Cursor {
  index: number;
  wrap: boolean;
}

export class PackedDriverQueue implements DriverQueue {
  readonly index: number;
  readonly size: number;
  readonly addresses: RingAddresses;
  readonly maxBuffers: number;
  readonly #ram: GuestRam;
  readonly #memory: RamRange;
  readonly #view: DataView;
  readonly #indirect: boolean;
  readonly #eventIndex: boolean;
  readonly #notify: (next: number) => void;
  /** Where the parts start in the view; descriptors start at 0. */
  readonly #driverEvent: number;
  readonly #deviceEvent: number;
  readonly #tables: number;
  /** The request that is out under this buffer id. */
  readonly #requests: (QueueRequest | undefined)[];
  /** With VIRTIO_F_IN_ORDER, the ids of the chains that are out. */
  readonly #order: RequestOrder | undefined;
  /** Buffer ids that are free: there are as many as descriptors, so they never run out first. */
  readonly #freeIds: number[];
  #freeDescriptors: number;
  readonly #avail: Cursor = { index: 0, wrap: true };
  readonly #used: Cursor = { index: 0, wrap: true };
  #broken = false;

  /** Throws a GuestError ENOMEM where RAM is short. */
  constructor(ram: GuestRam, options: DriverQueueOptions) {
    const { size } = options;
    this.index = options.index;
    this.size = size;
    this.#ram = ram;
    this.#indirect = options.indirect;
    this.#eventIndex = options.eventIndex;
    this.#notify = options.notify;
    // A chain longer than the ring is none that a device has to take, in a table or not.
    this.maxBuffers = options.indirect ? Math.min(INDIRECT_ENTRIES, size) : size;
    this.#tables = size * PackedRing.DESC_SIZE;
    const tableBytes = options.indirect ? size * INDIRECT_ENTRIES * PackedRing.DESC_SIZE : 0;
    this.#driverEvent = this.#tables + tableBytes;
    this.#deviceEvent = this.#driverEvent + PackedRing.EVENT_SIZE;
    const memory = allocateRing(ram, this.#deviceEvent + PackedRing.EVENT_SIZE);
    this.#memory = memory;
    this.#view = memory.view;
    this.addresses = {
      descriptorArea: memory.address,
      driverArea: memory.address + this.#driverEvent,
      deviceArea: memory.address + this.#deviceEvent,
    };
    this.#requests = new Array<QueueRequest | undefined>(size).fill(undefined);
    this.#order = options.inOrder === true ? new RequestOrder(size) : undefined;
    this.#freeIds = Array.from({ length: size }, (_, i) => size - 1 - i);
    this.#freeDescriptors = size;
    this.#enableInterrupts();
  }

  get broken(): boolean {
    return this.#broken;
  }

  capacity(buffers: number): number {
    return this.#indirect ? this.size : Math.floor(this.size / buffers);
  }

  add(request: QueueRequest): boolean {
    const { count } = request;
    if (count === 0 || count > this.maxBuffers) throw new RangeError(`a request of ${count} buffers`);
    const needed = this.#descriptorsFor(request);
    if (needed > this.#freeDescriptors || this.#broken) return false;
    const id = this.#freeIds.pop()!;
    this.#requests[id] = request;
    this.#order?.push(id);
    this.#freeDescriptors -= needed;
    if (this.#indirect) this.#offerIndirect(id, request);
    else this.#offerChain(id, request);
    if (this.#deviceWantsNotify(needed)) this.#notify(offWrap(this.#avail));
    return true;
  }

  collect(): boolean {
    if (this.#broken) return false;
    do {
      this.#writeDriverEvent(0, RingEventFlags.RING_EVENT_FLAGS_DISABLE);
      while (this.#hasUsed()) {
        if (!this.#completeNext()) return false;
      }
    } while (this.#enableInterrupts());
    return true;
  }

  abort(errno: number): void {
    for (let id = 0; id < this.size; id++) {
      const request = this.#requests[id];
      if (request === undefined) continue;
      this.#requests[id] = undefined;
      request.complete(-errno);
    }
  }

  close(): void {
    this.#broken = true;
    this.#ram.free(this.#memory);
  }

  #descriptorsFor(request: QueueRequest): number {
    return this.#indirect ? 1 : request.count;
  }

  /** One descriptor a buffer, one after the other; the last one's id is the chain's. */
  #offerChain(id: number, request: QueueRequest): void {
    const first = this.#avail.index;
    let firstFlags = 0;
    for (let i = 0; i < request.count; i++) {
      const at = this.#avail.index * PackedRing.DESC_SIZE;
      const more = i + 1 === request.count ? 0 : VIRTQ_DESC_F_NEXT;
      const flags = bufferFlags(request, i) | more | this.#availableFlags();
      writeBuffer(this.#view, at, request.addresses[i], request.lengths[i]);
      this.#view.setUint16(at + PackedRing.DESC_ID, id, true);
      if (i === 0) firstFlags = flags;
      else this.#view.setUint16(at + PackedRing.DESC_FLAGS, flags, true);
      this.#advance(this.#avail, 1);
    }
    this.#view.setUint16(first * PackedRing.DESC_SIZE + PackedRing.DESC_FLAGS, firstFlags, true);
  }

  /** One descriptor that points at a table; each id has a table of its own, so none is allocated. */
  #offerIndirect(id: number, request: QueueRequest): void {
    const table = this.#tables + id * INDIRECT_ENTRIES * PackedRing.DESC_SIZE;
    for (let i = 0; i < request.count; i++) {
      const at = table + i * PackedRing.DESC_SIZE;
      writeBuffer(this.#view, at, request.addresses[i], request.lengths[i]);
      this.#view.setUint16(at + PackedRing.DESC_ID, 0, true);
      this.#view.setUint16(at + PackedRing.DESC_FLAGS, bufferFlags(request, i), true);
    }
    const at = this.#avail.index * PackedRing.DESC_SIZE;
    writeBuffer(this.#view, at, this.#memory.address + table, request.count * PackedRing.DESC_SIZE);
    this.#view.setUint16(at + PackedRing.DESC_ID, id, true);
    const flags = VIRTQ_DESC_F_INDIRECT | this.#availableFlags();
    this.#view.setUint16(at + PackedRing.DESC_FLAGS, flags, true);
    this.#advance(this.#avail, 1);
  }

  /** What says "available" on the lap that the driver is on. */
  #availableFlags(): number {
    return this.#avail.wrap ? VIRTQ_DESC_F_AVAIL : VIRTQ_DESC_F_USED;
  }

  #advance(cursor: Cursor, descriptors: number): void {
    cursor.index += descriptors;
    if (cursor.index < this.size) return;
    cursor.index -= this.size;
    cursor.wrap = !cursor.wrap;
  }

  #deviceWantsNotify(added: number): boolean {
    const flags = this.#view.getUint16(this.#deviceEvent + PackedRing.EVENT_FLAGS, true) & EVENT_FLAGS_MASK;
    if (!this.#eventIndex) return flags !== RingEventFlags.RING_EVENT_FLAGS_DISABLE;
    const offWrap = this.#view.getUint16(this.#deviceEvent + PackedRing.EVENT_OFF_WRAP, true);
    return packedNeedEvent(flags, offWrap, this.#avail.index, this.#avail.wrap, added, this.size);
  }

  #hasUsed(): boolean {
    const { index, wrap } = this.#used;
    const flags = this.#view.getUint16(index * PackedRing.DESC_SIZE + PackedRing.DESC_FLAGS, true);
    return (flags & AVAIL_AND_USED) === (wrap ? AVAIL_AND_USED : 0);
  }

  /** Completes what the next used element stands for. False, and the queue broken, where that is not out. */
  #completeNext(): boolean {
    const at = this.#used.index * PackedRing.DESC_SIZE;
    const id = this.#view.getUint16(at + PackedRing.DESC_ID, true);
    const length = this.#view.getUint32(at + PackedRing.DESC_LENGTH, true);
    const flags = this.#view.getUint16(at + PackedRing.DESC_FLAGS, true);
    const count = this.#batchUpTo(id);
    if (count === 0) {
      this.#broken = true;
      return false;
    }
    // Those that the batch skips have been used completely. All of it is over before the first one hears of it, and may add or collect.
    const skipped = count > 1 ? this.#retireSkipped(count - 1) : undefined;
    this.#order?.shift();
    const last = this.#retire(id);
    skipped?.forEach((request) => request.complete(writableBytes(request)));
    // The length means something only where the device says that it wrote.
    const written = (flags & VIRTQ_DESC_F_WRITE) === 0 ? 0 : length;
    last.complete(Math.min(written, writableBytes(last)));
    // Whoever was completed may have closed the queue.
    return !this.#broken;
  }

  #batchUpTo(id: number): number {
    if (this.#order !== undefined) return this.#order.batchUpTo(id);
    return id < this.size && this.#requests[id] !== undefined ? 1 : 0;
  }

  #retireSkipped(count: number): QueueRequest[] {
    return Array.from({ length: count }, () => this.#retire(this.#order!.shift()));
  }

  /** What is used is the driver's again: the request that went by this name. */
  #retire(id: number): QueueRequest {
    const request = this.#requests[id]!;
    this.#requests[id] = undefined;
    const descriptors = this.#descriptorsFor(request);
    this.#freeIds.push(id);
    this.#freeDescriptors += descriptors;
    this.#advance(this.#used, descriptors);
    return request;
  }

  /** Asks for an interrupt at the next used element; true where there is one already, which no interrupt may announce. */
  #enableInterrupts(): boolean {
    if (this.#eventIndex) {
      this.#writeDriverEvent(offWrap(this.#used), RingEventFlags.RING_EVENT_FLAGS_DESC);
    } else {
      this.#writeDriverEvent(0, RingEventFlags.RING_EVENT_FLAGS_ENABLE);
    }
    return this.#hasUsed();
  }

  #writeDriverEvent(offWrap: number, flags: number): void {
    this.#view.setUint16(this.#driverEvent + PackedRing.EVENT_OFF_WRAP, offWrap, true);
    this.#view.setUint16(this.#driverEvent + PackedRing.EVENT_FLAGS, flags, true);
  }
}

/** A place as event suppression and notifications have it: the index in 15 bits, the wrap counter above. */
function offWrap({ index, wrap }: Cursor): number {
  return index | (wrap ? 0x8000 : 0);
}

function bufferFlags(request: QueueRequest, i: number): number {
  return i < request.readableCount ? 0 : VIRTQ_DESC_F_WRITE;
}
