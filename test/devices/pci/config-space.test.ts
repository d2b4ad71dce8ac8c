import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ConfigSpace, defineType0Header } from '../../../devices/pci/config-space.js';
import type { AccessWidth, BarSpec } from '../../../devices/pci/function.js';

const IDENTITY = {
  vendorId: 0x1af4,
  deviceId: 0x1049,
  revisionId: 1,
  classCode: 0x018000,
  subsystemVendorId: 0x1af4,
  subsystemId: 0x49,
  hasIntx: true,
};
const BAR_0 = 0x10;

function header(bars: readonly BarSpec[] = []): ConfigSpace {
  const space = new ConfigSpace();
  defineType0Header(space, IDENTITY, bars);
  space.seal();
  return space;
}

function bar(index: number, kind: BarSpec['kind'], sizeBytes: number, prefetchable = false): BarSpec {
  return { index, kind, sizeBytes, prefetchable };
}

/** What a guest's sizing dance finds: writes all ones, reads the mask, puts the old value back. */
function sized(space: ConfigSpace, index: number): number {
  const at = BAR_0 + 4 * index;
  const old = space.read(at, 4);
  space.write(at, 4, 0xffff_ffff);
  const mask = space.read(at, 4);
  space.write(at, 4, old);
  return mask;
}

describe('a type 0 header', () => {
  it('has its identity where every PCI driver looks', () => {
    const space = header();
    expect(space.read(0x00, 4)).toBe(0x1049_1af4);
    expect(space.read(0x08, 4)).toBe(0x0180_0001);
    expect(space.read(0x0e, 1)).toBe(0);
    expect(space.read(0x2c, 4)).toBe(0x0049_1af4);
    expect(space.read(0x3d, 1)).toBe(1);
  });

  it('lets nobody write what is not writable, at any offset and width (CVE-2024-26327)', () => {
    const writableOrCleared = new Map([
      [0x04, 0x547],
      [0x0c, 0xff],
      [0x3c, 0xff],
    ]);
    for (const width of [1, 2, 4] as const) {
      const space = header();
      const before = Array.from({ length: 64 }, (_, i) => space.read(i * 4, 4));
      for (const value of [0xffff_ffff, 0]) {
        for (let at = 0; at < 256; at += width) space.write(at, width, value);
        before.forEach((old, i) => {
          const writable = writableOrCleared.get(i * 4) ?? 0;
          expect((space.read(i * 4, 4) & ~writable) >>> 0).toBe((old & ~writable) >>> 0);
          expect(space.read(i * 4, 4) & writable).toBe(value & writable);
        });
      }
    }
  });

  it('clears the error bits of the status register by writing 1, and only those', () => {
    const space = header();
    space.set(0x06, 2, 0xf918);
    space.write(0x06, 2, 0x0000);
    expect(space.read(0x06, 2)).toBe(0xf918);
    space.write(0x06, 2, 0x8018);
    expect(space.read(0x06, 2)).toBe(0x7918);
    space.write(0x04, 4, 0xffff_0000);
    expect(space.read(0x06, 2)).toBe(0x0018);
  });

  it('keeps the other bytes of a register at a narrow write', () => {
    const space = header();
    space.write(0x04, 2, 0x0507);
    space.write(0x05, 1, 0x04);
    expect(space.read(0x04, 2)).toBe(0x0407);
    space.write(0x04, 1, 0x00);
    expect(space.read(0x04, 2)).toBe(0x0400);
  });

  it('is as at power-on after a reset', () => {
    const space = header([bar(0, 'memory32', 4096)]);
    space.write(0x04, 2, 0x7);
    space.write(0x10, 4, 0xfebd_0000);
    space.write(0x3c, 1, 11);
    space.reset();
    expect([space.read(0x04, 2), space.read(0x10, 4), space.read(0x3c, 1)]).toEqual([0, 0, 0]);
    expect(space.read(0, 4)).toBe(0x1049_1af4);
  });
});

describe('accesses outside the rules', () => {
  it('read all ones and write nothing beyond the space', () => {
    const space = header();
    for (const offset of [4096, 4097, 2 ** 31, 2 ** 32, -4]) {
      expect(space.read(offset, 4)).toBe(0xffff_ffff);
      expect(space.read(offset, 2)).toBe(0xffff);
      expect(space.read(offset, 1)).toBe(0xff);
      expect(() => space.write(offset, 4, 0)).not.toThrow();
    }
    expect(space.read(4094, 2)).toBe(0);
  });

  it('read all ones and write nothing where they are not aligned', () => {
    const space = header();
    expect(space.read(0x02, 4)).toBe(0xffff_ffff);
    expect(space.read(0x01, 2)).toBe(0xffff);
    space.write(0x03, 2, 0);
    space.write(0x3a, 4, 0xffff_ffff);
    expect(space.read(0x3c, 1)).toBe(0);
  });
});

