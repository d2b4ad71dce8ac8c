/**
 * The driver's side of a split virtqueue (virtio 1.3, section 2.7). Guest and device run on one thread, so that the order of the
 * writes here is the order that the device sees: where the spec asks for barriers, there are none.
 */
import type { GuestRam, RamRange } from '../memory/ram.js';
import { vringNeedEvent } from './notification.js';
import {
  writableBytes,
  type DriverQueue,
  type DriverQueueOptions,
  type QueueRequest,
  type RingAddresses,
} from './queue.js';
import { RequestOrder } from './request-order.js';
import { SplitRing, VIRTQ_AVAIL_F_NO_INTERRUPT, VIRTQ_USED_F_NO_NOTIFY, VirtqDescFlag } from './registers.js';
import { align, allocateRing, INDIRECT_ENTRIES, writeBuffer } from './ring-memory.js';

export class SplitDriverQueue implements DriverQueue {
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
  readonly #avail: number;
  readonly #used: number;
  readonly #tables: number;
  /** The request whose chain starts at this descriptor. */
  readonly #requests: (QueueRequest | undefined)[];
  /** With VIRTIO_F_IN_ORDER, the heads of the chains that are out. */
  readonly #order: RequestOrder | undefined;
  /**
   * Free descriptors: a list through #next, which also holds the chains, so that the device cannot change either. In order it is a circle
   * that never changes, and descriptors are taken and given back one after the other, as section 2.7.5 asks.
   */
  readonly #next: Uint16Array;
  #freeHead = 0;
  #freeCount: number;
  #availIndex = 0;
  #usedIndex = 0;
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
    this.#avail = size * SplitRing.DESC_SIZE;
    const availBytes = SplitRing.AVAIL_RING + 2 * size + 2;
    this.#used = align(this.#avail + availBytes, options.usedAlignment ?? 4);
    const usedBytes = SplitRing.USED_RING + SplitRing.USED_ELEM_SIZE * size + 2;
    this.#tables = align(this.#used + usedBytes, SplitRing.DESC_SIZE);
    const tableBytes = options.indirect ? size * INDIRECT_ENTRIES * SplitRing.DESC_SIZE : 0;
    const memory = allocateRing(ram, this.#tables + tableBytes);
    this.#memory = memory;
    this.#view = memory.view;
    this.addresses = {
      descriptorArea: memory.address,
      driverArea: memory.address + this.#avail,
      deviceArea: memory.address + this.#used,
    };
    this.#requests = new Array<QueueRequest | undefined>(size).fill(undefined);
    this.#order = options.inOrder === true ? new RequestOrder(size) : undefined;
    this.#next = Uint16Array.from({ length: size }, (_, i) => (i + 1) % size);
    this.#freeCount = size;
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
    const needed = this.#indirect ? 1 : count;
    if (needed > this.#freeCount || this.#broken) return false;
    const head = this.#freeHead;
    if (this.#indirect) this.#fillIndirect(head, request);
    else this.#fillChain(head, request);
    this.#freeCount -= needed;
    this.#requests[head] = request;
    this.#order?.push(head);
    this.#publish(head);
    return true;
  }

  collect(): boolean {
    if (this.#broken) return false;
    this.#disableInterrupts();
    do {
      for (let used = this.#countUsed(); used > 0; used = this.#countUsed()) {
        if (!this.#completeNext(used)) return false;
      }
    } while (this.#enableInterrupts());
    return true;
  }

  abort(errno: number): void {
    for (let head = 0; head < this.size; head++) {
      const request = this.#requests[head];
      if (request === undefined) continue;
      this.#requests[head] = undefined;
      request.complete(-errno);
    }
  }

  close(): void {
    this.#broken = true;
    this.#ram.free(this.#memory);
  }

  /** One descriptor a buffer, linked through the free list's own order. */
  #fillChain(head: number, request: QueueRequest): void {
    let descriptor = head;
    for (let i = 0; i < request.count; i++) {
      const last = i + 1 === request.count;
      this.#writeDescriptor(descriptor * SplitRing.DESC_SIZE, request, i, last ? 0 : this.#next[descriptor]);
      if (last) break;
      descriptor = this.#next[descriptor];
    }
    this.#freeHead = this.#next[descriptor];
  }

  /** One descriptor that points at a table; each descriptor has a table of its own, so none is allocated. */
  #fillIndirect(head: number, request: QueueRequest): void {
    const table = this.#tables + head * INDIRECT_ENTRIES * SplitRing.DESC_SIZE;
    for (let i = 0; i < request.count; i++) {
      this.#writeDescriptor(table + i * SplitRing.DESC_SIZE, request, i, i + 1 === request.count ? 0 : i + 1);
    }
    const at = head * SplitRing.DESC_SIZE;
    writeBuffer(this.#view, at, this.#memory.address + table, request.count * SplitRing.DESC_SIZE);
    this.#view.setUint16(at + SplitRing.DESC_FLAGS, VirtqDescFlag.VIRTQ_DESC_F_INDIRECT, true);
    this.#view.setUint16(at + SplitRing.DESC_NEXT, 0, true);
    this.#freeHead = this.#next[head];
  }

  #writeDescriptor(at: number, request: QueueRequest, i: number, next: number): void {
    const write = i < request.readableCount ? 0 : VirtqDescFlag.VIRTQ_DESC_F_WRITE;
    const more = i + 1 === request.count ? 0 : VirtqDescFlag.VIRTQ_DESC_F_NEXT;
    writeBuffer(this.#view, at, request.addresses[i], request.lengths[i]);
    this.#view.setUint16(at + SplitRing.DESC_FLAGS, write | more, true);
    this.#view.setUint16(at + SplitRing.DESC_NEXT, next, true);
  }

  #publish(head: number): void {
    const old = this.#availIndex;
    const slot = this.#avail + SplitRing.AVAIL_RING + 2 * (old & (this.size - 1));
    this.#view.setUint16(slot, head, true);
    this.#availIndex = (old + 1) & 0xffff;
    this.#view.setUint16(this.#avail + SplitRing.AVAIL_IDX, this.#availIndex, true);
    if (this.#deviceWantsNotify(old)) this.#notify(this.#availIndex);
  }

  #deviceWantsNotify(oldIndex: number): boolean {
    if (!this.#eventIndex) {
      return (this.#view.getUint16(this.#used + SplitRing.USED_FLAGS, true) & VIRTQ_USED_F_NO_NOTIFY) === 0;
    }
    const availEvent = this.#used + SplitRing.USED_RING + SplitRing.USED_ELEM_SIZE * this.size;
    return vringNeedEvent(this.#view.getUint16(availEvent, true), this.#availIndex, oldIndex);
  }

  /** Entries of the used ring that have not been looked at. */
  #countUsed(): number {
    return (this.#view.getUint16(this.#used + SplitRing.USED_IDX, true) - this.#usedIndex) & 0xffff;
  }

  /** Completes what the next of `used` elements stands for. False, and the queue broken, where that is not out. */
  #completeNext(used: number): boolean {
    const slot =
      this.#used + SplitRing.USED_RING + SplitRing.USED_ELEM_SIZE * (this.#usedIndex & (this.size - 1));
    const head = this.#view.getUint32(slot, true);
    const written = this.#view.getUint32(slot + 4, true);
    const count = this.#batchUpTo(head);
    if (count === 0 || count > used) {
      this.#broken = true;
      return false;
    }
    // Those that the batch skips have been used completely. All of it is over before the first one hears of it, and may add or collect.
    const skipped = count > 1 ? this.#retireSkipped(count - 1) : undefined;
    this.#order?.shift();
    const last = this.#retire(head);
    skipped?.forEach((request) => request.complete(writableBytes(request)));
    last.complete(Math.min(written, writableBytes(last)));
    // Whoever was completed may have closed the queue.
    return !this.#broken;
  }

  #batchUpTo(head: number): number {
    if (this.#order !== undefined) return this.#order.batchUpTo(head);
    return head < this.size && this.#requests[head] !== undefined ? 1 : 0;
  }

  #retireSkipped(count: number): QueueRequest[] {
    return Array.from({ length: count }, () => this.#retire(this.#order!.shift()));
  }

  /** What is used is the driver's again: the request that went by this name. */
  #retire(head: number): QueueRequest {
    const request = this.#requests[head]!;
    this.#requests[head] = undefined;
    this.#usedIndex = (this.#usedIndex + 1) & 0xffff;
    this.#freeChain(head, this.#indirect ? 1 : request.count);
    return request;
  }

  #freeChain(head: number, descriptors: number): void {
    this.#freeCount += descriptors;
    if (this.#order !== undefined) return;
    let last = head;
    for (let i = 1; i < descriptors; i++) last = this.#next[last];
    this.#next[last] = this.#freeHead;
    this.#freeHead = head;
  }

  /** With event indices the old used_event stays behind, which says the same. */
  #disableInterrupts(): void {
    if (this.#eventIndex) return;
    this.#view.setUint16(this.#avail + SplitRing.AVAIL_FLAGS, VIRTQ_AVAIL_F_NO_INTERRUPT, true);
  }

  /** Asks for an interrupt at the next used element; true where there is one already, which no interrupt may announce. */
  #enableInterrupts(): boolean {
    if (this.#eventIndex) {
      this.#view.setUint16(this.#avail + SplitRing.AVAIL_RING + 2 * this.size, this.#usedIndex, true);
    } else {
      this.#view.setUint16(this.#avail + SplitRing.AVAIL_FLAGS, 0, true);
    }
    return this.#view.getUint16(this.#used + SplitRing.USED_IDX, true) !== this.#usedIndex;
  }
}
