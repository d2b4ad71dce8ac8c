import { describe, expect, it } from 'vitest';
import { ArrayRegion } from '../../../../devices/virtio/memory/array-region.js';
import { makeRing, RAM_ADDRESS, RAM_BYTES } from './fixture.js';

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

describe('an indirect table of a split ring', () => {
  // A table need not be aligned (2.7.5.3), and neither need the bytes of a region be.
  for (const [regionOffset, tableOffset] of [
    [0, 1],
    [0, 2],
    [1, 0],
    [3, 1],
    [2, 3],
    [3, 0],
  ]) {
    it(`is read where it lies ${tableOffset} bytes off in a region that starts ${regionOffset} bytes off`, () => {
      const { driver, memory, page, ring } = makeRing();
      const at = RAM_ADDRESS + 2 * RAM_BYTES;
      const bytes = new Uint8Array(256).subarray(regionOffset, 128);
      memory.addRegion(new ArrayRegion(at, bytes));
      const table = new DataView(bytes.buffer, regionOffset + tableOffset);
      table.setUint32(0, page(0), true);
      table.setUint32(8, 77, true);
      driver.writeDescriptor(0, { address: at + tableOffset, length: 16, flags: 4 });
      for (let round = 0; round < 2; round++) {
        driver.stageHead(0);
        driver.publish();
        const chain = ring.pop();
        expect(chain?.readable.byteLength).toBe(77);
        ring.push(chain!, 0);
      }
    });
  }
});
