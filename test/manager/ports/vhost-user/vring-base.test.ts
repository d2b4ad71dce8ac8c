import { describe, expect, it } from 'vitest';
import {
  decodeVringBase,
  encodeVringBase,
  freshVringBase,
  isVringBase,
} from '../../../../manager/ports/vhost-user/vring-base.js';

describe('the base of a ring in 32 bits', () => {
  it("a split ring's is its next available index; the used index comes from memory", () => {
    expect(decodeVringBase(0xfffe, false, 0xfff0)).toEqual({ nextAvail: 0xfffe, nextUsed: 0xfff0 });
    expect(encodeVringBase({ nextAvail: 0xfffe, nextUsed: 0xfff0 }, false)).toBe(0xfffe);
    expect(isVringBase(0xffff, false)).toBe(true);
    expect(isVringBase(0x10000, false)).toBe(false);
  });

  it("a packed ring's is both positions, each with its wrap counter on top", () => {
    const base = 0x8005_0007;
    expect(decodeVringBase(base, true, 0)).toEqual({ nextAvail: 0x0007, nextUsed: 0x8005 });
    expect(encodeVringBase({ nextAvail: 0x0007, nextUsed: 0x8005 }, true)).toBe(base);
    expect(isVringBase(0xffff_ffff, true)).toBe(true);
  });

  it("a fresh split ring's is 0, and a fresh packed ring's has both wrap counters at 1", () => {
    expect(freshVringBase(false)).toBe(0);
    expect(decodeVringBase(freshVringBase(true), true, 0)).toEqual({ nextAvail: 0x8000, nextUsed: 0x8000 });
  });
});
