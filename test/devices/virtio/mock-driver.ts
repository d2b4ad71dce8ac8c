/**
 * The driver's side of a split virtqueue, written from the specification (virtio 1.3, section 2.7) with constants of its own, so that the
 * device's side is never checked against itself. It can behave, and it can write anything anywhere.
 */

const NEXT = 1;
const WRITE = 2;
const INDIRECT = 4;
const NO_INTERRUPT = 1;
const NO_NOTIFY = 1;

export const Flag = { NEXT, WRITE, INDIRECT } as const;

export interface MockBuffer {
  readonly address: number;
  readonly length: number;
  readonly writable?: boolean;
}

export interface MockDescriptor {
  readonly address: number;
  readonly length: number;
  readonly flags?: number;
  readonly next?: number;
}

export interface MockRingPlace {
  /** Guest-physical address of `ram`'s first byte. */
  readonly ramAddress: number;
  readonly size: number;
  readonly eventIdx: boolean;
  /** Whether used elements stand for batches: VIRTIO_F_IN_ORDER. */
  readonly inOrder?: boolean;
  /** Free-running index that both rings start from. */
  readonly startIndex?: number;
  /** Where the used ring may start: 4 unless the interface is the legacy one. */
  readonly usedAlignment?: number;
}

export interface UsedElement {
  readonly id: number;
  readonly length: number;
}

/** Chains that are out, oldest first, with the bytes that the device may write in each: what a driver with VIRTIO_F_IN_ORDER keeps. */
export class OutstandingChains {
  readonly #chains: UsedElement[] = [];

  add(id: number, buffers: readonly MockBuffer[]): void {
    const writable = buffers.filter((buffer) => buffer.writable === true);
    this.#chains.push({ id, length: writable.reduce((sum, { length }) => sum + length, 0) });
  }

  /** The batch that ends with the chain `id`, of which the device says it wrote `length` bytes. */
  takeBatch(id: number, length: number): UsedElement[] {
    const count = this.#chains.findIndex((chain) => chain.id === id) + 1;
    if (count === 0) throw new Error(`chain ${id} was used, but is not out`);
    const batch = this.#chains.splice(0, count);
    return [...batch.slice(0, -1), { id, length }];
  }
}

/** What drivers of every ring format can do. */
export interface MockDriver {
  /** Descriptors that no chain uses. */
  readonly free: number;
  /** Makes one chain of `buffers` available, through an indirect table at `indirectAt` if that is given. Answers what it is used by. */
  add(buffers: readonly MockBuffer[], indirectAt?: number): number;
  /** As `add`, but the device is not shown it until `publish`. */
  stage(buffers: readonly MockBuffer[], indirectAt?: number): number;
  publish(): void;
  /** Whether the device asked to be notified of what was published since the last call. */
  kickNeeded(): boolean;
  suppressInterrupts(): void;
  /** Asks to be interrupted at the next used element; true where there is one already. */
  allowInterrupts(): boolean;
  /** Takes what the device has used since the last call; its descriptors are free again. */
  reap(): UsedElement[];
}

export class MockSplitDriver implements MockDriver {
  readonly size: number;
  readonly descriptorArea: number;
  readonly driverArea: number;
  readonly deviceArea: number;
  /** The first guest-physical address that the ring leaves free. */
  readonly freeAddress: number;
  readonly #view: DataView;
  readonly #ramAddress: number;
  readonly #eventIdx: boolean;
  readonly #inOrder: boolean;
  readonly #outstanding = new OutstandingChains();
  readonly #freeDescriptors: number[];
  readonly #descriptorsOf = new Map<number, number[]>();
  #availIndex: number;
  #publishedIndex: number;
  #kickCheckedIndex: number;
  #seenUsed: number;

  constructor(ram: Uint8Array, place: MockRingPlace) {
    const { ramAddress, size, eventIdx, inOrder = false, startIndex = 0, usedAlignment = 4 } = place;
    this.size = size;
    this.#view = new DataView(ram.buffer, ram.byteOffset, ram.byteLength);
    this.#ramAddress = ramAddress;
    this.#eventIdx = eventIdx;
    this.#inOrder = inOrder;
    this.descriptorArea = ramAddress;
    this.driverArea = ramAddress + 16 * size;
    this.deviceArea = Math.ceil((this.driverArea + 6 + 2 * size) / usedAlignment) * usedAlignment;
    this.freeAddress = Math.ceil((this.deviceArea + 6 + 8 * size) / 4096) * 4096;
    this.#freeDescriptors = Array.from({ length: size }, (_, i) => i);
    this.#availIndex = this.#publishedIndex = this.#kickCheckedIndex = this.#seenUsed = startIndex;
    this.#put16(this.driverArea + 2, startIndex);
    this.#put16(this.deviceArea + 2, startIndex);
    this.#put16(this.driverArea + 4 + 2 * size, startIndex);
    this.#put16(this.deviceArea + 4 + 8 * size, startIndex);
  }

  /** Descriptors that no chain uses. */
  get free(): number {
    return this.#freeDescriptors.length;
  }

