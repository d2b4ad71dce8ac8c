/** eventfd(2): the kicks and interrupts of every port. */
import { readlinkSync } from 'node:fs';
import { setNonBlocking } from './descriptor.js';
import { Errno, result, resultOrThrow } from './errors.js';
import * as libc from './libc.js';
import { NativeBuffer } from './native-buffer.js';

const EFD_NONBLOCK = 0o4000;
const EFD_CLOEXEC = 0o2000000;
const COUNTER_BYTES = 8;

const one = new NativeBuffer(COUNTER_BYTES);
one.u32[0] = 1;
const counter = new NativeBuffer(COUNTER_BYTES);

/** A new non-blocking, close-on-exec eventfd with a count of zero. */
export function eventfdCreate(): number {
  return resultOrThrow(result(libc.eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)), 'eventfd', 'create');
}

/**
 * Makes an fd that a peer sent safe for the calls below: a blocking eventfd, or something that is no eventfd,
 * could stop the whole process in a read or a write.
 *
 * @returns 0, -EINVAL when the fd is no eventfd, or another negative errno
 */
export function eventfdAdopt(fd: number): number {
  try {
    if (readlinkSync(`/proc/self/fd/${fd}`) !== 'anon_inode:[eventfd]') return -Errno.EINVAL;
  } catch {
    return -Errno.EBADF;
  }
  return setNonBlocking(fd);
}

/** Adds one to the count, which wakes whoever waits for it. 0 or a negative errno. */
export function eventfdSignal(fd: number): number {
  const written = libc.write(fd, one.address, COUNTER_BYTES);
  return written === COUNTER_BYTES ? 0 : result(written);
}

/**
 * Reads the count and resets it to zero. @returns the count, or -EAGAIN when it was zero already
 *
 * A reactor that watches the eventfd with EPOLLET need not drain it at all: every signal is an event of its
 * own.
 */
export function eventfdDrain(fd: number): number {
  const bytes = result(libc.read(fd, counter.address, COUNTER_BYTES));
  return bytes < 0 ? bytes : counter.getU64(0);
}
