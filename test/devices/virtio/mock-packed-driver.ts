/**
 * The driver's side of a packed virtqueue, written from the specification (virtio 1.3, section 2.8) with constants of its own, as
 * `MockSplitDriver` is for the split one. Where it stands is two variables, as the specification has it.
 */
import {
  OutstandingChains,
  type MockBuffer,
  type MockDriver,
  type MockRingPlace,
  type UsedElement,
} from './mock-driver.js';

const NEXT = 1;
const WRITE = 2;
const INDIRECT = 4;
const AVAIL = 1 << 7;
const USED = 1 << 15;
const ENABLE = 0;
const DISABLE = 1;
const DESC = 2;

export interface MockPackedDescriptor {
  readonly address: number;
  readonly length: number;
  readonly flags?: number;
  readonly id?: number;
}

interface Cursor {
  index: number;
  wrap: number;
}

export class MockPackedDriver implements MockDriver {
  readonly size: number;
  readonly descriptorArea: number;
  readonly driverArea: number;
  readonly deviceArea: number;
  readonly freeAddress: number;
  readonly #view: DataView;
  readonly #ramAddress: number;
  readonly #eventIdx: boolean;
  readonly #inOrder: boolean;
  readonly #outstanding = new OutstandingChains();
  readonly #freeIds: number[];
  readonly #countOf = new Map<number, number>();
  readonly #avail: Cursor;
  readonly #used: Cursor;
  #free: number;
  /** Flags of first descriptors that are yet to be written, and the places of descriptors that nobody checked a kick for. */
  #staged: { at: number; flags: number }[] = [];
  #stagedPlaces: number[] = [];
  #uncheckedPlaces: number[] = [];

  constructor(ram: Uint8Array, place: MockRingPlace) {
    const { ramAddress, size, eventIdx, inOrder = false, startIndex = 0 } = place;
    this.size = size;
    this.#view = new DataView(ram.buffer, ram.byteOffset, ram.byteLength);
    this.#ramAddress = ramAddress;
    this.#eventIdx = eventIdx;
    this.#inOrder = inOrder;
    this.descriptorArea = ramAddress;
    this.driverArea = ramAddress + 16 * size;
    this.deviceArea = this.driverArea + 4;
    this.freeAddress = Math.ceil((this.deviceArea + 4) / 4096) * 4096;
    this.#freeIds = Array.from({ length: size }, (_, i) => i);
    this.#free = size;
    this.#avail = { index: startIndex % size, wrap: Math.floor(startIndex / size) % 2 === 0 ? 1 : 0 };
    this.#used = { ...this.#avail };
    this.#leaveLastLapBehind();
  }

  get free(): number {
    return this.#free;
  }

