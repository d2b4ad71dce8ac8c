import { describe, expect, it } from 'vitest';
import { ArrayRegion } from '../../../../devices/virtio/memory/array-region.js';
import { Flag } from '../mock-driver.js';
import { makeRing, RAM_ADDRESS, RAM_BYTES, type RingFixture } from './fixture.js';

const { INDIRECT, NEXT, WRITE } = Flag;

/** Offers descriptor 0 as a chain and expects the ring to break for `reason`, once, and to stay silent. */
function expectBroken(fixture: RingFixture, reason: string, head = 0): void {
  const { driver, ring, problems } = fixture;
  driver.stageHead(head);
  driver.publish();
  expect(ring.pop()).toBeUndefined();
  expect(ring.broken).toBe(true);
  expect(problems).toEqual([reason]);
  expect(ring.pop()).toBeUndefined();
  expect(ring.enableNotifications()).toBe(false);
  ring.flush();
  expect(problems).toHaveLength(1);
  expect(driver.usedIndex).toBe(0);
}

describe('descriptor loops, zero length, nested indirect (CVE-2016-6490, CVE-2019-9547)', () => {
  it('a descriptor that is its own next one breaks the ring', () => {
    const fixture = makeRing();
    fixture.driver.writeDescriptor(0, { address: fixture.page(0), length: 1, flags: NEXT, next: 0 });
    expectBroken(fixture, 'a chain has more descriptors than the queue');
  });

  it('a loop over all descriptors breaks the ring', () => {
    const fixture = makeRing({ size: 4 });
    for (let i = 0; i < 4; i++) {
      fixture.driver.writeDescriptor(i, {
        address: fixture.page(0),
        length: 1,
        flags: NEXT,
        next: (i + 1) % 4,
      });
    }
    expectBroken(fixture, 'a chain has more descriptors than the queue');
  });

  it('a loop of empty descriptors, which fill no buffer, breaks the ring', () => {
    const fixture = makeRing();
    fixture.driver.writeDescriptor(0, { address: 0, length: 0, flags: NEXT, next: 0 });
    expectBroken(fixture, 'a chain has more descriptors than the queue');
  });

  it('a loop inside an indirect table breaks the ring', () => {
    const fixture = makeRing();
    const table = fixture.page(0);
    fixture.driver.writeDescriptor(0, { address: table, length: 32, flags: INDIRECT });
    fixture.driver.writeTableEntry(table, 0, { address: fixture.page(1), length: 1, flags: NEXT, next: 1 });
    fixture.driver.writeTableEntry(table, 1, { address: fixture.page(1), length: 1, flags: NEXT, next: 0 });
    expectBroken(fixture, 'a chain has more descriptors than the queue');
  });

  it('an indirect table whose first descriptor is the table again breaks the ring', () => {
    const fixture = makeRing();
    const table = fixture.page(0);
    fixture.driver.writeDescriptor(0, { address: table, length: 16, flags: INDIRECT });
    fixture.driver.writeTableEntry(table, 0, { address: table, length: 16, flags: INDIRECT });
    expectBroken(fixture, 'an indirect table holds an indirect descriptor');
  });

  it('an indirect descriptor further down an indirect table breaks the ring', () => {
    const fixture = makeRing();
    const table = fixture.page(0);
    fixture.driver.writeDescriptor(0, { address: table, length: 32, flags: INDIRECT });
    fixture.driver.writeTableEntry(table, 0, { address: fixture.page(1), length: 1, flags: NEXT, next: 1 });
    fixture.driver.writeTableEntry(table, 1, { address: table, length: 16, flags: INDIRECT });
    expectBroken(fixture, 'an indirect table holds an indirect descriptor');
  });

  it('an indirect descriptor with a next one breaks the ring', () => {
    const fixture = makeRing();
    fixture.driver.writeDescriptor(0, {
      address: fixture.page(0),
      length: 16,
      flags: INDIRECT | NEXT,
      next: 1,
    });
    expectBroken(fixture, 'an indirect descriptor has a next one');
  });

  it('an indirect descriptor that was not negotiated breaks the ring', () => {
    const fixture = makeRing({ indirect: false });
    fixture.driver.writeDescriptor(0, { address: fixture.page(0), length: 16, flags: INDIRECT });
    expectBroken(fixture, 'an indirect descriptor was not negotiated');
  });

  for (const length of [0, 1, 15, 17, 0xffff_ffff]) {
    it(`an indirect table of ${length} bytes breaks the ring`, () => {
      const fixture = makeRing();
      fixture.driver.writeDescriptor(0, { address: fixture.page(0), length, flags: INDIRECT });
      expectBroken(fixture, 'an indirect table is not made of descriptors');
    });
  }

  it('an indirect table larger than the queue breaks the ring', () => {
    const fixture = makeRing({ size: 8 });
    fixture.driver.writeDescriptor(0, { address: fixture.page(0), length: 9 * 16, flags: INDIRECT });
    expectBroken(fixture, 'an indirect table is larger than the queue');
  });

  it('descriptors before an indirect table count towards the limit', () => {
    const fixture = makeRing({ size: 4 });
    const table = fixture.page(0);
    fixture.driver.writeDescriptor(0, { address: fixture.page(1), length: 1, flags: NEXT, next: 1 });
    fixture.driver.writeDescriptor(1, { address: table, length: 64, flags: INDIRECT });
    for (let i = 0; i < 4; i++) {
      const flags = i === 3 ? 0 : NEXT;
      fixture.driver.writeTableEntry(table, i, { address: fixture.page(1), length: 1, flags, next: i + 1 });
    }
    expectBroken(fixture, 'a chain has more descriptors than the queue');
  });

  it('a readable descriptor after a writable one breaks the ring', () => {
    const fixture = makeRing();
    fixture.driver.writeDescriptor(0, { address: fixture.page(0), length: 1, flags: NEXT | WRITE, next: 1 });
    fixture.driver.writeDescriptor(1, { address: fixture.page(1), length: 1 });
    expectBroken(fixture, 'a readable descriptor follows a writable one');
  });

  it('a head beyond the table breaks the ring', () => {
    expectBroken(makeRing({ size: 8 }), 'a descriptor index lies beyond its table', 8);
  });

  it('a next index beyond the table breaks the ring', () => {
    const fixture = makeRing({ size: 8 });
    fixture.driver.writeDescriptor(0, { address: fixture.page(0), length: 1, flags: NEXT, next: 0xffff });
    expectBroken(fixture, 'a descriptor index lies beyond its table');
  });

  it('a next index beyond an indirect table, though within the queue, breaks the ring', () => {
    const fixture = makeRing({ size: 8 });
    const table = fixture.page(0);
    fixture.driver.writeDescriptor(0, { address: table, length: 32, flags: INDIRECT });
    fixture.driver.writeTableEntry(table, 0, { address: fixture.page(1), length: 1, flags: NEXT, next: 2 });
    expectBroken(fixture, 'a descriptor index lies beyond its table');
  });

  it('buffers that add up to more than 2^32 bytes break the ring', () => {
    const size = 64;
    const fixture = makeRing({ size });
    // Far more regions than RAM: the same array at 4,200 places, so that one descriptor can be 4 GiB long.
    const huge = 0x10_0000_0000;
    for (let i = 0; i < 4200; i++) {
      const at = huge + i * RAM_BYTES;
      fixture.memory.addRegion(new ArrayRegion(at, fixture.ram));
    }
    fixture.driver.writeDescriptor(0, { address: huge, length: 0xffff_ffff, flags: NEXT, next: 1 });
    fixture.driver.writeDescriptor(1, { address: huge, length: 2 });
    expectBroken(fixture, 'a chain is longer than 2^32 bytes');
  });
});

