import { afterEach, describe, expect, it, vi } from 'vitest';
import { Flag } from '../mock-driver.js';
import { makePackedRing, makeRing } from './fixture.js';

const { INDIRECT, NEXT, WRITE } = Flag;

/** Every DataView read from now on is counted by its place, and what was read changes to `after` behind the reader's back. */
function watchReads(ram: Uint8Array, after: number): Map<number, number> {
  const reads = new Map<number, number>();
  for (const name of ['getUint32', 'getUint16', 'getUint8'] as const) {
    const original = Object.getOwnPropertyDescriptor(DataView.prototype, name)?.value as (
      this: DataView,
      offset: number,
      littleEndian: boolean,
    ) => number;
    const bytes = name === 'getUint32' ? 4 : name === 'getUint16' ? 2 : 1;
    vi.spyOn(DataView.prototype, name).mockImplementation(function (this: DataView, offset: number) {
      const value = original.call(this, offset, true);
      if (this.buffer === ram.buffer) {
        for (let i = 0; i < bytes; i++) {
          const at = this.byteOffset + offset + i;
          reads.set(at, (reads.get(at) ?? 0) + 1);
          ram[at] = after;
        }
      }
      return value;
    });
  }
  return reads;
}

afterEach(() => {
  vi.restoreAllMocks();
});

describe('double fetch (CVE-2018-1059, CVE-2019-18960, CVE-2023-50711)', () => {
  for (const after of [0x00, 0xff]) {
    it(`each field of a chain is read once, and its first value counts when it becomes ${after} at once`, () => {
      const fixture = makeRing();
      const { driver, ram, ring, problems } = fixture;
      driver.add([
        { address: fixture.page(1), length: 100 },
        { address: fixture.page(2), length: 200, writable: true },
      ]);
      const reads = watchReads(ram, after);
      const chain = ring.pop();
      expect(problems).toEqual([]);
      expect(chain?.readable.byteLength).toBe(100);
      expect(chain?.writable.byteLength).toBe(200);
      expect(reads.size).toBe(32);
      expect(new Set(reads.values())).toEqual(new Set([1]));
    });

    it(`each field of an indirect table is read once, and its first value counts when it becomes ${after} at once`, () => {
      const fixture = makeRing();
      const { driver, ram, ring, problems } = fixture;
      const buffers = [
        { address: fixture.page(1), length: 100 },
        { address: fixture.page(2), length: 200, writable: true },
      ];
      driver.add(buffers, fixture.page(0));
      const reads = watchReads(ram, after);
      const chain = ring.pop();
      expect(problems).toEqual([]);
      expect(chain?.readable.byteLength).toBe(100);
      expect(chain?.writable.byteLength).toBe(200);
      expect(reads.size).toBe(16 + 32);
      expect(new Set(reads.values())).toEqual(new Set([1]));
    });
  }

  it('a descriptor that turns indirect after it was read stays what it was', () => {
    const fixture = makeRing();
    const { driver, ram, ring, problems } = fixture;
    driver.writeDescriptor(0, { address: fixture.page(1), length: 16, flags: WRITE });
    driver.stageHead(0);
    driver.publish();
    watchReads(ram, INDIRECT | NEXT);
    expect(ring.pop()?.writable.byteLength).toBe(16);
    expect(problems).toEqual([]);
  });

  it('the available index is read once for all chains that it hands over', () => {
    const fixture = makeRing();
    const { driver, ring } = fixture;
    for (let i = 0; i < 4; i++) driver.stage([{ address: fixture.page(i), length: 1 }]);
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
    const fixture = makeRing();
    const { driver, ring } = fixture;
    const head = driver.add([{ address: fixture.page(0), length: 1 }]);
    const chain = ring.pop();
    fixture.ram.fill(0xee, 0, driver.deviceArea - driver.descriptorArea);
    if (chain !== undefined) ring.push(chain, 0);
    ring.flush();
    expect(driver.reap()).toEqual([{ id: head, length: 0 }]);
  });
});

describe('double fetch in a packed ring', () => {
  for (const after of [0x00, 0xff]) {
    for (const indirect of [false, true]) {
      it(`each field of ${indirect ? 'an indirect table' : 'a chain'} is read once, and its first value counts when it becomes ${after} at once`, () => {
        const fixture = makePackedRing();
        const { driver, ram, ring, problems } = fixture;
        const buffers = [
          { address: fixture.page(1), length: 100 },
          { address: fixture.page(2), length: 200, writable: true },
        ];
        driver.add(buffers, indirect ? fixture.page(0) : undefined);
        const reads = watchReads(ram, after);
        const chain = ring.pop();
        expect(problems).toEqual([]);
        expect(chain?.readable.byteLength).toBe(100);
        expect(chain?.writable.byteLength).toBe(200);
        // Address and length of both buffers, and one id. Flags in the ring are read through an array, those of a table are not.
        expect(reads.size).toBe(indirect ? 14 + 2 * 14 : 2 * 12 + 2);
        expect(new Set(reads.values())).toEqual(new Set([1]));
      });
    }
  }

  it('the flags that hand a chain over are read once, and count as they were', () => {
    const fixture = makePackedRing();
    const { driver, ram, ring, problems } = fixture;
    driver.add([{ address: fixture.page(1), length: 16, writable: true }]);
    const original = Atomics.load.bind(Atomics) as (words: Uint16Array, at: number) => number;
    const load = vi.spyOn(Atomics, 'load').mockImplementation(((words: Uint16Array, at: number) => {
      const value = original(words, at);
      ram[14] = INDIRECT | NEXT;
      ram[15] = 0;
      return value;
    }) as typeof Atomics.load);
    expect(ring.pop()?.writable.byteLength).toBe(16);
    expect(load).toHaveBeenCalledTimes(1);
    expect(problems).toEqual([]);
  });

  it('a chain keeps its id and its number of descriptors, whatever the ring says later', () => {
    const fixture = makePackedRing();
    const { driver, ram, ring } = fixture;
    const buffers = [0, 1, 2].map((n) => ({ address: fixture.page(n), length: 1 }));
    const ids = [driver.add(buffers), driver.add(buffers)];
    const chains = [ring.pop(), ring.pop()];
    ram.fill(0, 0, 16 * 8);
    for (const chain of chains) ring.push(chain!, 0);
    ring.flush();
    expect(driver.reap().map(({ id }) => id)).toEqual(ids);
  });
});
