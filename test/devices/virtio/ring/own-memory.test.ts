/** Re-entrancy by memory: chains whose buffers lie over the ring that they came from, so that what the device writes is its own next input. */
import { describe, expect, it } from 'vitest';
import type { MockDriver } from '../mock-driver.js';
import { makePackedRing, makeRing, RAM_ADDRESS, type RingFixture } from './fixture.js';

const SIZE = 8;
/** All of a ring of that size, in either format. */
const RING_BYTES = 16 * SIZE + 6 + 2 * SIZE + 8 + 6 + 8 * SIZE;
const FORMATS: readonly (readonly [string, () => RingFixture<MockDriver>])[] = [
  ['a split ring', () => makeRing({ size: SIZE })],
  ['a packed ring', () => makePackedRing({ size: SIZE })],
];

describe.each(FORMATS)('%s that its own device is asked to write over', (_format, make) => {
  for (const value of [0x00, 0x01, 0x7f, 0x80, 0xff]) {
    it(`with 0x${value.toString(16)} gives back what it took, once, and then ends or goes on within its size`, () => {
      const fixture = make();
      const { driver, ram, ring, counters } = fixture;
      driver.add([{ address: RAM_ADDRESS, length: RING_BYTES, writable: true }]);
      driver.add([{ address: fixture.page(0), length: 4 }]);
      let taken = 0;
      for (let rounds = 0; rounds < 4; rounds++) {
        for (let chain = ring.pop(); chain !== undefined; chain = ring.pop()) {
          expect(++taken).toBeLessThanOrEqual(4 * SIZE);
          const { count, offsets, lengths } = chain.writable;
          for (let i = 0; i < count; i++) ram.fill(value, offsets[i], offsets[i] + lengths[i]);
          ring.push(chain, chain.writable.byteLength);
        }
        ring.flush();
        ring.enableNotifications();
      }
      if (!ring.broken) expect(counters.requests).toBe(taken);
      expect(taken).toBeGreaterThan(0);
      expect(fixture.problems.length).toBe(ring.broken ? 1 : 0);
    });
  }
});
