import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { makePackedRing, makeRing } from './fixture.js';

describe('a ring full of hostile bytes', () => {
  it('survives any bytes in the ring and in its descriptors', () => {
    const property = fc.property(
      fc.boolean(),
      fc.boolean(),
      fc.uint8Array({ minLength: 200, maxLength: 400 }),
      fc.array(fc.nat(0xffff), { minLength: 1, maxLength: 12 }),
      (eventIdx, inOrder, bytes, indices) => {
        const fixture = makeRing({ size: 8, eventIdx, inOrder });
        fixture.ram.set(bytes);
        for (const index of indices) {
          fixture.driver.setAvailIndex(index % 10);
          fixture.ring.enableNotifications();
          for (let chain = fixture.ring.pop(); chain !== undefined; chain = fixture.ring.pop()) {
            expect(chain.readable.count + chain.writable.count).toBeLessThanOrEqual(8);
            fixture.ring.push(chain, index);
          }
          fixture.ring.flush();
        }
        expect(fixture.problems.length).toBe(fixture.ring.broken ? 1 : 0);
      },
    );
    fc.assert(property, { numRuns: 500 });
  });

  it('survives any bytes in a packed ring and in its event structures', () => {
    const property = fc.property(
      fc.boolean(),
      fc.boolean(),
      fc.constantFrom(1, 3, 7, 8),
      fc.array(fc.uint8Array({ minLength: 140, maxLength: 140 }), { minLength: 1, maxLength: 4 }),
      (eventIdx, inOrder, size, laps) => {
        const fixture = makePackedRing({ size, eventIdx, inOrder });
        for (const bytes of laps) {
          fixture.ram.set(bytes);
          fixture.ring.enableNotifications();
          let taken = 0;
          for (let chain = fixture.ring.pop(); chain !== undefined; chain = fixture.ring.pop()) {
            taken++;
            expect(chain.readable.count + chain.writable.count).toBeLessThanOrEqual(size);
            fixture.ring.push(chain, bytes[0]);
          }
          expect(taken).toBeLessThanOrEqual(size);
          fixture.ring.flush();
        }
        expect(fixture.problems.length).toBe(fixture.ring.broken ? 1 : 0);
      },
    );
    fc.assert(property, { numRuns: 500 });
  });

  it('survives packed descriptors that are nearly right, and takes none beyond a bad one', () => {
    const descriptor = fc.record({
      address: fc.constantFrom(0x10_0000, 0x10_1000, 0x10_1010, 0x1f_fff0, 0x20_0000, 0),
      length: fc.constantFrom(0, 1, 16, 32, 112, 128, 4096),
      flags: fc.nat(7),
      id: fc.nat(0xffff),
    });
    const property = fc.property(
      fc.array(descriptor, { maxLength: 7 }),
      fc.array(descriptor, { minLength: 8, maxLength: 8 }),
      fc.nat(20),
      (direct, indirect, startIndex) => {
        const { driver, problems, ram, ring } = makePackedRing({ size: 7, startIndex });
        indirect.forEach((entry, i) => driver.writeTableEntry(0x10_1000, i, entry));
        driver.offer(direct);
        let descriptors = 0;
        for (let chain = ring.pop(); chain !== undefined; chain = ring.pop()) {
          while (((direct[descriptors].flags ?? 0) & 5) === 1) descriptors++;
          const { id } = direct[descriptors++];
          ring.push(chain, 1);
          ring.flush();
          const ids = Array.from({ length: 7 }, (_, i) => ram[16 * i + 12] + 256 * ram[16 * i + 13]);
          expect(ids).toContain(id);
        }
        expect(ring.broken).toBe(descriptors < direct.length);
        expect(problems.length).toBe(ring.broken ? 1 : 0);
      },
    );
    fc.assert(property, { numRuns: 1000 });
  });

  it('survives descriptors that are nearly right', () => {
    const descriptor = fc.record({
      address: fc.constantFrom(0x10_0000, 0x10_1000, 0x10_1010, 0x1f_fff0, 0x20_0000, 0),
      length: fc.constantFrom(0, 1, 16, 32, 128, 4096),
      flags: fc.nat(7),
      next: fc.nat(9),
    });
    const table = fc.array(descriptor, { minLength: 8, maxLength: 8 });
    const property = fc.property(
      table,
      table,
      fc.array(fc.nat(8), { maxLength: 8 }),
      (direct, indirect, heads) => {
        const fixture = makeRing({ size: 8 });
        const { driver, ring } = fixture;
        direct.forEach((entry, i) => driver.writeDescriptor(i, entry));
        indirect.forEach((entry, i) => driver.writeTableEntry(0x10_1000, i, entry));
        heads.forEach((head) => driver.stageHead(head));
        driver.publish();
        let taken = 0;
        for (let chain = ring.pop(); chain !== undefined; chain = ring.pop()) {
          taken++;
          ring.push(chain, 1);
        }
        ring.flush();
        expect(taken).toBeLessThanOrEqual(heads.length);
        expect(ring.broken ? taken < heads.length : taken === heads.length).toBe(true);
      },
    );
    fc.assert(property, { numRuns: 1000 });
  });
});
