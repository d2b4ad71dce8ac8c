import { describe, expect, it } from 'vitest';
import { Coverage } from '../../../../../devices/blk/backends/nbd/coverage.js';
import { randomFrom } from '../../support/vectors.js';

describe('the coverage of a read', () => {
  it.each([
    [[0, 10]],
    [
      [0, 5],
      [5, 10],
    ],
    [
      [5, 10],
      [0, 5],
    ],
    [
      [2, 4],
      [6, 8],
      [0, 2],
      [8, 10],
      [4, 6],
    ],
    [
      [9, 10],
      [0, 1],
      [4, 5],
      [1, 4],
      [5, 9],
    ],
  ])('is whole by %j, %j, %j, %j, %j', (...pieces) => {
    const coverage = new Coverage();
    for (const [start, end] of pieces) {
      expect(coverage.isWhole(10)).toBe(false);
      expect(coverage.add(start, end)).toBe(true);
    }
    expect(coverage.isWhole(10)).toBe(true);
  });

  it.each([
    [0, 1],
    [4, 6],
    [5, 10],
    [3, 12],
    [9, 10],
    [0, 20],
  ])('takes no piece from %i to %i over one that is there', (start, end) => {
    const coverage = new Coverage();
    coverage.add(0, 1);
    coverage.add(5, 10);
    expect(coverage.add(start, end)).toBe(false);
  });

  it('is like an array of bytes that are set', () => {
    const random = randomFrom(4);
    for (let round = 0; round < 200; round++) {
      const coverage = new Coverage();
      const bytes = new Uint8Array(24);
      for (let i = 0; i < 12; i++) {
        const start = random(24);
        const end = start + 1 + random(24 - start);
        const free = bytes.subarray(start, end).every((byte) => byte === 0);
        expect(coverage.add(start, end)).toBe(free);
        if (!free) break;
        bytes.fill(1, start, end);
        expect(coverage.isWhole(24)).toBe(bytes.every((byte) => byte === 1));
      }
    }
  });

  it('has a limit on pieces', () => {
    const coverage = new Coverage();
    for (let i = 0; i < 4096; i++) expect(coverage.add(i * 2, i * 2 + 1)).toBe(true);
    expect(coverage.add(10_000, 10_001)).toBe(false);
    coverage.clear();
    expect(coverage.add(0, 1)).toBe(true);
  });
});