  writeDescriptor(index: number, descriptor: MockDescriptor): void {
    this.writeTableEntry(this.descriptorArea, index, descriptor);
  }

  writeTableEntry(
    table: number,
    index: number,
    { address, length, flags = 0, next = 0 }: MockDescriptor,
  ): void {
    const at = table + 16 * index - this.#ramAddress;
    this.#view.setUint32(at, address % 0x1_0000_0000, true);
    this.#view.setUint32(at + 4, Math.floor(address / 0x1_0000_0000), true);
    this.#view.setUint32(at + 8, length, true);
    this.#view.setUint16(at + 12, flags, true);
    this.#view.setUint16(at + 14, next, true);
  }

  /** Makes one chain of `buffers` available, through an indirect table at `indirectAt` if that is given. Answers its head. */
  add(buffers: readonly MockBuffer[], indirectAt?: number): number {
    const head = this.stage(buffers, indirectAt);
    this.publish();
    return head;
  }

  /** As `add`, but the device is not shown it until `publish`. */
  stage(buffers: readonly MockBuffer[], indirectAt?: number): number {
    const taken = this.#freeDescriptors.splice(0, indirectAt === undefined ? buffers.length : 1);
    const [head] = taken;
    this.#descriptorsOf.set(head, taken);
    if (this.#inOrder) this.#outstanding.add(head, buffers);
    if (indirectAt !== undefined) {
      this.writeDescriptor(head, { address: indirectAt, length: 16 * buffers.length, flags: INDIRECT });
    }
    buffers.forEach((buffer, i) => {
      const isLast = i === buffers.length - 1;
      const flags = (buffer.writable === true ? WRITE : 0) | (isLast ? 0 : NEXT);
      const next = isLast ? 0 : indirectAt === undefined ? taken[i + 1] : i + 1;
      const table = indirectAt ?? this.descriptorArea;
      this.writeTableEntry(table, indirectAt === undefined ? taken[i] : i, { ...buffer, flags, next });
    });
    this.stageHead(head);
    return head;
  }

  /** Puts a head, whatever it is, into the available ring. */
  stageHead(head: number): void {
    this.#put16(this.driverArea + 4 + 2 * (this.#availIndex % this.size), head);
    this.#availIndex = (this.#availIndex + 1) & 0xffff;
  }

  publish(): void {
    this.#publishedIndex = this.#availIndex;
    this.setAvailIndex(this.#availIndex);
  }

  setAvailIndex(index: number): void {
    this.#put16(this.driverArea + 2, index);
  }

  /** Whether the device asked to be notified of what was published since the last call. */
  kickNeeded(): boolean {
    const from = this.#kickCheckedIndex;
    const to = this.#publishedIndex;
    this.#kickCheckedIndex = to;
    if (from === to) return false;
    if (!this.#eventIdx) return (this.#get16(this.deviceArea) & NO_NOTIFY) === 0;
    const availEvent = this.#get16(this.deviceArea + 4 + 8 * this.size);
    for (let index = from; index !== to; index = (index + 1) & 0xffff) if (index === availEvent) return true;
    return false;
  }

  /** Asks not to be interrupted. With the event index: the event is put just behind, where it is not passed for long. */
  suppressInterrupts(): void {
    if (this.#eventIdx) this.setUsedEvent((this.#seenUsed - 1) & 0xffff);
    else this.#put16(this.driverArea, NO_INTERRUPT);
  }

  /** Asks to be interrupted at the next used element; true where there is one already. */
  allowInterrupts(): boolean {
    if (this.#eventIdx) this.setUsedEvent(this.#seenUsed);
    else this.#put16(this.driverArea, 0);
    return this.usedIndex !== this.#seenUsed;
  }

  setUsedEvent(index: number): void {
    this.#put16(this.driverArea + 4 + 2 * this.size, index);
  }

  get usedIndex(): number {
    return this.#get16(this.deviceArea + 2);
  }

  get usedFlags(): number {
    return this.#get16(this.deviceArea);
  }

  get availEvent(): number {
    return this.#get16(this.deviceArea + 4 + 8 * this.size);
  }

  /** Takes what the device has used since the last call; descriptors of chains made by `add` are free again. */
  reap(): UsedElement[] {
    const used: UsedElement[] = [];
    while (this.#seenUsed !== this.usedIndex) {
      const at = this.deviceArea + 4 + 8 * (this.#seenUsed % this.size) - this.#ramAddress;
      const id = this.#view.getUint32(at, true);
      const length = this.#view.getUint32(at + 4, true);
      for (const chain of this.#inOrder ? this.#outstanding.takeBatch(id, length) : [{ id, length }]) {
        used.push(chain);
        this.#freeDescriptors.push(...(this.#descriptorsOf.get(chain.id) ?? []));
        this.#descriptorsOf.delete(chain.id);
        this.#seenUsed = (this.#seenUsed + 1) & 0xffff;
      }
    }
    return used;
  }

  #get16(address: number): number {
    return this.#view.getUint16(address - this.#ramAddress, true);
  }

  #put16(address: number, value: number): void {
    this.#view.setUint16(address - this.#ramAddress, value, true);
  }
}
