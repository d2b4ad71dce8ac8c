import { describe, expect, it } from 'vitest';
import type { AccessWidth } from '../../../../devices/pci/function.js';
import { RegisterTable } from '../../../../devices/virtio/transport/register-table.js';

describe('a register table', () => {
  const writes: [string, number][] = [];
  const table = new RegisterTable(16, [
    {
      offset: 0,
      width: 4,
      name: 'a',
      read: () => 0x8765_4321,
      write: (value) => void writes.push(['a', value]),
    },
    { offset: 4, width: 2, name: 'b', read: () => 0xbbaa, write: (value) => void writes.push(['b', value]) },
    { offset: 6, width: 1, name: 'c', read: () => 0xcc },
    { offset: 8, width: 1, name: 'd', read: () => 0xdd },
  ]);

  it('reads registers whole, in part and together', () => {
    expect(table.read(0, 4)).toBe(0x8765_4321);
    expect(table.read(1, 1)).toBe(0x43);
    expect(table.read(2, 2)).toBe(0x8765);
    expect(table.read(4, 4)).toBe(0x00cc_bbaa);
    expect(table.read(6, 2)).toBe(0x00cc);
    expect(table.read(8, 4)).toBe(0xdd);
    expect(table.read(12, 4)).toBe(0);
    expect(table.read(16, 4)).toBe(0);
    expect(table.read(15, 1)).toBe(0);
  });

  it('writes only what is exactly one writable register', () => {
    table.write(0, 4, 0xffff_ffff);
    table.write(4, 2, 0x1_2345);
    for (const [offset, width] of [
      [0, 2],
      [2, 2],
      [4, 4],
      [4, 1],
      [6, 1],
      [12, 4],
      [16, 4],
      [4096, 1],
    ] as [number, AccessWidth][]) {
      table.write(offset, width, 1);
    }
    expect(writes).toEqual([
      ['a', 0xffff_ffff],
      ['b', 0x2345],
    ]);
  });

  it('cannot have registers that overlap or lie outside', () => {
    const register = { offset: 2, width: 4 as const, name: 'x', read: () => 0 };
    expect(() => new RegisterTable(8, [register, { ...register, offset: 4 }])).toThrow('overlaps');
    expect(() => new RegisterTable(4, [register])).toThrow('overlaps');
  });
});
