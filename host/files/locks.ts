/**
 * File locks. Byte-range locks are open-file-description locks: they belong to the opened file, not to the
 * process, so two guests served by one process exclude each other, and closing another fd of the file
 * releases nothing.
 */
import { result } from '../errors.js';
import * as libc from '../libc.js';
import { NativeBuffer } from '../native-buffer.js';
import { LockType } from './constants.js';

const F_OFD_GETLK = 36;
const F_OFD_SETLK = 37;

/** struct flock: type[2] whence[2] pad[4] start[8] len[8] pid[4] pad[4]. */
const FLOCK = { type: 0, whence: 2, start: 8, length: 16, pid: 24, size: 32 } as const;
const lock = new NativeBuffer(FLOCK.size);

function setLock(type: number, start: number, length: number): void {
  lock.view.setUint32(FLOCK.type, type, true);
  lock.setU64(FLOCK.start, start);
  lock.setU64(FLOCK.length, length);
  // The kernel wants a zero pid of this kind of lock.
  lock.setU64(FLOCK.pid, 0);
}

/**
 * Takes or releases (F_UNLCK) a lock without waiting. A length of 0 reaches to the end of the file, however
 * it grows.
 *
 * @returns 0, -EAGAIN or -EACCES when another holds it, -EBADF when the fd is not open for what `type`
 *   protects
 */
export function ofdSetLock(fd: number, type: number, start: number, length: number): number {
  setLock(type, start, length);
  return result(libc.fcntl(fd, F_OFD_SETLK, lock.address));
}

/** A lock in the way of another: a LockType, F_UNLCK for none, and the range. */
export interface ConflictingLock {
  type: number;
  start: number;
  length: number;
}

/** Asks what would be in the way of a lock, and fills `conflict`. 0 or a negative errno. */
export function ofdGetLock(
  fd: number,
  type: number,
  start: number,
  length: number,
  conflict: ConflictingLock,
): number {
  setLock(type, start, length);
  const error = result(libc.fcntl(fd, F_OFD_GETLK, lock.address));
  if (error < 0) return error;
  conflict.type = lock.view.getInt16(FLOCK.type, true);
  const free = conflict.type === LockType.F_UNLCK;
  conflict.start = free ? start : lock.getU64(FLOCK.start);
  conflict.length = free ? length : lock.getU64(FLOCK.length);
  return 0;
}

/** Locks the whole file; `operation` of FlockOperation, with LOCK_NB: without it the whole process waits. */
export function flock(fd: number, operation: number): number {
  return result(libc.flock(fd, operation));
}
