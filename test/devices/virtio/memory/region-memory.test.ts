import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Errno } from '../../../../devices/errno.js';
import { IoVector } from '../../../../devices/io-vector.js';
import { ArrayRegion } from '../../../../devices/virtio/memory/array-region.js';
import type { MemoryRegion } from '../../../../devices/virtio/memory/guest-memory.js';
import { RegionMemory } from '../../../../devices/virtio/memory/region-memory.js';

const PAGE = 4096;

function memoryOf(...regions: MemoryRegion[]): RegionMemory {
  const memory = new RegionMemory();
  for (const region of regions) expect(memory.addRegion(region)).toBe(0);
  return memory;
}

function ramAt(address: number, sizeBytes = PAGE): ArrayRegion {
  return new ArrayRegion(address, new Uint8Array(sizeBytes), { address: 0x7f00_0000_0000 + address });
}

/** Segments as [offset, length, address]; undefined where the range is refused. */
function segments(memory: RegionMemory, address: number, lengthBytes: number, writable = false) {
  const into = new IoVector();
  if (!memory.translate(address, lengthBytes, writable, into)) return undefined;
  return Array.from({ length: into.count }, (_, i) => [into.offsets[i], into.lengths[i], into.addresses[i]]);
}

/** A region whose bytes lie in arrays of `arrayBytes`, as a mapping too large for one array does. */
class PiecedRegion implements MemoryRegion {
  readonly readable = true;
  readonly writable = true;
  readonly address = 0x1000_0000;
  readonly guestAddress: number;
  readonly sizeBytes: number;
  readonly #arrays: Uint8Array[];
  readonly #arrayBytes: number;

