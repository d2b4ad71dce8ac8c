import { openSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { Errno, flock, FlockOperation, LockType, ofdGetLock, ofdSetLock } from '../../../host/index.js';
import { owned, temporaryDirectory } from '../support.js';

const { F_RDLCK, F_WRLCK, F_UNLCK } = LockType;

/** The same file opened twice: two owners of locks. */
function twoOwners(): [number, number] {
  const file = join(temporaryDirectory(), 'file');
  writeFileSync(file, '');
  return [owned(openSync(file, 'r+')), owned(openSync(file, 'r+'))];
}

describe('open file description locks', () => {
  it('exclude another opened file of the same process, by range', () => {
    const [one, other] = twoOwners();
    expect(ofdSetLock(one, F_WRLCK, 100, 50)).toBe(0);
    expect(ofdSetLock(other, F_RDLCK, 149, 1)).toBe(-Errno.EAGAIN);
    expect(ofdSetLock(other, F_WRLCK, 150, 50)).toBe(0);
    expect(ofdSetLock(one, F_UNLCK, 100, 50)).toBe(0);
    expect(ofdSetLock(other, F_RDLCK, 149, 1)).toBe(0);
  });

  it('are shared between readers', () => {
    const [one, other] = twoOwners();
    expect([ofdSetLock(one, F_RDLCK, 0, 0), ofdSetLock(other, F_RDLCK, 0, 0)]).toEqual([0, 0]);
    expect(ofdSetLock(other, F_WRLCK, 0, 1)).toBe(-Errno.EAGAIN);
  });

  it('report what is in the way, with offsets beyond 4 GiB', () => {
    const [one, other] = twoOwners();
    const conflict = { type: -1, start: -1, length: -1 };
    expect(ofdSetLock(one, F_WRLCK, 2 ** 40, 10)).toBe(0);
    expect(ofdGetLock(other, F_RDLCK, 0, 0, conflict)).toBe(0);
    expect(conflict).toEqual({ type: F_WRLCK, start: 2 ** 40, length: 10 });
    expect(ofdGetLock(other, F_WRLCK, 0, 100, conflict)).toBe(0);
    expect(conflict).toEqual({ type: F_UNLCK, start: 0, length: 100 });
  });

  it('return errno values', () => {
    const [one] = twoOwners();
    expect(ofdSetLock(1_000_000, F_WRLCK, 0, 0)).toBe(-Errno.EBADF);
    expect(ofdSetLock(one, 7, 0, 0)).toBe(-Errno.EINVAL);
    expect(ofdSetLock(owned(openSync('/proc/self/exe', 'r')), F_WRLCK, 0, 0)).toBe(-Errno.EBADF);
  });
});

describe('flock', () => {
  it('excludes another opened file until released', () => {
    const [one, other] = twoOwners();
    const { LOCK_EX, LOCK_NB, LOCK_UN } = FlockOperation;
    expect(flock(one, LOCK_EX | LOCK_NB)).toBe(0);
    expect(flock(other, LOCK_EX | LOCK_NB)).toBe(-Errno.EAGAIN);
    expect(flock(one, LOCK_UN)).toBe(0);
    expect(flock(other, LOCK_EX | LOCK_NB)).toBe(0);
  });
});