describe('bad guest addresses (CVE-2018-1059, CVE-2019-18960, CVE-2023-50711)', () => {
  const end = RAM_ADDRESS + RAM_BYTES;
  const bad: [string, number, number][] = [
    ['before memory', RAM_ADDRESS - 1, 1],
    ['that starts before memory and ends in it', RAM_ADDRESS - 1, 2],
    ['behind memory', end, 1],
    ['that ends one byte behind memory', end - 1, 2],
    ['that is all of 32 bits long', RAM_ADDRESS, 0xffff_ffff],
    ['at 2^32', 2 ** 32, 1],
    ['just below 2^53', 2 ** 53 - 1, 0xffff_ffff],
    ['at 2^63', 2 ** 63, 16],
    ['whose end wraps around 2^64', 2 ** 64 - 2048, 4096],
  ];
  for (const [what, address, length] of bad) {
    for (const flags of [0, WRITE]) {
      it(`a ${flags === 0 ? 'readable' : 'writable'} buffer ${what} breaks the ring`, () => {
        const fixture = makeRing();
        fixture.driver.writeDescriptor(0, { address, length, flags });
        expectBroken(fixture, 'a buffer lies outside memory');
      });
    }
  }

  for (const address of [RAM_ADDRESS - 16, end - 16, end, 2 ** 32, 2 ** 53, 2 ** 63, 2 ** 64 - 2048]) {
    it(`an indirect table at 0x${address.toString(16)}, which is not all memory, breaks the ring`, () => {
      const fixture = makeRing({ size: 2 });
      fixture.driver.writeDescriptor(0, { address, length: 32, flags: INDIRECT });
      expectBroken(fixture, 'an indirect table lies outside memory');
    });
  }

  it('a writable buffer in read-only memory breaks the ring, and a readable one there does not', () => {
    for (const flags of [0, WRITE]) {
      const fixture = makeRing();
      fixture.memory.addRegion(new ArrayRegion(0x1000, new Uint8Array(0x1000), { writable: false }));
      fixture.ring.memorySettled();
      fixture.driver.writeDescriptor(0, { address: 0x1000, length: 16, flags });
      if (flags === WRITE) expectBroken(fixture, 'a buffer lies outside memory');
      else {
        fixture.driver.stageHead(0);
        fixture.driver.publish();
        expect(fixture.ring.pop()?.readable.byteLength).toBe(16);
      }
    }
  });

  it('a buffer over a hole between two regions breaks the ring', () => {
    const fixture = makeRing();
    fixture.memory.addRegion(new ArrayRegion(end + 4096, fixture.ram));
    fixture.ring.memorySettled();
    fixture.driver.writeDescriptor(0, { address: end - 16, length: 8192 });
    expectBroken(fixture, 'a buffer lies outside memory');
  });
});

