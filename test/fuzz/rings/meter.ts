/**
 * The instruments of a fuzzed ring: every access that it makes to the guest's memory is counted and held against what it may touch. What it
 * may read are its areas, and ranges that it asked to have translated; what it may write is what belongs to the device.
 */
import type { IoVector } from '../../../devices/io-vector.js';
import type { GuestMemory, RingWindow } from '../../../devices/virtio/memory/guest-memory.js';
import type { RegionMemory } from '../../../devices/virtio/memory/region-memory.js';
import {
  PlainMemory,
  watchMemory,
  type AccessModel,
  type Width,
} from '../../devices/virtio/ring/watched-memory.js';
import { bytes, RAM, view } from './layout.js';

interface Range {
  readonly start: number;
  readonly end: number;
}

/** Offsets into the memory of `layout`. */
export interface RingAreas {
  readonly descriptors: Range;
  readonly driver: Range;
  readonly device: Range;
  readonly packed: boolean;
}

/** A write by another processor, just before the device's access number `access`. */
export interface Flip {
  readonly access: number;
  readonly offset: number;
  readonly value: number;
}

const NOWHERE: Range = { start: 0, end: 0 };
const NO_AREAS: RingAreas = { descriptors: NOWHERE, driver: NOWHERE, device: NOWHERE, packed: false };

export class Meter implements AccessModel {
  areas: RingAreas = NO_AREAS;
  flip: Flip | undefined;
  accesses = 0;
  stores = 0;
  #limit = 0;
  readonly #memory = new PlainMemory(bytes);
  readonly #granted: Range[] = [];
  readonly #written: number[] = [];

  constructor() {
    watchMemory(bytes, this);
  }

  /** Something is asked of the ring that may take `limit` accesses. */
  begin(limit: number): void {
    this.#limit = limit;
    this.accesses = this.stores = 0;
    this.#granted.length = 0;
  }

  grant({ bytes: array, offsets, lengths, count }: IoVector, from: number): void {
    for (let i = from; i < count; i++) {
      const start = array[i].byteOffset + offsets[i];
      this.#granted.push({ start, end: start + lengths[i] });
    }
  }

  load(offset: number, width: Width): number {
    this.#count(offset);
    if (!this.#mayRead(offset, offset + width)) throw new Error(`a read of ${width} at ${offset}`);
    return this.#memory.load(offset, width);
  }

  store(offset: number, width: Width, value: number): void {
    this.#count(offset);
    this.stores++;
    if (!this.#mayWrite(offset, offset + width)) throw new Error(`a write of ${width} at ${offset}`);
    this.put(offset, width, value);
  }

  /** A write by the driver. */
  put(offset: number, width: Width, value: number): void {
    this.#written.push(offset);
    this.#memory.store(offset, width, value);
  }

  /** All memory is zeros again. */
  wipe(): void {
    if (this.#written.length > 0x1_0000) bytes.fill(0);
    else for (const offset of this.#written) if (offset + 4 <= bytes.length) view.setUint32(offset, 0);
    this.#written.length = 0;
    this.flip = undefined;
  }

  #count(offset: number): void {
    if (this.accesses++ >= this.#limit)
      throw new Error(`access ${this.accesses}, at ${offset}: one too many`);
    const { flip } = this;
    if (flip === undefined || flip.access !== this.accesses) return;
    this.flip = undefined;
    this.put(flip.offset, 2, flip.value);
  }

  #mayRead(start: number, end: number): boolean {
    const { descriptors, driver, device } = this.areas;
    if (within(descriptors, start, end) || within(driver, start, end) || within(device, start, end))
      return true;
    return this.#granted.some((range) => within(range, start, end));
  }

  #mayWrite(start: number, end: number): boolean {
    const { descriptors, device, packed } = this.areas;
    if (within(device, start, end)) return true;
    // Of a packed ring's descriptors a device writes length, id and flags.
    return packed && within(descriptors, start, end) && (start - descriptors.start) % 16 >= 8;
  }
}

function within(range: Range, start: number, end: number): boolean {
  return start >= range.start && end <= range.end;
}

/** Guest memory that tells a meter which ranges were asked for. */
export class MeteredMemory implements GuestMemory {
  readonly #memory: RegionMemory;
  readonly #meter: Meter;

  constructor(memory: RegionMemory, meter: Meter) {
    this.#memory = memory;
    this.#meter = meter;
  }

  get generation(): number {
    return this.#memory.generation;
  }

  translate(guestAddress: number, lengthBytes: number, writable: boolean, into: IoVector): boolean {
    return this.#memory.translate(guestAddress, lengthBytes, writable, into);
  }

  translateWords(
    words: Int32Array,
    at: number,
    lengthBytes: number,
    writable: boolean,
    into: IoVector,
  ): boolean {
    const { count } = into;
    const found = this.#memory.translateWords(words, at, lengthBytes, writable, into);
    if (found && !writable) this.#meter.grant(into, count);
    return found;
  }

  guestAddressOf(array: Uint8Array, offset: number, lengthBytes: number): number {
    return this.#memory.guestAddressOf(array, offset, lengthBytes);
  }

  ringWindow(guestAddress: number, lengthBytes: number): RingWindow | undefined {
    return this.#memory.ringWindow(guestAddress, lengthBytes);
  }
}

/** Where a guest address of RAM lies in the memory of `layout`. */
export function offsetInRam(guestAddress: number): number {
  return guestAddress - RAM.start + RAM.offset;
}
