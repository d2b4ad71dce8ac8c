/** A driver that does what a step of a case says: offers chains that are right, or nearly, and writes anything anywhere in its ring. */
import { addressOf, lengthOf, TABLES, BEHIND_RAM, type Address } from './layout.js';
import { offsetInRam, type Meter } from './meter.js';
import type { RingModel } from './reference.js';

const [NEXT, WRITE, INDIRECT] = [1, 2, 4];
const [AVAIL, USED] = [0x80, 0x8000];
const FLAGS_OF_INTEREST = [0, NEXT, WRITE, NEXT | WRITE, INDIRECT, INDIRECT | NEXT, INDIRECT | WRITE, 0xffff];

/** What `offer` takes apart. */
const Offer = { INDIRECT: 1, ODD_TABLE: 2, TABLE_BEHIND_RAM: 4, HIDDEN: 8, LONG: 16, LOOP: 32 } as const;

export class RingDriver {
  readonly ring: RingModel;
  readonly #meter: Meter;
  /** Chains offered, from where the ring started on; and entries of a packed ring that they took. */
  #avail: number;
  #descriptor = 0;
  /** Flags of the first descriptor of a packed ring's chain, which is shown last. */
  #first = 0;

  constructor(ring: RingModel, meter: Meter, start: number) {
    this.ring = ring;
    this.#meter = meter;
    this.#avail = start;
  }

  /** Where the next chain will be: a free-running index, or a place on two laps. */
  get next(): number {
    return this.#avail;
  }

  /** shape: how many buffers to read and to write. how: `Offer`. */
  offer([, shape, address, length, how]: readonly number[]): void {
    const { ring } = this;
    const long = (how & Offer.LONG) === 0 ? 1 : 7;
    const readable = (shape % 4) * long;
    const writable = ((shape >>> 2) % 4) * long;
    const count = Math.max(1, Math.min(readable + writable, ring.size + (how & 1)));
    const indirect = (how & Offer.INDIRECT) !== 0;
    const table = this.#tableAddress(how);
    for (let i = 0; i < count; i++) {
      const isLast = i === count - 1 && (how & Offer.LOOP) === 0;
      const flags = (i >= readable ? WRITE : 0) | (isLast || (indirect && ring.packed) ? 0 : NEXT);
      const at = indirect ? table + 16 * i : this.#place(i);
      this.#put(
        at,
        addressOf(address + i * 7),
        lengthOf(length + i),
        flags,
        indirect ? i + 1 : this.#next(i),
        !indirect,
        i === 0,
      );
    }
    if (indirect) this.#put(this.#place(0), { low: table, high: 0 }, 16 * count, INDIRECT, 0, true, true);
    this.#show(indirect ? 1 : count, (how & Offer.HIDDEN) !== 0);
  }

  /** Writes 16 bits into a field. */
  poke([, target, index, value]: readonly number[]): void {
    const { ring } = this;
    const { descriptorArea, driverArea, deviceArea, size } = ring;
    switch (target % 8) {
      case 0:
      case 1:
        return this.#put16(descriptorArea + 16 * ((index >>> 3) % size) + 2 * (index % 8), value);
      case 2:
        return this.#put16(
          this.#nextFlags(index),
          FLAGS_OF_INTEREST[value % 8] | this.#lapFlags(index % size),
        );
      case 3:
        if (!ring.packed)
          this.#avail = (this.#avail + [0, 1, 2, 0xffff, size, size + 1, 0x8000][value % 7]) & 0xffff;
        return this.#put16(driverArea + 2, ring.packed ? value % 4 : this.#avail);
      case 4:
        return this.#put16(driverArea + (ring.packed ? 0 : 4 + 2 * (index % (size + 1))), value);
      case 5:
        return this.#put16(driverArea, value);
      case 6:
        return this.#put16(TABLES + 2 * (index % 128), index % 8 < 6 ? value : FLAGS_OF_INTEREST[value % 8]);
      default:
        return this.#put16(deviceArea + 2 * (index % (ring.packed ? 2 : 3 + 4 * size)), value);
    }
  }

  /** Some place of the ring, for a write that comes in the middle of a look. */
  someOffset(choice: number): number {
    const { descriptorArea, driverArea, size, packed } = this.ring;
    if (choice % 4 === 0) return offsetInRam(driverArea + 2 * ((choice >>> 2) % (packed ? 2 : 3 + size)));
    if (choice % 4 === 1) return offsetInRam(TABLES + 2 * ((choice >>> 2) % 512));
    return offsetInRam(descriptorArea + 2 * ((choice >>> 2) % (8 * size)));
  }

  #tableAddress(how: number): number {
    const odd = (how & Offer.ODD_TABLE) === 0 ? 0 : 2;
    return odd + ((how & Offer.TABLE_BEHIND_RAM) === 0 ? TABLES : BEHIND_RAM.start - 32);
  }

  /** The descriptor for the offer's part `i`: in a packed ring they lie in order, in a split one anywhere. */
  #place(i: number): number {
    const { descriptorArea, packed, size } = this.ring;
    return descriptorArea + 16 * (((packed ? this.#avail : this.#descriptor) + i) % size);
  }

  #next(i: number): number {
    return (this.#descriptor + i + 1) % this.ring.size;
  }

  #put(
    at: number,
    { low, high }: Address,
    length: number,
    flags: number,
    next: number,
    inRing: boolean,
    hide: boolean,
  ): void {
    const { packed, size } = this.ring;
    this.#put32(at, low);
    this.#put32(at + 4, high);
    this.#put32(at + 8, length);
    if (!packed) return this.#put32(at + 12, (next << 16) | flags);
    const place = Math.floor((at - this.ring.descriptorArea) / 16);
    this.#put16(at + 12, this.#descriptor % size);
    if (!inRing) this.#put16(at + 14, flags);
    // The first one is shown last.
    else if (!hide)
      this.#put16(at + 14, flags | this.#lapFlags((place - (this.#avail % size) + size) % size));
    else this.#first = flags;
  }

  #show(entries: number, hidden: boolean): void {
    const { driverArea, packed, size } = this.ring;
    if (packed) {
      if (!hidden) this.#put16(this.#nextFlags(0), this.#first | this.#lapFlags(0));
      this.#avail = (this.#avail + (hidden ? 0 : entries)) % (2 * size);
    } else {
      this.#put16(driverArea + 4 + 2 * (this.#avail % size), this.#descriptor % size);
      this.#avail = (this.#avail + 1) & 0xffff;
      if (!hidden) this.#put16(driverArea + 2, this.#avail);
    }
    this.#descriptor = (this.#descriptor + entries) % size;
  }

  #nextFlags(ahead: number): number {
    const { descriptorArea, size } = this.ring;
    return descriptorArea + 16 * ((this.#avail + ahead) % size) + 14;
  }

  /** What makes the descriptor `ahead` of the next one available; nothing in a split ring. */
  #lapFlags(ahead: number): number {
    const { packed, size } = this.ring;
    if (!packed) return 0;
    return (this.#avail + ahead) % (2 * size) < size ? AVAIL : USED;
  }

  #put16(guestAddress: number, value: number): void {
    this.#meter.put(offsetInRam(guestAddress), 2, value & 0xffff);
  }

  #put32(guestAddress: number, value: number): void {
    this.#meter.put(offsetInRam(guestAddress), 4, value >>> 0);
  }
}
