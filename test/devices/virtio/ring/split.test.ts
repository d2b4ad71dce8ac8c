import { describe, expect, it } from 'vitest';
import { ArrayRegion } from '../../../../devices/virtio/memory/array-region.js';
import { makeRing, RAM_ADDRESS, RAM_BYTES, type RingFixture } from './fixture.js';
import { ringSuite } from './ring-suite.js';

for (const indirect of [false, true]) {
  for (const eventIdx of [false, true]) {
    const name = `a split ring with ${indirect ? 'indirect tables' : 'direct chains'} and ${eventIdx ? 'event index' : 'flags'}`;
    ringSuite({
      name,
      indirect,
      make: (options) => makeRing({ ...options, indirect, eventIdx }),
      lap: { size: 256, startIndex: 0xff00, total: 0x1_0000 + 0x177 },
      position: (count) => count & 0xffff,
    });
  }
}

function popOne(fixture: RingFixture) {
  fixture.driver.add([{ address: fixture.page(0), length: 8, writable: true }]);
  const chain = fixture.ring.pop();
  if (chain === undefined) throw new Error('no chain');
  return chain;
}

describe('a split ring', () => {
  it('takes a chain that starts with plain descriptors and ends in an indirect table', () => {
    const fixture = makeRing();
    const table = fixture.page(9);
    fixture.driver.writeDescriptor(0, { address: fixture.page(0), length: 1, flags: 1, next: 1 });
    // The write flag of the descriptor that names a table means nothing.
    fixture.driver.writeDescriptor(1, { address: table, length: 32, flags: 4 | 2 });
    fixture.driver.writeTableEntry(table, 0, { address: fixture.page(1), length: 2, flags: 1, next: 1 });
    fixture.driver.writeTableEntry(table, 1, { address: fixture.page(2), length: 3, flags: 2 });
    fixture.driver.stageHead(0);
    fixture.driver.publish();
    const chain = fixture.ring.pop();
    expect(chain?.readable.lengths.slice(0, chain.readable.count)).toEqual([1, 2]);
    expect(chain?.writable.byteLength).toBe(3);
  });

  it('splits a buffer over two regions into two segments', () => {
    const fixture = makeRing();
    const end = RAM_ADDRESS + RAM_BYTES;
    fixture.memory.addRegion(new ArrayRegion(end, new Uint8Array(4096)));
    fixture.driver.add([{ address: end - 10, length: 30 }]);
    const chain = fixture.ring.pop();
    expect(chain?.readable.lengths.slice(0, 2)).toEqual([10, 20]);
  });

  it('reads an indirect table that lies across two regions', () => {
    const fixture = makeRing();
    const end = RAM_ADDRESS + RAM_BYTES;
    const more = new Uint8Array(4096);
    fixture.memory.addRegion(new ArrayRegion(end, more));
    // Half of the first descriptor is in one region, the rest and the second one in the other.
    const table = new DataView(new ArrayBuffer(32));
    table.setUint32(0, fixture.page(0), true);
    table.setUint32(8, 5, true);
    table.setUint16(12, 1, true);
    table.setUint16(14, 1, true);
    table.setUint32(16, fixture.page(1), true);
    table.setUint32(24, 6, true);
    table.setUint16(28, 2, true);
    const bytes = new Uint8Array(table.buffer);
    fixture.ram.set(bytes.subarray(0, 8), RAM_BYTES - 8);
    more.set(bytes.subarray(8));
    fixture.driver.writeDescriptor(0, { address: end - 8, length: 32, flags: 4 });
    fixture.driver.stageHead(0);
    fixture.driver.publish();
    const chain = fixture.ring.pop();
    expect(chain?.readable.byteLength).toBe(5);
    expect(chain?.writable.byteLength).toBe(6);
  });

  it('reads indirect tables in different regions one after the other', () => {
    const fixture = makeRing();
    const other = RAM_ADDRESS + 2 * RAM_BYTES;
    const more = new Uint8Array(4096);
    fixture.memory.addRegion(new ArrayRegion(other, more));
    new DataView(more.buffer).setUint32(0, fixture.page(0), true);
    new DataView(more.buffer).setUint32(8, 77, true);
    for (let round = 0; round < 3; round++) {
      fixture.driver.writeDescriptor(0, { address: other, length: 16, flags: 4 });
      fixture.driver.stageHead(0);
      fixture.driver.publish();
      const chain = fixture.ring.pop();
      expect(chain?.readable.byteLength).toBe(77);
      if (chain !== undefined) fixture.ring.push(chain, 0);
      fixture.driver.writeTableEntry(fixture.page(5), 0, { address: fixture.page(1), length: 88 });
      fixture.driver.writeDescriptor(1, { address: fixture.page(5), length: 16, flags: 4 });
      fixture.driver.stageHead(1);
      fixture.driver.publish();
      const second = fixture.ring.pop();
      expect(second?.readable.byteLength).toBe(88);
      if (second !== undefined) fixture.ring.push(second, 0);
      fixture.ring.flush();
    }
  });
});

