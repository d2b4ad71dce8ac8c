/**
 * File contents. Results are bytes moved (short reads and writes happen, 0 is the end of the file), or a
 * negative errno. Offsets and lengths are whole numbers up to 2^53.
 */
import { Errno, result } from '../errors.js';
import * as libc from '../libc.js';
import { addressOf, pinned } from '../native-buffer.js';
import { SeekWhence } from './constants.js';
import type { IovecBuffer } from './iovec-buffer.js';
import { settleSync, settleVectored, submit, type Completion } from './on-thread.js';

export type { Completion } from './on-thread.js';

const SYS_PREADV2 = libc.syscallNumber('preadv2');
const SYS_PWRITEV2 = libc.syscallNumber('pwritev2');

/** Pins `buffer` for the call to come, which unpins it. */
function rangeAddress(buffer: Uint8Array, bufferOffset: number, length: number): number {
  if (!(bufferOffset >= 0 && length >= 0 && bufferOffset + length <= buffer.byteLength)) {
    throw new RangeError(`bytes ${bufferOffset}+${length} of a buffer of ${buffer.byteLength}`);
  }
  pinned.view = buffer;
  return addressOf(buffer) + bufferOffset;
}

/** @throws RangeError when the range is not within `buffer` */
export function pread(
  fd: number,
  buffer: Uint8Array,
  bufferOffset: number,
  length: number,
  offset: number,
): number {
  const moved = result(libc.pread(fd, rangeAddress(buffer, bufferOffset, length), length, offset));
  pinned.view = null;
  return moved;
}

/** @throws RangeError when the range is not within `buffer` */
export function pwrite(
  fd: number,
  buffer: Uint8Array,
  bufferOffset: number,
  length: number,
  offset: number,
): number {
  const moved = result(libc.pwrite(fd, rangeAddress(buffer, bufferOffset, length), length, offset));
  pinned.view = null;
  return moved;
}

export function preadv(fd: number, iovecs: IovecBuffer, count: number, offset: number): number {
  return result(libc.preadv(fd, iovecs.address, count, offset));
}

export function pwritev(fd: number, iovecs: IovecBuffer, count: number, offset: number): number {
  return result(libc.pwritev(fd, iovecs.address, count, offset));
}

/**
 * With RWF_NOWAIT: what is in the page cache, or -EAGAIN (do it asynchronously), or -EOPNOTSUPP where the
 * file system cannot tell. An offset of -1 uses the file's position.
 */
export function preadv2(
  fd: number,
  iovecs: IovecBuffer,
  count: number,
  offset: number,
  flags: number,
): number {
  // The kernel joins two halves of the offset on 32-bit machines only; on 64-bit ones the first holds it all.
  return result(libc.syscall_vectored2(SYS_PREADV2, fd, iovecs.address, count, offset, 0, flags));
}

/** As {@link preadv2}. Few file systems write without waiting: -EOPNOTSUPP or -EAGAIN otherwise. */
export function pwritev2(
  fd: number,
  iovecs: IovecBuffer,
  count: number,
  offset: number,
  flags: number,
): number {
  return result(libc.syscall_vectored2(SYS_PWRITEV2, fd, iovecs.address, count, offset, 0, flags));
}

/**
 * {@link preadv} on a thread. Until `done`, which is called once, the iovecs, their memory and `fd` stay
 * untouched and the memory stays alive: the system writes to addresses, and nothing here knows whose they
 * are. The simplest way is a `done` that refers to the owner of the memory (an ArrayBuffer, a SharedMapping).
 */
export function preadvAsync(
  fd: number,
  iovecs: IovecBuffer,
  count: number,
  offset: number,
  done: Completion,
): void {
  submit(
    (settle) => {
      libc.preadv.async(fd, iovecs.address, count, offset, settle);
    },
    settleVectored(iovecs, done),
    () => preadv(fd, iovecs, count, offset),
    done,
  );
}

/** {@link pwritev} on a thread; all of {@link preadvAsync} holds. */
export function pwritevAsync(
  fd: number,
  iovecs: IovecBuffer,
  count: number,
  offset: number,
  done: Completion,
): void {
  submit(
    (settle) => {
      libc.pwritev.async(fd, iovecs.address, count, offset, settle);
    },
    settleVectored(iovecs, done),
    () => pwritev(fd, iovecs, count, offset),
    done,
  );
}

/** {@link pwritev2} on a thread, for `flags` that make it wait (RWF_DSYNC); all of {@link preadvAsync} holds. */
export function pwritev2Async(
  fd: number,
  iovecs: IovecBuffer,
  count: number,
  offset: number,
  flags: number,
  done: Completion,
): void {
  submit(
    (settle) => {
      libc.syscall_vectored2.async(SYS_PWRITEV2, fd, iovecs.address, count, offset, 0, flags, settle);
    },
    settleVectored(iovecs, done),
    () => pwritev2(fd, iovecs, count, offset, flags),
    done,
  );
}

export function fsync(fd: number): number {
  return result(libc.fsync(fd));
}

export function fdatasync(fd: number): number {
  return result(libc.fdatasync(fd));
}

/** {@link fsync} on a thread. */
export function fsyncAsync(fd: number, done: Completion): void {
  submit(
    (settle) => {
      libc.fsync.async(fd, settle);
    },
    settleSync(done),
    () => fsync(fd),
    done,
  );
}

/** {@link fdatasync} on a thread. */
export function fdatasyncAsync(fd: number, done: Completion): void {
  submit(
    (settle) => {
      libc.fdatasync.async(fd, settle);
    },
    settleSync(done),
    () => fdatasync(fd),
    done,
  );
}

export function fallocate(fd: number, mode: number, offset: number, length: number): number {
  return result(libc.fallocate(fd, mode, offset, length));
}

/** The new position; -EOVERFLOW for one beyond 2^53, which directories of some file systems have. */
export function lseek(fd: number, offset: number, whence: number): number {
  const position = libc.lseek(fd, offset, whence);
  // koffi returns a BigInt beyond 2^53.
  return typeof position === 'number' ? result(position) : -Errno.EOVERFLOW;
}

/**
 * Sets the position to 64 bits given in two halves, as getdents64 gives positions in directories
 * (DIRENT64.off): ext4's are hashes of 63 bits. Allocates: for the odd seek, not for reading on. 0 or a
 * negative errno.
 */
export function seekTo(fd: number, low: number, high: number): number {
  const offset = BigInt.asIntN(64, (BigInt(high) << 32n) | BigInt(low));
  // The new position, which may come back as a BigInt, is only compared.
  return libc.lseek(fd, offset, SeekWhence.SEEK_SET) >= 0 ? 0 : result(-1);
}
