/**
 * A pipe that holds what is to go into a socket: the kernel moves bytes from the one to the other, so that they are in exactly one of them
 * wherever a process is killed.
 */
import { Errno, HostError, result, resultOrThrow } from './errors.js';
import * as libc from './libc.js';
import { addressOf, NativeBuffer, pinned } from './native-buffer.js';

const O_NONBLOCK = 0o4000;
const O_CLOEXEC = 0o2000000;
const SPLICE_F_NONBLOCK = 2;
const FIONREAD = 0x541b;
const NO_OFFSET = 0;
const pair = new NativeBuffer(8);
const count = new NativeBuffer(4);

export interface Pipe {
  readonly readFd: number;
  readonly writeFd: number;
}

/** A new non-blocking, close-on-exec pipe. @throws HostError */
export function createPipe(): Pipe {
  resultOrThrow(result(libc.pipe2(pair.address, O_NONBLOCK | O_CLOEXEC)), 'pipe2', 'create');
  return { readFd: pair.view.getInt32(0, true), writeFd: pair.view.getInt32(4, true) };
}

/** Bytes in the pipe. @throws HostError */
export function bytesInPipe({ readFd }: Pipe): number {
  resultOrThrow(result(libc.ioctl(readFd, FIONREAD, count.address)), 'ioctl', 'FIONREAD');
  return count.view.getInt32(0, true);
}

/** Puts bytes into the pipe. 0, or -EAGAIN where it has no room for all of them: the smallest one, empty, takes 8 KiB. */
export function putIntoPipe({ writeFd }: Pipe, bytes: Uint8Array): number {
  pinned.view = bytes;
  const written = result(libc.write(writeFd, addressOf(bytes), bytes.length));
  pinned.view = null;
  if (written === bytes.length) return 0;
  return written < 0 ? written : -Errno.EAGAIN;
}

/** Takes all that is in the pipe out of it. */
export function emptyPipe(pipe: Pipe): Uint8Array {
  const bytes = new Uint8Array(bytesInPipe(pipe));
  if (bytes.length === 0) return bytes;
  pinned.view = bytes;
  const taken = result(libc.read(pipe.readFd, addressOf(bytes), bytes.length));
  pinned.view = null;
  if (taken !== bytes.length) throw HostError.from(Math.min(taken, 0), 'read', 'a pipe');
  return bytes;
}

/** Moves what is in the pipe into a non-blocking socket. Bytes moved; -EAGAIN where there are none or it has no room; or another negative errno. */
export function pourIntoSocket({ readFd }: Pipe, socket: number, lengthBytes: number): number {
  return result(libc.splice(readFd, NO_OFFSET, socket, NO_OFFSET, lengthBytes, SPLICE_F_NONBLOCK));
}