describe('memory that changes under a ring', () => {
  it('a ring whose memory is gone is broken, and so is one that only publishes', () => {
    for (const act of ['pop', 'flush', 'push', 'enableNotifications'] as const) {
      const fixture = makeRing();
      const chain = popOne(fixture);
      if (act === 'flush') fixture.ring.push(chain, 0);
      fixture.memory.clear();
      const before = fixture.ram.slice();
      if (act === 'push') fixture.ring.push(chain, 8);
      else fixture.ring[act]();
      expect(fixture.ring.broken).toBe(true);
      expect(fixture.problems).toEqual(['the descriptor area is not in memory']);
      expect(Buffer.compare(fixture.ram, before)).toBe(0);
    }
  });

  it('a ring follows its memory to another place in this process', () => {
    const fixture = makeRing();
    popOne(fixture);
    const moved = fixture.ram.slice();
    fixture.memory.clear();
    fixture.memory.addRegion(new ArrayRegion(RAM_ADDRESS, moved));
    fixture.driver.add([{ address: fixture.page(1), length: 8 }]);
    moved.set(fixture.ram);
    const chain = fixture.ring.pop();
    expect(chain?.readable.bytes[0]).toBe(moved);
  });

  it('a change elsewhere leaves the ring at work', () => {
    const fixture = makeRing();
    fixture.memory.addRegion(new ArrayRegion(0x4000_0000, new Uint8Array(4096)));
    fixture.ring.push(popOne(fixture), 1);
    fixture.memory.removeRegion(0x4000_0000, 4096);
    fixture.ring.flush();
    expect(fixture.driver.reap()).toHaveLength(1);
    expect(fixture.problems).toEqual([]);
  });
});

describe('use after reset (CVE-2024-3446, CVE-2026-45782)', () => {
  it('a dropped ring touches no memory, whatever is asked of it', () => {
    const fixture = makeRing({ eventIdx: false });
    const chain = popOne(fixture);
    fixture.driver.add([{ address: fixture.page(1), length: 1 }]);
    fixture.ring.drop();
    const before = fixture.ram.slice();
    fixture.ring.push(chain, 8);
    fixture.ring.disableNotifications();
    fixture.ring.flush();
    expect(fixture.ring.enableNotifications()).toBe(false);
    expect(fixture.ring.pop()).toBeUndefined();
    expect(Buffer.compare(fixture.ram, before)).toBe(0);
    expect(fixture.interrupts).toEqual([]);
    expect(fixture.ring.broken).toBe(false);
  });

  it('a chain of a dropped ring means nothing to the ring in its place', () => {
    const fixture = makeRing();
    const stale = popOne(fixture);
    fixture.ring.drop();
    const { config, memory, features, counters } = fixture;
    const { ring } = config.activate(memory, features, { interrupt: () => {}, broken: () => {} }, counters);
    ring?.push(stale, 8);
    ring?.flush();
    expect(fixture.driver.usedIndex).toBe(0);
    expect(counters.requests).toBe(0);
  });

  it('a chain of one queue means nothing to another', () => {
    const one = makeRing();
    const other = makeRing();
    other.ring.push(popOne(one), 8);
    other.ring.flush();
    expect(other.driver.usedIndex).toBe(0);
  });
});

describe('leaks on error paths (CVE-2022-26353, CVE-2022-26354)', () => {
  it('chains that were taken before the ring broke are void, and pushing them is harmless', () => {
    const fixture = makeRing();
    const chain = popOne(fixture);
    fixture.driver.setAvailIndex(0x4000);
    expect(fixture.ring.pop()).toBeUndefined();
    fixture.ring.push(chain, 8);
    fixture.ring.flush();
    expect(fixture.driver.usedIndex).toBe(0);
  });

  it('published completions stand when a later chain breaks the ring', () => {
    const fixture = makeRing();
    fixture.ring.push(popOne(fixture), 8);
    fixture.ring.flush();
    fixture.driver.stageHead(99);
    fixture.driver.publish();
    expect(fixture.ring.pop()).toBeUndefined();
    expect(fixture.driver.reap()).toHaveLength(1);
  });
});
