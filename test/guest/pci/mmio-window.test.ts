import { describe, expect, it } from 'vitest';
import { MmioWindow } from '../../../guest/pci/mmio-window.js';

describe('MmioWindow', () => {
  it('aligns each BAR to its size, and to a page at least', () => {
    const window = new MmioWindow({ start: 0xc000_1000, sizeBytes: 0x10_0000 });
    expect(window.allocate(0x10)?.address).toBe(0xc000_1000);
    expect(window.allocate(0x8000)?.address).toBe(0xc000_8000);
    expect(window.allocate(0x2000)?.address).toBe(0xc000_2000);
    expect(window.allocate(0x1000)?.address).toBe(0xc000_4000);
  });

  it('places a BAR in the room that another left', () => {
    const window = new MmioWindow({ start: 0x1_0000, sizeBytes: 0x3000 });
    const [, second] = [window.allocate(0x1000), window.allocate(0x1000), window.allocate(0x1000)];
    expect(window.allocate(0x1000)).toBeUndefined();
    window.free(second!);
    expect(window.allocate(0x1000)?.address).toBe(0x1_1000);
  });

  it('has no room for a BAR larger than itself', () => {
    const window = new MmioWindow({ start: 0xc000_0000, sizeBytes: 0x1000 });
    expect(window.allocate(2 ** 40)).toBeUndefined();
    expect(window.allocate(0x1000)?.address).toBe(0xc000_0000);
  });

  it('refuses to free what it did not allocate', () => {
    const window = new MmioWindow({ start: 0, sizeBytes: 0x4000 });
    expect(() => window.free({ address: 0, sizeBytes: 0x1000 })).toThrow(RangeError);
  });
});
