import { describe, expect, it } from 'vitest';
import { knownLifetime } from '../../../../devices/blk/backends/lifetime.js';

describe('what a medium says of its wear', () => {
  it('is passed on where it is defined', () => {
    expect(knownLifetime(3, 11, 1)).toEqual({ preEolInfo: 3, typeA: 11, typeB: 1 });
  });

  it.each([
    [4, 12, 255],
    [-1, -1, -1],
    [NaN, NaN, 1.5],
    [0x8000, 0x10000, Infinity],
  ])('is unknown where it is reserved: %d, %d, %d', (preEolInfo, typeA, typeB) => {
    expect(knownLifetime(preEolInfo, typeA, typeB)).toEqual({ preEolInfo: 0, typeA: 0, typeB: 0 });
  });
});
