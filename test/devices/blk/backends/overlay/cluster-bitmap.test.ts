import { describe, expect, it } from 'vitest';
import {
  BITMAP_BLOCK_BYTES,
  bitmapBytes,
  ClusterBitmap,
} from '../../../../../devices/blk/backends/overlay/cluster-bitmap.js';
import { randomFrom } from '../../support/vectors.js';

const PER_BLOCK = BITMAP_BLOCK_BYTES * 8;

describe('the bitmap of clusters', () => {
  it('is like an array of booleans', () => {
    const random = randomFrom(2);
    const size = 300;
    const bitmap = new ClusterBitmap(size);
    const model = new Array<boolean>(size).fill(false);
    for (let i = 0; i < 500; i++) {
      const first = random(size);
      const count = 1 + random(Math.min(40, size - first));
      const value = random(3) > 0;
      if (value) bitmap.set(first, count);
      else bitmap.clear(first, count);
      model.fill(value, first, first + count);
      const from = random(size);
      const max = 1 + random(size - from);
      const same = model.slice(from, from + max).findIndex((value) => value !== model[from]);
      expect(bitmap.run(from, max)).toBe(same < 0 ? max : same);
    }
    expect(model.every((held, cluster) => bitmap.has(cluster) === held)).toBe(true);
  });

  it('tells once which blocks have changed, as they are then', () => {
    const bitmap = new ClusterBitmap(3 * PER_BLOCK);
    expect([bitmap.changed, bitmap.takeChanged()]).toEqual([false, []]);
    bitmap.set(PER_BLOCK - 1, 2);
    const taken = bitmap.takeChanged();
    bitmap.set(0, 1);
    expect(taken.map(({ block }) => block)).toEqual([0, 1]);
    expect([taken[0].bytes[0], taken[0].bytes[BITMAP_BLOCK_BYTES - 1], taken[1].bytes[0]]).toEqual([
      0, 0x80, 1,
    ]);
    expect(bitmap.takeChanged().map(({ block }) => block)).toEqual([0]);
    bitmap.putBack(taken);
    expect(bitmap.takeChanged().map(({ block }) => block)).toEqual([0, 1]);
  });

  it('forgets what is cut off, and says so to the medium when it grows again', () => {
    const bitmap = new ClusterBitmap(2 * PER_BLOCK);
    bitmap.set(0, 2 * PER_BLOCK);
    bitmap.takeChanged();
    bitmap.resize(PER_BLOCK / 2);
    expect([bitmap.has(PER_BLOCK / 2 - 1), bitmap.clusters]).toEqual([true, PER_BLOCK / 2]);
    bitmap.takeChanged();
    bitmap.resize(2 * PER_BLOCK);
    expect([bitmap.run(0, 2 * PER_BLOCK), bitmap.run(PER_BLOCK / 2, 2 * PER_BLOCK)]).toEqual([
      PER_BLOCK / 2,
      2 * PER_BLOCK,
    ]);
    expect(bitmap.takeChanged().map(({ block }) => block)).toEqual([0, 1]);
  });

  it.each([
    [1, 4096],
    [PER_BLOCK, 4096],
    [PER_BLOCK + 1, 8192],
  ])('of %i clusters takes %i bytes', (clusters, bytes) => {
    expect(bitmapBytes(clusters)).toBe(bytes);
  });
});
