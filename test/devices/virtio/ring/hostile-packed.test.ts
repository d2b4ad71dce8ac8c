import { describe, expect, it } from 'vitest';
import { ArrayRegion } from '../../../../devices/virtio/memory/array-region.js';
import type { MockPackedDescriptor, MockPackedDriver } from '../mock-packed-driver.js';
import { makePackedRing, RAM_ADDRESS, RAM_BYTES, type RingFixture } from './fixture.js';

const NEXT = 1;
const WRITE = 2;
const INDIRECT = 4;
const AVAIL = 0x80;
const USED = 0x8000;

type Fixture = RingFixture<MockPackedDriver>;

/** Expects the ring to break for `reason`, once, and to stay silent and leave memory alone. */
function expectBroken({ driver, problems, ram, ring }: Fixture, reason: string): void {
  const before = ram.slice();
  expect(ring.pop()).toBeUndefined();
  expect(ring.broken).toBe(true);
  expect(problems).toEqual([reason]);
  expect(ring.pop()).toBeUndefined();
  ring.disableNotifications();
  expect(ring.enableNotifications()).toBe(false);
  ring.flush();
  expect(problems).toHaveLength(1);
  expect(driver.reap()).toEqual([]);
  expect(Buffer.compare(ram, before)).toBe(0);
}

function offered(fixture: Fixture, ...descriptors: MockPackedDescriptor[]): Fixture {
  fixture.driver.offer(descriptors);
  return fixture;
}

describe('descriptor loops, zero length, nested indirect (CVE-2016-6490, CVE-2019-9547) in a packed ring', () => {
  for (const size of [1, 3, 4, 7]) {
    it(`a chain over all ${size} descriptors that says it goes on breaks the ring`, () => {
      const fixture = makePackedRing({ size });
      const endless = { address: fixture.page(0), length: 1, flags: NEXT };
      offered(fixture, ...Array.from({ length: size }, () => endless));
      expectBroken(fixture, 'a chain has more descriptors than the queue has left');
    });
  }

  it('a chain of empty descriptors without end breaks the ring', () => {
    const fixture = makePackedRing({ size: 5 });
    offered(fixture, ...Array.from({ length: 5 }, () => ({ address: 0, length: 0, flags: NEXT })));
    expectBroken(fixture, 'a chain has more descriptors than the queue has left');
  });

  it('a chain that goes on in a descriptor that was never made available breaks the ring', () => {
    const fixture = makePackedRing();
    offered(fixture, { address: fixture.page(0), length: 1, flags: NEXT });
    expectBroken(fixture, 'a chain goes on in a descriptor that is not available');
  });

  it('a chain that goes over the end of the ring with the wrap counter of the lap before breaks the ring', () => {
    const fixture = makePackedRing({ size: 3, startIndex: 2 });
    const { driver, page } = fixture;
    offered(fixture, { address: page(0), length: 1, flags: NEXT });
    driver.writeTableEntry(driver.descriptorArea, 0, { address: page(1), length: 1, flags: AVAIL });
    expectBroken(fixture, 'a chain goes on in a descriptor that is not available');
  });

  it('a chain into descriptors that the device still has breaks the ring', () => {
    const fixture = makePackedRing({ size: 4 });
    const { page, ring } = fixture;
    const one = { address: page(0), length: 1 };
    offered(fixture, one, one, one);
    for (let i = 0; i < 3; i++) expect(ring.pop()).toBeDefined();
    offered(fixture, { ...one, flags: NEXT }, one);
    expectBroken(fixture, 'a chain has more descriptors than the queue has left');
  });

  it('a chain in flight counts with all of its descriptors', () => {
    const fixture = makePackedRing({ size: 4 });
    const one = { address: fixture.page(0), length: 1 };
    const more = { ...one, flags: NEXT };
    offered(fixture, more, more, one);
    expect(fixture.ring.pop()?.readable.count).toBe(3);
    offered(fixture, more, one);
    expectBroken(fixture, 'a chain has more descriptors than the queue has left');
  });

  it('a chain that is still in flight counts after others were flushed', () => {
    const fixture = makePackedRing({ size: 4 });
    const { page, ring } = fixture;
    const one = { address: page(0), length: 1, id: 7 };
    offered(fixture, one, one);
    ring.pop();
    ring.push(ring.pop()!, 0);
    ring.flush();
    offered(fixture, one, one, one, one);
    for (let i = 0; i < 3; i++) expect(ring.pop()).toBeDefined();
    expect(ring.pop()).toBeUndefined();
    expect(fixture.problems).toEqual(['the driver made more chains available than the queue holds']);
  });

  it('making all of the ring available again while the device has it breaks the ring', () => {
    for (const size of [1, 3, 8]) {
      const fixture = makePackedRing({ size });
      const lap = Array.from({ length: size }, () => ({ address: fixture.page(0), length: 1 }));
      offered(fixture, ...lap);
      for (let i = 0; i < size; i++) expect(fixture.ring.pop()).toBeDefined();
      offered(fixture, ...lap);
      expectBroken(fixture, 'the driver made more chains available than the queue holds');
    }
  });

  it('chains that are pushed but not flushed still count', () => {
    const fixture = makePackedRing({ size: 1 });
    const { page, problems, ring } = fixture;
    offered(fixture, { address: page(0), length: 1 });
    ring.push(ring.pop()!, 0);
    offered(fixture, { address: page(0), length: 1 });
    expect(ring.pop()).toBeUndefined();
    expect(problems).toEqual(['the driver made more chains available than the queue holds']);
  });

  it('an indirect table that holds an indirect descriptor, first or further down, breaks the ring', () => {
    for (const nested of [0, 1]) {
      const fixture = makePackedRing();
      const { driver, page } = fixture;
      driver.writeTableEntry(page(9), 1 - nested, { address: page(1), length: 1 });
      driver.writeTableEntry(page(9), nested, { address: page(9), length: 16, flags: INDIRECT });
      offered(fixture, { address: page(9), length: 32, flags: INDIRECT });
      expectBroken(fixture, 'an indirect table holds an indirect descriptor');
    }
  });

  it('an indirect descriptor with a next one, or behind another, breaks the ring', () => {
    const one = makePackedRing();
    offered(one, { address: one.page(0), length: 16, flags: INDIRECT | NEXT });
    expectBroken(one, 'an indirect descriptor is one of several');
    const other = makePackedRing();
    const table = { address: other.page(0), length: 16, flags: INDIRECT };
    offered(other, { address: other.page(1), length: 1, flags: NEXT }, table);
    expectBroken(other, 'an indirect descriptor is one of several');
  });

  it('an indirect descriptor that was not negotiated breaks the ring', () => {
    const fixture = makePackedRing({ indirect: false });
    offered(fixture, { address: fixture.page(0), length: 16, flags: INDIRECT });
    expectBroken(fixture, 'an indirect descriptor was not negotiated');
  });

  for (const length of [0, 1, 15, 17, 0xffff_ffff]) {
    it(`an indirect table of ${length} bytes breaks the ring`, () => {
      const fixture = makePackedRing();
      offered(fixture, { address: fixture.page(0), length, flags: INDIRECT });
      expectBroken(fixture, 'an indirect table is not made of descriptors');
    });
  }

  it('an indirect table larger than the queue breaks the ring', () => {
    const fixture = makePackedRing({ size: 7 });
    offered(fixture, { address: fixture.page(0), length: 8 * 16, flags: INDIRECT });
    expectBroken(fixture, 'an indirect table is larger than the queue');
  });

  it('a readable descriptor after a writable one breaks the ring, in the ring and in a table', () => {
    const direct = makePackedRing();
    const [a, b] = [direct.page(0), direct.page(1)];
    offered(direct, { address: a, length: 1, flags: NEXT | WRITE }, { address: b, length: 1 });
    expectBroken(direct, 'a readable descriptor follows a writable one');
    const indirect = makePackedRing();
    indirect.driver.writeTableEntry(b, 0, { address: a, length: 0, flags: WRITE });
    indirect.driver.writeTableEntry(b, 1, { address: a, length: 1 });
    offered(indirect, { address: b, length: 32, flags: INDIRECT });
    expectBroken(indirect, 'a readable descriptor follows a writable one');
  });

  it('buffers that add up to more than 2^32 bytes break the ring', () => {
    const fixture = makePackedRing();
    const huge = 0x10_0000_0000;
    for (let i = 0; i < 4200; i++)
      fixture.memory.addRegion(new ArrayRegion(huge + i * RAM_BYTES, fixture.ram));
    offered(fixture, { address: huge, length: 0xffff_ffff, flags: NEXT }, { address: huge, length: 2 });
    expectBroken(fixture, 'a chain is longer than 2^32 bytes');
  });
});

