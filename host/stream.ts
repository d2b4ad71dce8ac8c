/** Bytes over a connected, non-blocking stream socket of any family, to and from memory that stays in place. */
import { result } from './errors.js';
import type { IovecBuffer } from './files/iovec-buffer.js';
import * as libc from './libc.js';
import { NativeBuffer } from './native-buffer.js';

const MSG_DONTWAIT = 0x40;
const MSG_NOSIGNAL = 0x4000;

/** The fields of struct msghdr on 64-bit Linux that a plain send has. */
const MSGHDR = { iov: 16, iovlen: 24, size: 56 } as const;

const header = new NativeBuffer(MSGHDR.size);

/**
 * Receives up to `length` bytes at `address`, whose memory the caller keeps alive. Bytes received, 0 at the end of the
 * stream, -EAGAIN where there is nothing now, or another negative errno.
 */
export function receiveBytes(fd: number, address: number, length: number): number {
  return result(libc.read(fd, address, length));
}

/**
 * Sends the first `count` of `iovecs` as one write. Bytes sent, which may be fewer than there are; -EAGAIN where the socket is full, -EPIPE or
 * -ECONNRESET where the peer is gone (no signal is raised), or another negative errno.
 */
export function sendVector(fd: number, iovecs: IovecBuffer, count: number): number {
  header.setU64(MSGHDR.iov, iovecs.address);
  header.setU64(MSGHDR.iovlen, count);
  return result(libc.sendmsg(fd, header.address, MSG_DONTWAIT | MSG_NOSIGNAL));
}
