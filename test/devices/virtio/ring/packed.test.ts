import { describe, expect, it } from 'vitest';
import type { Chain } from '../../../../devices/virtio/device.js';
import { ArrayRegion } from '../../../../devices/virtio/memory/array-region.js';
import { packedAdvance, packedSteps } from '../../../../devices/virtio/ring/packed-position.js';
import type { MockPackedDriver } from '../mock-packed-driver.js';
import { makePackedRing, packedPosition, RAM_ADDRESS, type RingFixture } from './fixture.js';

type Fixture = RingFixture<MockPackedDriver>;

function popOne(fixture: Fixture): Chain {
  fixture.driver.add([{ address: fixture.page(0), length: 8, writable: true }]);
  const chain = fixture.ring.pop();
  if (chain === undefined) throw new Error('no chain');
  return chain;
}

describe('a position in a packed ring', () => {
  it('goes on and counts steps as stepping does, for every place and move in every ring of up to 9', () => {
    for (let size = 1; size <= 9; size++) {
      for (let from = 0; from < 2 * size; from++) {
        for (let move = 0; move < 2 * size; move++) {
          const [start, end] = [packedPosition(from, size), packedPosition(from + move, size)];
          if (move <= size) expect(packedAdvance(start, move, size)).toBe(end);
          expect(packedSteps(start, end, size)).toBe(move);
        }
      }
    }
  });

  it('fits the largest ring', () => {
    expect(packedAdvance(0xffff, 1, 32768)).toBe(0);
    expect(packedAdvance(0x7fff, 1, 32768)).toBe(0x8000);
    expect(packedAdvance(0x8001, 32768, 32768)).toBe(1);
    expect(packedSteps(0xffff, 0, 32768)).toBe(1);
  });
});

describe('a packed ring', () => {
  it('starts with both wrap counters at 1', () => {
    expect(makePackedRing().ring.position).toEqual({ nextAvail: 0x8000, nextUsed: 0x8000 });
  });

  it('gives buffer ids back as they came, whatever they are', () => {
    const { driver, page, ram, ring } = makePackedRing();
    driver.offer([{ address: page(0), length: 1, id: 0xfedc }]);
    ring.push(ring.pop()!, 0);
    ring.flush();
    expect([ram[12], ram[13]]).toEqual([0xdc, 0xfe]);
  });

  it('takes the buffer id from the last descriptor of a chain', () => {
    const { driver, page, ram, ring } = makePackedRing();
    driver.offer([
      { address: page(0), length: 1, flags: 1, id: 0x1111 },
      { address: page(1), length: 1, flags: 1, id: 0x2222 },
      { address: page(2), length: 1, id: 0x3333 },
    ]);
    ring.push(ring.pop()!, 0);
    ring.flush();
    expect([ram[12], ram[13]]).toEqual([0x33, 0x33]);
  });

  it('says "written" exactly where something was', () => {
    const fixture = makePackedRing();
    fixture.ring.push(popOne(fixture), 0);
    fixture.ring.push(popOne(fixture), 3);
    fixture.ring.flush();
    const flags = [0, 1].map((i) => fixture.ram[16 * i + 14] + 256 * fixture.ram[16 * i + 15]);
    expect(flags).toEqual([0x8080, 0x8082]);
  });

  it('the flags of the first element of a batch are written last: the driver sees all of it or nothing', () => {
    const fixture = makePackedRing();
    const chains = [popOne(fixture), popOne(fixture), popOne(fixture)];
    for (const chain of chains) {
      fixture.ring.push(chain, 1);
      expect(fixture.driver.reap()).toEqual([]);
    }
    fixture.ring.flush();
    expect(fixture.driver.reap()).toHaveLength(3);
  });

  it('ignores the write flag of an indirect descriptor, and next flags and ids inside its table', () => {
    const { driver, page, ring } = makePackedRing();
    driver.writeTableEntry(page(9), 0, { address: page(0), length: 5, flags: 1, id: 77 });
    driver.writeTableEntry(page(9), 1, { address: page(1), length: 6, flags: 1 | 2 });
    driver.offer([{ address: page(9), length: 32, flags: 4 | 2, id: 1 }]);
    const chain = ring.pop();
    expect(chain?.readable.byteLength).toBe(5);
    expect(chain?.writable.byteLength).toBe(6);
  });

  it('reads an indirect table that lies across two regions', () => {
    const { driver, memory, page, ram, ring } = makePackedRing();
    const end = RAM_ADDRESS + ram.byteLength;
    const more = new Uint8Array(4096);
    memory.addRegion(new ArrayRegion(end, more));
    driver.writeTableEntry(page(9), 0, { address: page(0), length: 5 });
    driver.writeTableEntry(page(9), 1, { address: page(1), length: 6, flags: 2 });
    const table = ram.slice(page(9) - RAM_ADDRESS, page(9) - RAM_ADDRESS + 32);
    ram.set(table.subarray(0, 8), ram.byteLength - 8);
    more.set(table.subarray(8));
    driver.offer([{ address: end - 8, length: 32, flags: 4 }]);
    const chain = ring.pop();
    expect(chain?.readable.byteLength).toBe(5);
    expect(chain?.writable.byteLength).toBe(6);
  });
});

describe('event suppression of a packed ring', () => {
  it('names the descriptor that the device takes next, with its wrap counter', () => {
    const { driver, ring } = makePackedRing({ size: 5, startIndex: 7 });
    ring.enableNotifications();
    expect([driver.deviceEventPlace, driver.deviceEventFlags]).toEqual([2, 2]);
    ring.disableNotifications();
    expect(driver.deviceEventFlags).toBe(1);
  });

  it('says ENABLE where the event index was not negotiated', () => {
    const { driver, ring } = makePackedRing({ eventIdx: false });
    ring.disableNotifications();
    expect(driver.deviceEventFlags).toBe(1);
    ring.enableNotifications();
    expect(driver.deviceEventFlags).toBe(0);
  });

  it('interrupts when the descriptor that the driver names is used, also from inside a chain, and not before', () => {
    const fixture = makePackedRing({ size: 7, startIndex: 4 });
    const { driver, interrupts, page, ring } = fixture;
    const buffers = [0, 1, 2].map((n) => ({ address: page(n), length: 1 }));
    // The second descriptor of the second chain: index 1 on the lap after.
    driver.setDriverEvent(packedPosition(8, 7), 2);
    for (let i = 0; i < 2; i++) driver.add(buffers);
    ring.push(ring.pop()!, 0);
    ring.flush();
    expect(interrupts).toEqual([]);
    ring.push(ring.pop()!, 0);
    ring.flush();
    expect(interrupts).toEqual([3]);
  });
});
