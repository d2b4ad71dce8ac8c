/**
 * What a device has to make of a ring, written from the specification (virtio 1.3, sections 2.7 and 2.8) with constants of its own and
 * without any regard for speed: the next chain, or why there is none.
 */
import { pieceAt, RAM, view, type Piece } from './layout.js';

const [NEXT, WRITE, INDIRECT] = [1, 2, 4];
const [AVAIL, USED] = [0x80, 0x8000];
const MAX_CHAIN_BYTES = 2 ** 32;

export const Outcome = {
  NONE: 0,
  CHAIN: 1,
  /** The driver broke a rule, whatever memory there is. */
  BAD: 2,
  /** Something is not in memory. */
  MISSING: 3,
} as const;

export interface Extent {
  readonly address: number;
  readonly length: number;
}

export interface Expected {
  readonly outcome: (typeof Outcome)[keyof typeof Outcome];
  readonly why: string;
  readonly id: number;
  /** Entries of the ring that the chain takes. */
  readonly entries: number;
  readonly descriptors: number;
  readonly indirect: boolean;
  readonly readable: readonly Extent[];
  readonly writable: readonly Extent[];
}

export interface RingModel {
  readonly packed: boolean;
  readonly size: number;
  readonly indirectAllowed: boolean;
  readonly descriptorArea: number;
  readonly driverArea: number;
  readonly deviceArea: number;
}

interface Descriptor {
  readonly address: number;
  readonly length: number;
  readonly flags: number;
  /** `next` in a split ring. */
  readonly next: number;
  /** `id` in a packed one. */
  readonly id: number;
}

class Walk {
  readonly readable: Extent[] = [];
  readonly writable: Extent[] = [];
  descriptors = 0;
  indirect = false;
  readonly #present: readonly Piece[];

  constructor(present: readonly Piece[]) {
    this.#present = present;
  }

  /** Takes a buffer: answers what is wrong with it. */
  take({
    address,
    length,
    flags,
  }: Descriptor): [typeof Outcome.BAD | typeof Outcome.MISSING, string] | undefined {
    const isWritable = (flags & WRITE) !== 0;
    if (!isWritable && this.writable.length > 0) return [Outcome.BAD, 'readable behind writable'];
    if (!this.inMemory(address, length, isWritable)) return [Outcome.MISSING, 'buffer'];
    (isWritable ? this.writable : this.readable).push({ address, length });
    this.descriptors++;
    return undefined;
  }