  /** The driver's and the device's position, index and wrap counter in 16 bits. */
  get availPosition(): number {
    return offWrap(this.#avail);
  }

  get usedPosition(): number {
    return offWrap(this.#used);
  }

  writeTableEntry(table: number, index: number, descriptor: MockPackedDescriptor): void {
    const { address, length, flags = 0, id = 0 } = descriptor;
    const at = table + 16 * index - this.#ramAddress;
    this.#view.setUint32(at, address % 0x1_0000_0000, true);
    this.#view.setUint32(at + 4, Math.floor(address / 0x1_0000_0000), true);
    this.#view.setUint32(at + 8, length, true);
    this.#view.setUint16(at + 12, id, true);
    this.#view.setUint16(at + 14, flags, true);
  }

  /** Writes descriptors as they are, but made available, where the next chain belongs. Nothing keeps account of them. */
  offer(descriptors: readonly MockPackedDescriptor[]): void {
    for (const descriptor of descriptors) {
      const flags = (descriptor.flags ?? 0) | this.#availableFlags();
      this.writeTableEntry(this.descriptorArea, this.#avail.index, { ...descriptor, flags });
      this.#advance(this.#avail, 1);
    }
  }

  add(buffers: readonly MockBuffer[], indirectAt?: number): number {
    const id = this.stage(buffers, indirectAt);
    this.publish();
    return id;
  }

  stage(buffers: readonly MockBuffer[], indirectAt?: number): number {
    const id = this.#freeIds.shift();
    const count = indirectAt === undefined ? buffers.length : 1;
    if (id === undefined || count > this.#free) throw new Error('the ring is full');
    this.#countOf.set(id, count);
    if (this.#inOrder) this.#outstanding.add(id, buffers);
    this.#free -= count;
    if (indirectAt === undefined) {
      buffers.forEach((buffer, i) => {
        const more = i === buffers.length - 1 ? 0 : NEXT;
        this.#stageDescriptor({ ...buffer, flags: writeFlag(buffer) | more, id }, i === 0);
      });
    } else {
      buffers.forEach((buffer, i) =>
        this.writeTableEntry(indirectAt, i, { ...buffer, flags: writeFlag(buffer) }),
      );
      const table = { address: indirectAt, length: 16 * buffers.length, flags: INDIRECT, id };
      this.#stageDescriptor(table, true);
    }
    return id;
  }

  /** Shows what was staged, the first chain last: a device that saw it sees them all. */
  publish(): void {
    for (const { at, flags } of this.#staged.splice(0).reverse()) this.#put16(at, flags);
    this.#uncheckedPlaces.push(...this.#stagedPlaces.splice(0));
  }

  kickNeeded(): boolean {
    const places = this.#uncheckedPlaces.splice(0);
    if (places.length === 0) return false;
    const flags = this.deviceEventFlags;
    return flags === DESC ? places.includes(this.#get16(this.deviceArea)) : flags === ENABLE;
  }

  suppressInterrupts(): void {
    this.setDriverEvent(0, DISABLE);
  }

  allowInterrupts(): boolean {
    if (this.#eventIdx) this.setDriverEvent(this.usedPosition, DESC);
    else this.setDriverEvent(0, ENABLE);
    return this.#hasUsed();
  }

  setDriverEvent(place: number, flags: number): void {
    this.#put16(this.driverArea, place);
    this.#put16(this.driverArea + 2, flags);
  }

  get deviceEventFlags(): number {
    return this.#get16(this.deviceArea + 2);
  }

  get deviceEventPlace(): number {
    return this.#get16(this.deviceArea);
  }

  reap(): UsedElement[] {
    const used: UsedElement[] = [];
    while (this.#hasUsed()) {
      const at = this.descriptorArea + 16 * this.#used.index - this.#ramAddress;
      const id = this.#view.getUint16(at + 12, true);
      const wrote = (this.#view.getUint16(at + 14, true) & WRITE) !== 0;
      const length = wrote ? this.#view.getUint32(at + 8, true) : 0;
      for (const chain of this.#inOrder ? this.#outstanding.takeBatch(id, length) : [{ id, length }]) {
        used.push(chain);
        this.#release(chain.id);
      }
    }
    return used;
  }

  #release(id: number): void {
    const count = this.#countOf.get(id);
    if (count === undefined) throw new Error(`id ${id} was used, but is not out`);
    this.#countOf.delete(id);
    this.#freeIds.push(id);
    this.#free += count;
    this.#advance(this.#used, count);
  }

  #stageDescriptor(descriptor: MockPackedDescriptor, isFirst: boolean): void {
    const { index } = this.#avail;
    const flags = (descriptor.flags ?? 0) | this.#availableFlags();
    const at = this.descriptorArea + 16 * index + 14;
    this.writeTableEntry(this.descriptorArea, index, {
      ...descriptor,
      flags: isFirst ? this.#get16(at) : flags,
    });
    if (isFirst) this.#staged.push({ at, flags });
    this.#stagedPlaces.push(this.availPosition);
    this.#advance(this.#avail, 1);
  }

  /** A ring that starts somewhere else than at the beginning has what was used before in its descriptors. */
  #leaveLastLapBehind(): void {
    for (let i = 0; i < this.size; i++) {
      const wrap = i < this.#avail.index ? this.#avail.wrap : 1 - this.#avail.wrap;
      this.writeTableEntry(this.descriptorArea, i, {
        address: 0,
        length: 0,
        flags: wrap === 1 ? AVAIL | USED : 0,
      });
    }
  }

  #availableFlags(): number {
    return this.#avail.wrap === 1 ? AVAIL : USED;
  }

  #hasUsed(): boolean {
    const flags = this.#get16(this.descriptorArea + 16 * this.#used.index + 14);
    const avail = (flags & AVAIL) !== 0;
    const used = (flags & USED) !== 0;
    return avail === used && used === (this.#used.wrap === 1);
  }

  /** Step by step, so that nothing here knows how to skip. */
  #advance(cursor: Cursor, count: number): void {
    for (let i = 0; i < count; i++) {
      cursor.index++;
      if (cursor.index < this.size) continue;
      cursor.index = 0;
      cursor.wrap = 1 - cursor.wrap;
    }
  }

  #get16(address: number): number {
    return this.#view.getUint16(address - this.#ramAddress, true);
  }

  #put16(address: number, value: number): void {
    this.#view.setUint16(address - this.#ramAddress, value, true);
  }
}

function offWrap({ index, wrap }: Cursor): number {
  return index + 0x8000 * wrap;
}

function writeFlag(buffer: MockBuffer): number {
  return buffer.writable === true ? WRITE : 0;
}
