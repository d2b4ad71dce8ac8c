import { describe, expect, it } from 'vitest';
import { Card } from '../../../../devices/pci/topology/card.js';
import type { AccessWidth } from '../../../../devices/pci/function.js';
import { ALL_ONES, Bench, COMMAND, DEVCTL2, MEMORY, type Address } from './machine.js';
import { TestFunction, testFunctions } from './test-function.js';

const PORT: Address = [0, 1, 0];

function withCard(numbers: readonly number[], configSizeBytes = 4096) {
  const bench = new Bench(1);
  const functions = numbers.map((number) => ({
    number,
    function: new TestFunction(number + 1, { configSizeBytes }),
  }));
  bench.slot(0).insert(new Card(functions));
  bench.complex.reset();
  bench.setBusNumbers(PORT, 0, 1, 1);
  return bench;
}

/** Function `number` of the card, by what ARI makes of device and function numbers. */
function at(number: number): Address {
  return [1, number >> 3, number & 7];
}

describe('a card', () => {
  it('says multi-function in function 0 where it has several, at every width', () => {
    const bench = withCard([0, 7]);
    expect(bench.read(at(0), 0x0e, 1)).toBe(0x80);
    expect(bench.read(at(0), 0x0e, 2)).toBe(0x0080);
    expect(bench.read(at(0), 0x0c, 4)).toBe(0x0080_0000);
    expect(bench.read(at(0), 0x0d, 1)).toBe(0);
    expect(bench.read(at(7), 0x0e, 1)).toBe(0);
    expect(bench.id(at(7))).toBe(0x0008_1234);
    expect(bench.id(at(1))).toBe(ALL_ONES);
    expect(withCard([0]).read(at(0), 0x0e, 1)).toBe(0);
  });

  it.each([[[]], [[1]], [[0, 0]], [[0, 256]], [[0, 1.5]], [[-1, 0]]])(
    'refuses functions numbered %j',
    (numbers) => {
      const functions = numbers.map((number) => ({ number, function: new TestFunction(1) }));
      expect(() => new Card(functions)).toThrow(RangeError);
    },
  );

  it('takes its functions in any order', () => {
    const [first, second] = testFunctions(2);
    expect(new Card([second, first]).functions.map(({ devfn }) => devfn)).toEqual([0, 1]);
  });
});

describe('functions above 7', () => {
  it('are found by following ARI, once the port forwards it', () => {
    const bench = withCard([0, 3, 8, 255]);
    expect(bench.id(at(8))).toBe(ALL_ONES);
    expect(bench.id(at(3))).toBe(0x0004_1234);
    bench.write(PORT, DEVCTL2, 2, 0x20);
    const found = [0];
    for (let next = -1; next !== 0;) {
      const last = at(found[found.length - 1]);
      expect(bench.read(last, 0x100)).toBe(0x0001_000e);
      next = bench.read(last, 0x104, 2) >>> 8;
      if (next !== 0) found.push(next);
    }
    expect(found).toEqual([0, 3, 8, 255]);
    expect(bench.id(at(255))).toBe((256 << 16) | 0x1234);
    bench.setCommand(at(255), MEMORY);
    bench.write(PORT, DEVCTL2, 2, 0);
    expect(bench.read(at(255), COMMAND, 2)).toBe(0xffff);
  });

  it('have an ARI capability at every width, read-only, also in a function of 256 bytes', () => {
    for (const size of [256, 4096]) {
      const bench = withCard([0, 8], size);
      const bytes = [0x0e, 0, 1, 0, 0, 8, 0, 0];
      for (let i = 0; i < 8; i++) bench.write(at(0), 0x100 + i, 1, 0xff);
      for (const width of [1, 2, 4] as AccessWidth[]) {
        for (let i = 0; i < 8; i += width) {
          const expected = bytes.slice(i, i + width).reduceRight((sum, byte) => sum * 256 + byte, 0);
          expect(bench.read(at(0), 0x100 + i, width)).toBe(expected);
        }
      }
      expect(bench.read(at(0), 0x108)).toBe(size === 256 ? ALL_ONES : 0);
    }
  });

  it('make no other card say ARI', () => {
    expect(withCard([0, 7]).read(at(0), 0x100)).toBe(0);
  });

  it('cannot share a card with extended capabilities that stand in the way', () => {
    const fn = new TestFunction(1, { configSizeBytes: 4096 });
    fn.space.define(0x100, 4, 0x0001_0003);
    const other = { number: 8, function: new TestFunction(2) };
    expect(() => new Card([{ number: 0, function: fn }, other])).toThrow(RangeError);
    expect(() => new Card([{ number: 0, function: fn }])).not.toThrow();
  });
});
