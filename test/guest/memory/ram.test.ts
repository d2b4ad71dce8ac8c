import { describe, expect, it } from 'vitest';
import { BufferPool } from '../../../guest/memory/buffer-pool.js';
import { GuestRam, PAGE_SIZE } from '../../../guest/memory/ram.js';

function ramOf(pages: number): GuestRam {
  return new GuestRam(new Uint8Array(pages * PAGE_SIZE).fill(0xee));
}

describe('GuestRam', () => {
  it('never hands out page 0', () => {
    const ram = ramOf(3);
    expect([ram.allocate(1)?.address, ram.allocate(1)?.address]).toEqual([PAGE_SIZE, 2 * PAGE_SIZE]);
    expect(ram.allocate(1)).toBeUndefined();
  });

  it('hands out zeroed bytes of the RAM itself', () => {
    const bytes = new Uint8Array(4 * PAGE_SIZE).fill(0xee);
    const range = new GuestRam(bytes).allocate(PAGE_SIZE + 1);
    expect(range?.sizeBytes).toBe(2 * PAGE_SIZE);
    expect(range?.bytes.every((byte) => byte === 0)).toBe(true);
    range?.view.setUint8(5, 7);
    expect(bytes[PAGE_SIZE + 5]).toBe(7);
  });

  it('joins neighbours that were freed in any order', () => {
    for (const order of [
      [0, 1, 2],
      [2, 1, 0],
      [0, 2, 1],
      [1, 0, 2],
    ]) {
      const ram = ramOf(4);
      const pages = [1, 2, 3].map(() => ram.allocate(PAGE_SIZE)!);
      for (const i of order) ram.free(pages[i]);
      expect(ram.allocate(3 * PAGE_SIZE)?.address).toBe(PAGE_SIZE);
    }
  });

  it('refuses to free a range twice', () => {
    const ram = ramOf(4);
    const range = ram.allocate(1)!;
    ram.free(range);
    expect(() => ram.free(range)).toThrow(RangeError);
  });
});

describe('BufferPool', () => {
  it('gives a returned buffer to the next request of its size', () => {
    const pool = new BufferPool(ramOf(16));
    const first = pool.take(5000)!;
    expect(first.sizeBytes).toBe(8192);
    pool.give(first);
    expect(pool.take(8192)).toBe(first);
  });

  it('frees idle buffers of other sizes before it gives up', () => {
    const ram = ramOf(9);
    const pool = new BufferPool(ram);
    const small = Array.from({ length: 8 }, () => pool.take(1)!);
    expect(pool.take(1)).toBeUndefined();
    for (const buffer of small) pool.give(buffer);
    expect(pool.take(8 * PAGE_SIZE)?.sizeBytes).toBe(8 * PAGE_SIZE);
  });

  it('leaves nothing allocated once it is closed and every buffer came back', () => {
    const ram = ramOf(9);
    const pool = new BufferPool(ram);
    const held = pool.take(1)!;
    pool.give(pool.take(PAGE_SIZE * 2)!);
    pool.close();
    expect(ram.freeBytes).toBe(7 * PAGE_SIZE);
    pool.give(held);
    expect(ram.freeBytes).toBe(8 * PAGE_SIZE);
  });
});
