import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { MockDriver } from '../mock-driver.js';
import { Flag } from '../mock-driver.js';
import { makePackedRing, makeRing, type RingFixture, type RingOptions } from './fixture.js';
import { beginWatching, PlainMemory, watchMemory, type AccessModel, type Width } from './watched-memory.js';

const { INDIRECT, NEXT, WRITE } = Flag;

/** A driver that writes `after` over every byte as soon as the device has read it, and counts how often that was. */
class FidgetyMemory extends PlainMemory implements AccessModel {
  readonly reads = new Map<number, number>();
  after: number | undefined;
  readonly #ram: Uint8Array;

  constructor(ram: Uint8Array) {
    super(ram);
    this.#ram = ram;
  }

  override load(offset: number, width: Width): number {
    const value = super.load(offset, width);
    for (let at = offset; at < offset + width && this.after !== undefined; at++) {
      this.reads.set(at, (this.reads.get(at) ?? 0) + 1);
      this.#ram[at] = this.after;
    }
    return value;
  }
}

type Make = (options: RingOptions) => RingFixture<MockDriver>;

function watched(make: Make, options: RingOptions = {}) {
  let memory: FidgetyMemory | undefined;
  const fixture = make({ ...options, watch: (ram) => watchMemory(ram, (memory = new FidgetyMemory(ram))) });
  return { ...fixture, memory: memory! };
}

let endWatching: () => void;
beforeEach(() => {
  endWatching = beginWatching();
});
afterEach(() => {
  endWatching();
  vi.restoreAllMocks();
});

/** `perChain`: bytes of the ring's own that are read once for a chain, beside its descriptors. */
const FORMATS = [
  { format: 'a split ring', make: makeRing as Make, perChain: 4 },
  { format: 'a packed ring', make: makePackedRing as Make, perChain: 0 },
];
const CASES = FORMATS.flatMap((each) =>
  [0x00, 0xff].flatMap((after) => [false, true].map((indirect) => ({ ...each, after, indirect }))),
);

describe('double fetch (CVE-2018-1059, CVE-2019-18960, CVE-2023-50711)', () => {
  for (const { format, make, perChain, after, indirect } of CASES) {
    it(`each field of ${indirect ? 'an indirect table' : 'a chain'} in ${format} is read once, and its first value counts when it becomes ${after} at once`, () => {
      const { driver, memory, page, problems, ring } = watched(make);
      const buffers = [
        { address: page(1), length: 100 },
        { address: page(2), length: 200, writable: true },
        { address: page(3), length: 300, writable: true },
      ];
      driver.add(buffers, indirect ? page(0) : undefined);
      memory.after = after;
      const chain = ring.pop();
      expect(problems).toEqual([]);
      expect(chain?.readable.byteLength).toBe(100);
      expect(chain?.writable.byteLength).toBe(500);
      expect(memory.reads.size).toBe(perChain + (indirect ? 16 : 0) + 3 * 16);
      expect(new Set(memory.reads.values())).toEqual(new Set([1]));
    });
  }

  it('an indirect table keeps the length that was checked, though the driver makes it longer at once', () => {
    for (const make of [makeRing as Make, makePackedRing as Make]) {
      const { driver, memory, page, problems, ring } = watched(make);
      driver.add([{ address: page(1), length: 100 }], page(0));
      memory.after = 0x70;
      expect(ring.pop()?.readable.byteLength).toBe(100);
      expect(problems).toEqual([]);
    }
  });

  it('a descriptor that turns indirect after it was read stays what it was', () => {
    const { driver, memory, page, problems, ring } = watched(makeRing);
    driver.add([{ address: page(1), length: 16, writable: true }]);
    memory.after = INDIRECT | NEXT | WRITE;
    expect(ring.pop()?.writable.byteLength).toBe(16);
    expect(problems).toEqual([]);
  });

  it('the available index is read once for all chains that it hands over', () => {
    const { driver, page, ring } = makeRing();
    for (let i = 0; i < 4; i++) driver.stage([{ address: page(i), length: 1 }]);
    driver.publish();
    const load = vi.spyOn(Atomics, 'load');
    ring.pop();
    // Behind the device's back the index turns absurd; the entries that were handed over are still good.
    driver.setAvailIndex(0x7777);
    for (let i = 1; i < 4; i++) expect(ring.pop()).toBeDefined();
    expect(load).toHaveBeenCalledTimes(1);
    expect(ring.pop()).toBeUndefined();
    expect(ring.broken).toBe(true);
  });

  it('the head that a chain is given back by is the one that was read, whatever the ring says later', () => {
    const { driver, page, ram, ring } = makeRing();
    const head = driver.add([{ address: page(0), length: 1 }]);
    const chain = ring.pop();
    ram.fill(0xee, 0, driver.deviceArea - driver.descriptorArea);
    ring.push(chain!, 0);
    ring.flush();
    expect(driver.reap()).toEqual([{ id: head, length: 0 }]);
  });

  it('a chain of a packed ring keeps its id and its number of descriptors, whatever the ring says later', () => {
    const { driver, page, ram, ring } = makePackedRing();
    const buffers = [0, 1, 2].map((n) => ({ address: page(n), length: 1 }));
    const ids = [driver.add(buffers), driver.add(buffers)];
    const chains = [ring.pop(), ring.pop()];
    ram.fill(0, 0, 16 * 8);
    for (const chain of chains) ring.push(chain!, 0);
    ring.flush();
    expect(driver.reap().map(({ id }) => id)).toEqual(ids);
  });

  it('what a driver asked to hear of is read once for each batch', () => {
    for (const make of [makeRing as Make, makePackedRing as Make]) {
      for (const eventIdx of [false, true]) {
        const { driver, interrupts, memory, page, ring } = watched(make, { eventIdx });
        driver.allowInterrupts();
        driver.add([{ address: page(1), length: 16 }]);
        ring.push(ring.pop()!, 0);
        memory.after = 0xff;
        ring.flush();
        expect(interrupts).toHaveLength(1);
        expect(new Set(memory.reads.values())).toEqual(new Set([1]));
      }
    }
  });
});
