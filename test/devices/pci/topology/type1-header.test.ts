import { describe, expect, it } from 'vitest';
import type { AccessWidth } from '../../../../devices/pci/function.js';
import { ALL_ONES, Bench, DEVCTL2, EXPRESS, LNKCTL, MSI, SLTCAP, SLTCTL, type Address } from './machine.js';

const PORT: Address = [0, 1, 0];

/** Bits that a guest may write, by 32-bit register; everything else of a root port is read-only. */
const WRITABLE = new Map([
  [0x04, 0x0547],
  [0x0c, 0xff],
  [0x18, 0x00ff_ffff],
  [0x1c, 0xf0f0],
  [0x20, 0xfff0_fff0],
  [0x24, 0xfff0_fff0],
  [0x28, ALL_ONES],
  [0x2c, ALL_ONES],
  [0x30, ALL_ONES],
  [0x3c, 0x0043_00ff],
  [MSI, 0x0001_0000],
  [MSI + 4, 0xffff_fffc],
  [MSI + 8, ALL_ONES],
  [MSI + 12, 0xffff],
  [EXPRESS + 8, 0x7fff],
  [LNKCTL, 0xdb],
  [SLTCTL, 0x17fb],
  [EXPRESS + 0x1c, 0xf],
  [DEVCTL2, 0x20],
  [EXPRESS + 0x30, 0xf],
]);
/** Slot status is no memory: what it shows depends on what was commanded. */
const SLOT_STATUS_MASK = 0xffff_0000;

function snapshot(bench: Bench): number[] {
  return Array.from({ length: 1024 }, (_, i) => bench.read(PORT, 4 * i));
}

describe('a port’s config space', () => {
  it('has a bridge’s header and the capabilities of a root port with a hot-plug slot', () => {
    const bench = new Bench(1);
    expect(bench.read(PORT, 0x08)).toBe(0x0604_0000);
    expect(bench.read(PORT, 0x0e, 1)).toBe(0x01);
    expect(bench.read(PORT, 0x06, 2)).toBe(0x10);
    expect(bench.read(PORT, 0x34, 1)).toBe(MSI);
    expect(bench.read(PORT, MSI)).toBe(0x0080_0005 | (EXPRESS << 8));
    expect(bench.read(PORT, EXPRESS)).toBe(0x0142_0010);
    // Attention button, power controller, both indicators, surprise, hot-plug; slot 1. No latch, no interlock.
    expect(bench.read(PORT, SLTCAP)).toBe((1 << 19) | 0x7b);
    expect(bench.read(PORT, 0x3d, 1)).toBe(1);
    expect(bench.read(PORT, 0x1c, 2)).toBe(0x0101);
    expect(bench.read(PORT, 0x24)).toBe(0x0001_0001);
  });

  it.each([1, 2, 4] as AccessWidth[])(
    'takes writes of width %i in writable bits only (CVE-2024-26327)',
    (width) => {
      const bench = new Bench(1);
      const before = snapshot(bench);
      for (const value of [ALL_ONES, 0, 0xa5a5_a5a5]) {
        for (let at = 0; at < 4096; at += width) {
          bench.write(PORT, at, width, (value >>> (8 * (at & 3))) & (2 ** (8 * width) - 1));
        }
        for (const [i, old] of before.entries()) {
          const writable = WRITABLE.get(4 * i) ?? 0;
          const ignored = 4 * i === SLTCTL ? SLOT_STATUS_MASK : 0;
          const expected = ((old & ~writable) | (value & writable)) & ~ignored;
          expect(bench.read(PORT, 4 * i) & ~ignored, `register 0x${(4 * i).toString(16)}`).toBe(expected);
        }
      }
    },
  );

  it('is as at power-on after a reset', () => {
    const bench = new Bench(1);
    const before = snapshot(bench);
    for (let at = 0; at < 4096; at += 4) bench.write(PORT, at, 4, ALL_ONES);
    expect(snapshot(bench)).not.toEqual(before);
    bench.complex.reset();
    expect(snapshot(bench)).toEqual(before);
  });
});