describe('base address registers', () => {
  it('of 32-bit memory answer their size to all ones', () => {
    const space = header([
      bar(1, 'memory32', 4096),
      bar(2, 'memory32', 16, true),
      bar(3, 'memory32', 2 ** 31),
    ]);
    expect(sized(space, 1)).toBe(0xffff_f000);
    expect(sized(space, 2)).toBe(0xffff_fff8);
    expect(sized(space, 3)).toBe(0x8000_0000);
    expect(sized(space, 0)).toBe(0);
    expect(sized(space, 4)).toBe(0);
  });

  it('of I/O answer their size to all ones', () => {
    const space = header([bar(0, 'io', 32), bar(5, 'io', 4)]);
    expect(sized(space, 0)).toBe(0xffff_ffe1);
    expect(sized(space, 5)).toBe(0xffff_fffd);
  });

  it('of 64-bit memory answer their size over both registers', () => {
    const space = header([
      bar(0, 'memory64', 16384, true),
      bar(2, 'memory64', 2 ** 32),
      bar(4, 'memory64', 2 ** 35),
    ]);
    expect([sized(space, 0), sized(space, 1)]).toEqual([0xffff_c00c, 0xffff_ffff]);
    expect([sized(space, 2), sized(space, 3)]).toEqual([0x0000_0004, 0xffff_ffff]);
    expect([sized(space, 4), sized(space, 5)]).toEqual([0x0000_0004, 0xffff_fff8]);
  });

  it('keep the address that was written, whatever was sized meanwhile, and no bit below their size', () => {
    const space = header([bar(4, 'memory64', 16384, true)]);
    space.write(0x20, 4, 0xfe00_ffff);
    space.write(0x24, 4, 0x0000_0012);
    sized(space, 4);
    sized(space, 5);
    expect(space.read(0x20, 4)).toBe(0xfe00_c00c);
    expect(space.read(0x24, 4)).toBe(0x12);
  });

  it('cannot overlap, end outside the header or have a size that is no power of two', () => {
    const impossible: BarSpec[][] = [
      [bar(0, 'memory64', 4096), bar(1, 'memory32', 4096)],
      [bar(3, 'memory32', 4096), bar(3, 'io', 32)],
      [bar(5, 'memory64', 4096)],
      [bar(6, 'memory32', 4096)],
      [bar(-1, 'memory32', 4096)],
      [bar(0, 'memory32', 3000)],
      [bar(0, 'memory32', 8)],
      [bar(0, 'memory32', 2 ** 32)],
      [bar(0, 'io', 2)],
      [bar(0, 'memory32', 0)],
    ];
    for (const bars of impossible) expect(() => header(bars)).toThrow(RangeError);
  });
});

describe('hooks', () => {
  it('run before reads and after writes of their register, at every width, with the access', () => {
    const space = new ConfigSpace();
    const seen: string[] = [];
    space.define(0x50, 4, 0, 0xffff_ffff);
    space.hook(0x50, {
      beforeRead: (offset, width) => {
        seen.push(`read ${offset.toString(16)} ${width}`);
        space.set(0x50, 4, 0xcafe_babe);
      },
      afterWrite: (offset, width) =>
        void seen.push(`wrote ${offset.toString(16)} ${width} ${space.get(0x50, 4)}`),
    });
    space.write(0x52, 2, 1);
    expect(space.read(0x51, 1)).toBe(0xba);
    space.read(0x54, 4);
    space.write(0x4c, 4, 0);
    expect(seen).toEqual(['wrote 52 2 65536', 'read 51 1']);
  });

  it('cannot share a register', () => {
    const space = new ConfigSpace();
    space.hook(0x40, {});
    expect(() => space.hook(0x42, {})).toThrow('two hooks');
  });
});

describe('masks', () => {
  it('agree with a model that goes bit by bit, for any definition and any writes', () => {
    const width = fc.constantFrom<AccessWidth>(1, 2, 4);
    const word = fc.nat(0xffff_ffff);
    const access = fc.record({ at: fc.nat(7), width, value: word });
    const property = fc.property(
      word,
      word,
      word,
      fc.array(access, { maxLength: 20 }),
      (value, writable, clear, writes) => {
        const space = new ConfigSpace(256);
        space.define(0, 4, value, writable, clear);
        let model = value;
        for (const { at, width: bytes, value: written } of writes) {
          space.write(at, bytes, written);
          if (at % bytes !== 0 || at >= 4) continue;
          for (let bit = at * 8; bit < (at + bytes) * 8; bit++) {
            const set = ((written >>> (bit - at * 8)) & 1) === 1;
            const mask = 2 ** bit;
            const has = (mask32: number) => ((mask32 >>> bit) & 1) === 1;
            if (has(writable)) model = set ? (model | mask) >>> 0 : (model & ~mask) >>> 0;
            else if (has(clear) && set) model = (model & ~mask) >>> 0;
          }
        }
        expect(space.read(0, 4)).toBe(model);
      },
    );
    fc.assert(property, { numRuns: 300 });
  });
});
