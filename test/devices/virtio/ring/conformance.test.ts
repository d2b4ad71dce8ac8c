/** Every ring format, in every mode and in sizes of every kind. */
import { describe, expect, it } from 'vitest';
import type { MockDriver } from '../mock-driver.js';
import { makePackedRing, makeRing, packedPosition, type RingFixture, type RingOptions } from './fixture.js';
import { ringSuite } from './ring-suite.js';

interface Format {
  readonly format: string;
  readonly sizes: readonly number[];
  readonly everySize: readonly number[];
  readonly make: (options: RingOptions) => RingFixture<MockDriver>;
  readonly position: (count: number, size: number) => number;
}

const POWERS_OF_TWO = Array.from({ length: 16 }, (_, exponent) => 2 ** exponent);
const FORMATS: readonly Format[] = [
  {
    format: 'a split ring',
    sizes: [4, 256],
    everySize: POWERS_OF_TWO,
    make: makeRing,
    position: (count) => count & 0xffff,
  },
  {
    format: 'a packed ring',
    sizes: [4, 5, 7, 100],
    everySize: [...POWERS_OF_TWO, 3, 5, 6, 7, 9, 100, 255, 257, 1000, 4095, 12_345, 32_767],
    make: makePackedRing,
    position: packedPosition,
  },
];

const YES_AND_NO = [false, true];
/** Between these and the largest size of all, nothing new can go wrong in order. */
const LARGEST_IN_BOTH_ORDERS = 1024;

for (const { format, sizes, make, position } of FORMATS) {
  for (const size of sizes) {
    for (const indirect of YES_AND_NO) {
      for (const eventIdx of YES_AND_NO) {
        for (const inOrder of YES_AND_NO) {
          const words = [
            `${format} of ${size}`,
            indirect ? 'indirect' : 'direct',
            eventIdx ? 'event index' : 'flags',
            ...(inOrder ? ['in order'] : []),
          ];
          ringSuite({
            name: words.join(', '),
            size,
            indirect,
            eventIdx,
            inOrder,
            make,
            position: (count) => position(count, size),
          });
        }
      }
    }
  }
}

for (const { format, everySize, make } of FORMATS) {
  describe(`${format} of any size`, () => {
    for (const size of everySize) {
      const inBothOrders = size <= LARGEST_IN_BOTH_ORDERS || size === 32768;
      for (const inOrder of inBothOrders ? YES_AND_NO : [false]) {
        it(`of ${size} is filled and emptied, chain by chain and with one chain of all${inOrder ? ', in order' : ''}`, () => {
          const fixture = make({ size, inOrder, startIndex: size > 1 ? 1 : 0, eventIdx: size % 2 === 1 });
          const { counters, driver, page, problems, ring } = fixture;
          const shapes = [
            Array.from({ length: size }, () => 1),
            [size],
            [1, Math.max(1, size - 1)].slice(0, size),
          ];
          for (const shape of shapes) {
            const ids = shape.map((count) =>
              driver.stage(Array.from({ length: count }, () => ({ address: page(0), length: 1 }))),
            );
            driver.publish();
            expect(driver.free).toBe(0);
            const chains = shape.map(() => ring.pop());
            expect(chains.map((chain) => chain?.readable.count)).toEqual(shape);
            expect(ring.pop()).toBeUndefined();
            for (const chain of chains) ring.push(chain!, 0);
            ring.flush();
            expect(driver.reap().map(({ id }) => id)).toEqual(ids);
            expect(driver.free).toBe(size);
          }
          expect(problems).toEqual([]);
          expect(counters.requests).toBe(shapes.flat().length);
        });
      }
    }
  });
}