  inMemory(address: number, length: number, isWritable: boolean): boolean {
    let at = address;
    for (let left = length; left > 0;) {
      const piece = pieceAt(this.#present, at);
      if (piece === undefined || (isWritable && !piece.writable)) return false;
      left -= piece.end - at;
      at = piece.end;
    }
    return true;
  }

  /** Reads a descriptor that may lie across pieces. */
  read(address: number, packed: boolean): Descriptor {
    const byte = (at: number): number => {
      const piece = pieceAt(this.#present, at);
      return piece === undefined ? 0 : view.getUint8(piece.offset + at - piece.start);
    };
    const word = (at: number): number =>
      (byte(at) | (byte(at + 1) << 8) | (byte(at + 2) << 16) | (byte(at + 3) << 24)) >>> 0;
    const last = word(address + 12);
    return {
      address: word(address + 4) * 2 ** 32 + word(address),
      length: word(address + 8),
      flags: packed ? last >>> 16 : last & 0xffff,
      next: last >>> 16,
      id: last & 0xffff,
    };
  }

  /** The entries of an indirect table, or what is wrong with it. */
  table(
    { address, length }: Descriptor,
    size: number,
  ): [typeof Outcome.BAD | typeof Outcome.MISSING, string] | number {
    if (length === 0 || length % 16 !== 0 || length > 16 * size) return [Outcome.BAD, 'length of a table'];
    if (!this.inMemory(address, length, false)) return [Outcome.MISSING, 'table'];
    this.indirect = true;
    return length / 16;
  }

  done(id: number, entries: number): Expected {
    const total = [...this.readable, ...this.writable].reduce((sum, { length }) => sum + length, 0);
    if (total > MAX_CHAIN_BYTES) return this.failed([Outcome.BAD, 'too long']);
    return { ...this.#facts(), outcome: Outcome.CHAIN, why: '', id, entries };
  }

  failed([outcome, why]: readonly [typeof Outcome.BAD | typeof Outcome.MISSING, string]): Expected {
    return { ...this.#facts(), outcome, why, id: 0, entries: 0 };
  }

  #facts() {
    const { readable, writable, descriptors, indirect } = this;
    return { readable, writable, descriptors, indirect };
  }
}

/** The chain that starts at descriptor `head`. */
export function splitChain(ring: RingModel, present: readonly Piece[], head: number): Expected {
  const walk = new Walk(present);
  let table = ring.descriptorArea;
  let count = ring.size;
  let index = head;
  for (;;) {
    if (index >= count) return walk.failed([Outcome.BAD, 'index']);
    const descriptor = walk.read(table + 16 * index, false);
    if ((descriptor.flags & INDIRECT) !== 0) {
      if (walk.indirect) return walk.failed([Outcome.BAD, 'nested']);
      if (!ring.indirectAllowed) return walk.failed([Outcome.BAD, 'indirect without leave']);
      if ((descriptor.flags & NEXT) !== 0) return walk.failed([Outcome.BAD, 'indirect with next']);
      const entries = walk.table(descriptor, ring.size);
      if (typeof entries !== 'number') return walk.failed(entries);
      [table, count, index] = [descriptor.address, entries, 0];
      continue;
    }
    const problem = walk.take(descriptor);
    if (problem !== undefined) return walk.failed(problem);
    if ((descriptor.flags & NEXT) === 0) return walk.done(head, 1);
    if (walk.descriptors === ring.size) return walk.failed([Outcome.BAD, 'too many']);
    index = descriptor.next;
  }
}

/** Whether descriptor `place` (one of two laps) is available. */
export function packedAvailable(ring: RingModel, place: number): boolean {
  const flags = view.getUint16(ring.descriptorArea + 16 * (place % ring.size) + 14 - RAM.start, true);
  return (flags & (AVAIL | USED)) === (place < ring.size ? AVAIL : USED);
}

/** The chain that starts at `place` of two laps, where `left` descriptors are not the device's. */
export function packedChain(
  ring: RingModel,
  present: readonly Piece[],
  place: number,
  left: number,
): Expected {
  const walk = new Walk(present);
  for (let at = place; ; at = (at + 1) % (2 * ring.size)) {
    const descriptor = walk.read(ring.descriptorArea + 16 * (at % ring.size), true);
    if (walk.descriptors > 0 && !packedAvailable(ring, at))
      return walk.failed([Outcome.BAD, 'not available']);
    if ((descriptor.flags & INDIRECT) !== 0) {
      if (walk.descriptors > 0 || (descriptor.flags & NEXT) !== 0)
        return walk.failed([Outcome.BAD, 'indirect of several']);
      if (!ring.indirectAllowed) return walk.failed([Outcome.BAD, 'indirect without leave']);
      return packedTable(ring, walk, descriptor);
    }
    const problem = walk.take(descriptor);
    if (problem !== undefined) return walk.failed(problem);
    if ((descriptor.flags & NEXT) === 0) return walk.done(descriptor.id, walk.descriptors);
    if (walk.descriptors === left) return walk.failed([Outcome.BAD, 'too many']);
  }
}

function packedTable(ring: RingModel, walk: Walk, descriptor: Descriptor): Expected {
  const entries = walk.table(descriptor, ring.size);
  if (typeof entries !== 'number') return walk.failed(entries);
  for (let i = 0; i < entries; i++) {
    const entry = walk.read(descriptor.address + 16 * i, true);
    if ((entry.flags & INDIRECT) !== 0) return walk.failed([Outcome.BAD, 'nested']);
    const problem = walk.take(entry);
    if (problem !== undefined) return walk.failed(problem);
  }
  return walk.done(descriptor.id, 1);
}