  constructor(guestAddress: number, sizeBytes: number, arrayBytes: number) {
    this.guestAddress = guestAddress;
    this.sizeBytes = sizeBytes;
    this.#arrayBytes = arrayBytes;
    this.#arrays = Array.from(
      { length: Math.ceil(sizeBytes / arrayBytes) },
      () => new Uint8Array(2 * arrayBytes),
    );
  }

  /** Each array is twice as long as the step to the next: ranges of up to a step are always whole. */
  window(offset: number, lengthBytes: number) {
    const index = Math.floor(offset / this.#arrayBytes);
    const start = offset - index * this.#arrayBytes;
    const fits = start + lengthBytes <= 2 * this.#arrayBytes && offset + lengthBytes <= this.sizeBytes;
    return fits ? { bytes: this.#arrays[index], offset: start } : undefined;
  }
}

describe('the guest address of a segment', () => {
  it('is what it was translated from, whichever region and array it lies in', () => {
    const memory = memoryOf(ramAt(0x1000), ramAt(0x2000), new PiecedRegion(0x10_0000, 640, 64));
    for (const address of [0x1000, 0x1ff8, 0x2000, 0x10_0000 + 127, 0x10_0000 + 639]) {
      const into = new IoVector();
      expect(memory.translate(address, 1, true, into)).toBe(true);
      expect(memory.guestAddressOf(into.bytes[0], into.offsets[0], 1)).toBe(address);
    }
  });

  it('is -1 where no region holds all of it, or none any more', () => {
    const bytes = new Uint8Array(2 * PAGE);
    const memory = memoryOf(new ArrayRegion(0x1000, bytes.subarray(0, PAGE)));
    const into = new IoVector();
    memory.translate(0x1ff0, 16, true, into);
    const [segment] = into.bytes;
    expect(memory.guestAddressOf(segment, 0xff0, 16)).toBe(0x1ff0);
    expect(memory.guestAddressOf(segment, 0xff0, 17)).toBe(-1);
    expect(memory.guestAddressOf(bytes, 0xff0, 16)).toBe(-1);
    memory.removeRegion(0x1000, PAGE);
    expect(memory.guestAddressOf(segment, 0xff0, 16)).toBe(-1);
  });
});

describe('adding and removing regions', () => {
  it('refuses regions that overlap, in every way they can', () => {
    const memory = memoryOf(ramAt(0x2000, 2 * PAGE), ramAt(0x8000));
    const before = memory.generation;
    for (const [address, sizeBytes] of [
      [0x2000, 2 * PAGE],
      [0x1000, PAGE + 1],
      [0x3fff, 1],
      [0x2800, 16],
      [0x0000, 16 * PAGE],
      [0x7fff, 2],
    ]) {
      expect(memory.addRegion(ramAt(address, sizeBytes))).toBe(-Errno.EEXIST);
    }
    expect(memory.generation).toBe(before);
  });

  it('takes regions that touch', () => {
    const memory = memoryOf(ramAt(0x2000), ramAt(0x1000), ramAt(0x3000));
    expect(segments(memory, 0x1000, 3 * PAGE)).toHaveLength(3);
  });

  it('refuses regions without bytes, and bounds that are no whole numbers within 2^53', () => {
    const odd = (guestAddress: number, sizeBytes: number): MemoryRegion => ({
      guestAddress,
      sizeBytes,
      readable: true,
      writable: true,
      address: 0,
      window: () => ({ bytes: new Uint8Array(16), offset: 0 }),
    });
    const memory = new RegionMemory();
    for (const [address, sizeBytes] of [
      [0, 0],
      [0, -1],
      [-1, 4],
      [0.5, 4],
      [0, Number.NaN],
      [2 ** 53, 16],
      [2 ** 53 - 8, 16],
      [Number.POSITIVE_INFINITY, 16],
    ]) {
      expect(memory.addRegion(odd(address, sizeBytes))).toBe(-Errno.EINVAL);
    }
    expect(memory.generation).toBe(0);
  });

  it('refuses a region with bytes that no array holds', () => {
    const region: MemoryRegion = {
      ...{ guestAddress: 0, sizeBytes: 2 * PAGE, readable: true, writable: true, address: 0 },
      window: (offset, lengthBytes) =>
        offset + lengthBytes <= PAGE ? { bytes: new Uint8Array(PAGE), offset } : undefined,
    };
    expect(new RegionMemory().addRegion(region)).toBe(-Errno.EINVAL);
  });

  it('removes a region only by its exact bounds, and tells which it was', () => {
    const region = ramAt(0x2000, 2 * PAGE);
    const memory = memoryOf(ramAt(0x1000), region, ramAt(0x8000));
    expect(memory.removeRegion(0x2000, PAGE)).toBeUndefined();
    expect(memory.removeRegion(0x3000, PAGE)).toBeUndefined();
    expect(memory.removeRegion(0x9000, PAGE)).toBeUndefined();
    expect(memory.removeRegion(0x2000, 2 * PAGE)).toBe(region);
    expect(segments(memory, 0x2000, 1)).toBeUndefined();
    expect(segments(memory, 0x1000, PAGE)).toHaveLength(1);
    expect(segments(memory, 0x8000, PAGE)).toHaveLength(1);
    expect(memory.addRegion(region)).toBe(0);
  });

  it('grows its generation with each change, and forgets what it found last', () => {
    const memory = memoryOf(ramAt(0x1000));
    expect(memory.generation).toBe(1);
    expect(segments(memory, 0x1000, 4)).toHaveLength(1);
    memory.removeRegion(0x1000, PAGE);
    expect(memory.generation).toBe(2);
    expect(segments(memory, 0x1000, 4)).toBeUndefined();
    memory.addRegion(ramAt(0x1000));
    memory.clear();
    expect(memory.generation).toBe(4);
    expect(segments(memory, 0x1000, 4)).toBeUndefined();
  });
});

describe('translation', () => {
  it('answers one segment a region, with where it lies in this process', () => {
    const memory = memoryOf(ramAt(0x1000), ramAt(0x2000));
    expect(segments(memory, 0x1ff0, 0x20)).toEqual([
      [0xff0, 0x10, 0x7f00_0000_1ff0],
      [0, 0x10, 0x7f00_0000_2000],
    ]);
  });

  it('has no addresses for regions without one', () => {
    const memory = memoryOf(new ArrayRegion(0x1000, new Uint8Array(PAGE)));
    expect(segments(memory, 0x1800, 16)).toEqual([[0x800, 16, 0]]);
  });

  it('leaves the vector as it was where it refuses, also halfway through', () => {
    const memory = memoryOf(ramAt(0x1000), ramAt(0x2000));
    const into = new IoVector();
    expect(memory.translate(0x1000, 8, false, into)).toBe(true);
    expect(memory.translate(0x1800, 2 * PAGE, false, into)).toBe(false);
    expect([into.count, into.byteLength]).toEqual([1, 8]);
    expect(memory.translate(0x2ff8, 4, false, into)).toBe(true);
    expect([into.count, into.byteLength]).toEqual([2, 12]);
  });

  it('refuses to write what is read-only, at first sight and from memory', () => {
    const memory = memoryOf(
      ramAt(0x1000),
      new ArrayRegion(0x2000, new Uint8Array(PAGE), { writable: false }),
    );
    for (let round = 0; round < 2; round++) {
      expect(segments(memory, 0x2000, 8, true)).toBeUndefined();
      expect(segments(memory, 0x2000, 8, false)).toHaveLength(1);
      expect(segments(memory, 0x1ff8, 16, true)).toBeUndefined();
    }
  });

  it('answers the bytes of a region in several arrays, cut where the arrays end', () => {
    const region = new PiecedRegion(0x10_0000, 10 * 64, 64);
    const memory = memoryOf(region);
    const into = new IoVector();
    expect(memory.translate(0x10_0000, 640, false, into)).toBe(true);
    expect(into.byteLength).toBe(640);
    expect(into.count).toBe(5);
    expect(into.addresses.slice(0, 3)).toEqual([0x1000_0000, 0x1000_0080, 0x1000_0100]);
    expect(memory.removeRegion(0x10_0000, 640)).toBe(region);
    expect(segments(memory, 0x10_0000 + 600, 1)).toBeUndefined();
  });

  it('agrees with looking at each byte, whatever the regions', () => {
    const ranges = fc.array(fc.record({ start: fc.nat(40), pages: fc.integer({ min: 1, max: 8 }) }), {
      maxLength: 12,
    });
    const queries = fc.array(fc.record({ start: fc.nat(50 * 16), length: fc.nat(20 * 16) }), {
      maxLength: 20,
    });
    const unit = 16;
    const property = fc.property(ranges, queries, (regions, asked) => {
      const memory = new RegionMemory();
      const owner = new Map<number, number>();
      for (const { start, pages } of regions) {
        const free = Array.from({ length: pages }, (_, i) => start + i).every((page) => !owner.has(page));
        const error = memory.addRegion(ramAt(start * unit, pages * unit));
        expect(error).toBe(free ? 0 : -Errno.EEXIST);
        for (let i = 0; free && i < pages; i++) owner.set(start + i, start);
      }
      for (const { start, length } of asked) {
        const found = segments(memory, start, length);
        const bytes = Array.from({ length }, (_, i) => Math.floor((start + i) / unit));
        expect(found !== undefined).toBe(bytes.every((page) => owner.has(page)));
        if (found === undefined) continue;
        expect(found.reduce((sum, [, taken]) => sum + taken, 0)).toBe(length);
        expect(found).toHaveLength(new Set(bytes.map((page) => owner.get(page))).size);
        if (length > 0) expect(found[0][2]).toBe(0x7f00_0000_0000 + start);
      }
    });
    fc.assert(property, { numRuns: 300 });
  });
});

/** Segments of an address as a descriptor has it: two words of 32 bits, read as signed numbers. */
function segmentsOfWords(memory: RegionMemory, address: bigint, lengthBytes: number, writable = false) {
  const words = new Int32Array(new BigUint64Array([0n, address]).buffer);
  const into = new IoVector();
  if (!memory.translateWords(words, 2, lengthBytes, writable, into)) return undefined;
  expect(into.byteLength).toBe(lengthBytes);
  return Array.from({ length: into.count }, (_, i) => [into.offsets[i], into.lengths[i], into.addresses[i]]);
}

describe('translation of words', () => {
  const GIB = 2 ** 30;
  /** Regions of any size, whose bytes nobody looks at. */
  const hollow = (guestAddress: number, sizeBytes: number, writable = true): MemoryRegion => ({
    ...{ guestAddress, sizeBytes, readable: true, writable, address: 0x1000_0000_0000 + guestAddress },
    window: (offset, lengthBytes) =>
      offset + lengthBytes <= sizeBytes ? { bytes: new Uint8Array(0), offset } : undefined,
  });
  const edges = [0, PAGE, GIB, 2 * GIB, 3 * GIB, 4 * GIB, 5 * GIB, 8 * GIB, 9 * GIB, 2 ** 40, 2 ** 52];
  const memory = memoryOf(
    hollow(0, PAGE),
    hollow(GIB, GIB),
    hollow(3 * GIB, 2 * GIB),
    hollow(8 * GIB, GIB, false),
    hollow(2 ** 40, 12 * GIB),
    hollow(2 ** 52 - GIB, GIB),
  );

  it('agrees with that of numbers, around every edge, whichever region was the last', () => {
    const wrong: string[] = [];
    for (const before of [0n, BigInt(GIB), BigInt(3 * GIB), BigInt(4 * GIB), BigInt(8 * GIB)]) {
      for (const edge of edges) {
        for (const distance of [-PAGE, -2, -1, 0, 1, PAGE - 1, PAGE]) {
          for (const length of [0, 1, 2, PAGE, PAGE + 1, 2 ** 31, 2 ** 32 - 1]) {
            for (const writable of [false, true]) {
              const address = edge + distance;
              if (address < 0) continue;
              segmentsOfWords(memory, before, 1);
              const found = segmentsOfWords(memory, BigInt(address), length, writable);
              const expected = segments(memory, address, length, writable);
              if (JSON.stringify(found) !== JSON.stringify(expected)) wrong.push(`${address}, ${length}`);
            }
          }
        }
      }
    }
    expect(wrong).toEqual([]);
  });

  it.each([
    2n ** 53n,
    2n ** 63n,
    2n ** 64n - 1n,
    2n ** 64n - 2048n,
    2n ** 64n - 2n ** 32n,
    2n ** 32n * 0xffff_fffen,
  ])(
    'refuses 0x%x, beyond all memory, after any region, and with a length that wraps it around',
    (address) => {
      for (const before of [0n, BigInt(GIB), BigInt(3 * GIB), BigInt(2 ** 52 - 1)]) {
        for (const length of [1, PAGE, 2 ** 31, 2 ** 32 - 1]) {
          expect(segmentsOfWords(memory, before, 1)).toHaveLength(1);
          expect(segmentsOfWords(memory, address, length)).toBeUndefined();
        }
      }
    },
  );

  it('is of no memory where there is none, and none is left over where it was', () => {
    const empty = new RegionMemory();
    expect(segmentsOfWords(empty, 0n, 1)).toBeUndefined();
    expect(segmentsOfWords(empty, 0n, 0)).toEqual([]);
    const region = ramAt(0, PAGE);
    empty.addRegion(region);
    expect(segmentsOfWords(empty, 0n, PAGE)).toHaveLength(1);
    empty.removeRegion(0, PAGE);
    expect(segmentsOfWords(empty, 0n, 1)).toBeUndefined();
  });

  it('cuts a region at multiples of 2 GiB, and finds it whole again when it goes', () => {
    const region = hollow(3 * GIB, 6 * GIB);
    const wide = memoryOf(region);
    expect(segmentsOfWords(wide, BigInt(4 * GIB - 16), 32)).toEqual([
      [GIB - 16, 16, 0x1000_0000_0000 + 4 * GIB - 16],
      [GIB, 16, 0x1000_0000_0000 + 4 * GIB],
    ]);
    expect(segmentsOfWords(wide, BigInt(6 * GIB - 16), 32)).toHaveLength(2);
    expect(segmentsOfWords(wide, BigInt(5 * GIB - 16), 32)).toHaveLength(1);
    expect(wide.ringWindow(4 * GIB - 16, 32)?.offset).toBe(GIB - 16);
    expect(wide.removeRegion(3 * GIB, 6 * GIB)).toBe(region);
    expect(segmentsOfWords(wide, BigInt(8 * GIB), 1)).toBeUndefined();
  });
});

describe('ring windows', () => {
  it('start where the range does', () => {
    const region = ramAt(0x1000);
    const memory = memoryOf(region);
    const window = memory.ringWindow(0x1010, 64);
    window?.view.setUint8(window.offset, 0x5a);
    expect(region.window(0x10, 1)?.bytes[0x10]).toBe(0x5a);
  });

  it('exist neither outside memory nor across regions that are apart in this process', () => {
    const memory = memoryOf(ramAt(0x1000), ramAt(0x2000));
    expect(memory.ringWindow(0x0fff, 2)).toBeUndefined();
    expect(memory.ringWindow(0x1fff, 2)).toBeUndefined();
    expect(memory.ringWindow(0x2fff, 2)).toBeUndefined();
    expect(memory.ringWindow(0x1000, 0)).toBeUndefined();
    expect(memory.ringWindow(2 ** 63, 16)).toBeUndefined();
  });

  it('exist across regions that are one mapping cut in two', () => {
    const whole = new Uint8Array(2 * PAGE);
    const half = (guestAddress: number, at: number): MemoryRegion => ({
      ...{ guestAddress, sizeBytes: PAGE, readable: true, writable: true, address: 0 },
      window: (offset, lengthBytes) =>
        offset + lengthBytes <= PAGE ? { bytes: whole, offset: at + offset } : undefined,
    });
    const memory = memoryOf(half(0x1000, 0), half(0x2000, PAGE));
    expect(memory.ringWindow(0x1f00, 0x200)?.offset).toBe(0xf00);
    const swapped = memoryOf(half(0x1000, PAGE), half(0x2000, 0));
    expect(swapped.ringWindow(0x1f00, 0x200)).toBeUndefined();
  });

  it('exist wherever one array of a large region holds the range, also where translation cuts it', () => {
    const memory = memoryOf(new PiecedRegion(0x10_0000, 640, 64));
    expect(segments(memory, 0x10_0000 + 120, 16)).toHaveLength(2);
    expect(memory.ringWindow(0x10_0000 + 120, 16)?.offset).toBe(56);
  });

  it('do not exist in memory that may not be written, alone or at the edge', () => {
    const readOnly = new ArrayRegion(0x2000, new Uint8Array(PAGE), { writable: false });
    const memory = memoryOf(ramAt(0x1000), readOnly);
    expect(memory.ringWindow(0x2000, 16)).toBeUndefined();
    expect(memory.ringWindow(0x1ff8, 16)).toBeUndefined();
  });
});
