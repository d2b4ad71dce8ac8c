import { describe, expect, it } from 'vitest';
import { NativeBuffer, addressOf } from '../../host/native-buffer.js';
import { eventfdCreate, IovecBuffer, IOV_MAX, memfdCreate, preadv, pwrite } from '../../host/index.js';
import { owned } from './support.js';

describe('addressOf', () => {
  it('is where the system writes, for a small array and for a view into the middle of a large one', () => {
    const fd = owned(memfdCreate('address', 4096));
    pwrite(fd, Uint8Array.of(1, 2, 3, 4), 0, 4, 0);
    const small = new Uint8Array(4);
    const large = new Uint8Array(10_000);
    const middle = large.subarray(5000, 5004);
    const iovecs = new IovecBuffer(2);
    iovecs.set(0, addressOf(small), 2);
    iovecs.set(1, addressOf(middle), 2);
    expect(preadv(fd, iovecs, 2, 0)).toBe(4);
    expect([...small]).toEqual([1, 2, 0, 0]);
    expect([...large.subarray(4999, 5003)]).toEqual([0, 3, 4, 0]);
  });

  it('tells the views of one buffer apart by their offset', () => {
    const whole = new Uint8Array(64);
    expect(addressOf(whole.subarray(10)) - addressOf(whole)).toBe(10);
    expect(addressOf(whole)).toBe(addressOf(whole));
  });

  it('works over shared memory of worker threads', () => {
    const shared = new Uint8Array(new SharedArrayBuffer(32), 8);
    expect(addressOf(shared.subarray(4)) - addressOf(shared)).toBe(4);
  });
});

describe('NativeBuffer', () => {
  it('keeps 53-bit numbers exact in two 32-bit halves', () => {
    const buffer = new NativeBuffer(16);
    for (const value of [0, 1, 0xffffffff, 2 ** 32, 2 ** 47 - 1, Number.MAX_SAFE_INTEGER]) {
      buffer.setU64(8, value);
      expect(buffer.getU64(8)).toBe(value);
      expect(buffer.view.getBigUint64(8, true)).toBe(BigInt(value));
    }
  });
});

describe('IovecBuffer', () => {
  it('refuses sizes that the kernel would refuse', () => {
    expect(() => new IovecBuffer(0)).toThrow(RangeError);
    expect(() => new IovecBuffer(IOV_MAX + 1)).toThrow(RangeError);
    expect(new IovecBuffer(IOV_MAX).capacity).toBe(IOV_MAX);
  });

  it('an iovec that names no mapped memory is -EFAULT, not a crash', () => {
    const fd = owned(memfdCreate('fault', 4096));
    const iovecs = new IovecBuffer(1);
    iovecs.set(0, 4096, 100);
    expect(preadv(fd, iovecs, 1, 0)).toBe(-14);
    expect(preadv(owned(eventfdCreate()), iovecs, 1, 0)).toBeLessThan(0);
  });
});