describe('bad guest addresses (CVE-2018-1059, CVE-2019-18960, CVE-2023-50711) in a packed ring', () => {
  const end = RAM_ADDRESS + RAM_BYTES;
  const bad: [string, number, number][] = [
    ['that starts before memory', RAM_ADDRESS - 1, 2],
    ['that ends one byte behind memory', end - 1, 2],
    ['that is all of 32 bits long', RAM_ADDRESS, 0xffff_ffff],
    ['just below 2^53', 2 ** 53 - 1, 0xffff_ffff],
    ['whose end wraps around 2^64', 2 ** 64 - 2048, 4096],
  ];
  for (const [what, address, length] of bad) {
    for (const flags of [0, WRITE]) {
      it(`a ${flags === 0 ? 'readable' : 'writable'} buffer ${what} breaks the ring, in the ring and in a table`, () => {
        const direct = makePackedRing();
        offered(direct, { address, length, flags });
        expectBroken(direct, 'a buffer lies outside memory');
        const indirect = makePackedRing();
        indirect.driver.writeTableEntry(indirect.page(0), 0, { address, length, flags });
        offered(indirect, { address: indirect.page(0), length: 16, flags: INDIRECT });
        expectBroken(indirect, 'a buffer lies outside memory');
      });
    }
  }

  for (const address of [RAM_ADDRESS - 16, end - 16, 2 ** 53, 2 ** 64 - 2048]) {
    it(`an indirect table at 0x${address.toString(16)}, which is not all memory, breaks the ring`, () => {
      const fixture = makePackedRing();
      offered(fixture, { address, length: 32, flags: INDIRECT });
      expectBroken(fixture, 'an indirect table lies outside memory');
    });
  }
});

describe('flags that say nothing', () => {
  it.each([
    ['neither available nor used', 0],
    ['used on this lap', AVAIL | USED],
    ['available on the other lap', USED],
  ])('a descriptor that is %s is no chain and no fault', (_what, flags) => {
    const { driver, page, problems, ring } = makePackedRing();
    driver.writeTableEntry(driver.descriptorArea, 0, { address: page(0), length: 1, flags });
    expect(ring.pop()).toBeUndefined();
    expect(ring.enableNotifications()).toBe(false);
    expect(problems).toEqual([]);
  });

  it('reserved flags are ignored', () => {
    const fixture = makePackedRing();
    offered(fixture, { address: fixture.page(0), length: 9, flags: 0x7f78 });
    expect(fixture.ring.pop()?.readable.byteLength).toBe(9);
  });
});