describe('indices', () => {
  it('an available index ahead by more than the queue size breaks the ring', () => {
    const { driver, ring, problems } = makeRing({ size: 8 });
    driver.setAvailIndex(9);
    expect(ring.pop()).toBeUndefined();
    expect(problems).toEqual(['the available index is ahead by more than the queue holds']);
  });

  it('an available index that goes backwards breaks the ring', () => {
    const fixture = makeRing({ size: 8 });
    const { driver, ring, problems } = fixture;
    driver.add([{ address: fixture.page(0), length: 1 }]);
    expect(ring.pop()).toBeDefined();
    driver.setAvailIndex(0);
    expect(ring.pop()).toBeUndefined();
    expect(problems).toEqual(['the available index is ahead by more than the queue holds']);
  });

  it('making the same chain available again and again ends when more are under way than the queue holds', () => {
    const fixture = makeRing({ size: 4 });
    const { driver, ring, problems } = fixture;
    driver.writeDescriptor(0, { address: fixture.page(0), length: 1 });
    for (let round = 0; round < 2; round++) {
      for (let i = 0; i < 4; i++) driver.stageHead(0);
      driver.publish();
      for (let i = 0; i < 4; i++) ring.pop();
    }
    expect(problems).toEqual(['the driver made more chains available than the queue holds']);
  });
});
