/**
 * Reading a unix stream socket so that a process that is killed at any instruction has either taken what it read, or not: bytes are looked at
 * first (MSG_PEEK) and taken later; and the socket itself remembers a number meanwhile (SO_PEEK_OFF), which the kernel lowers by what is taken, in
 * one step with that. Both outlive the process, where another one holds the socket too.
 */
import { Errno, result } from './errors.js';
import * as libc from './libc.js';
import { NativeBuffer } from './native-buffer.js';
import { receive, type ReceivedFds } from './socket.js';

const SOL_SOCKET = 1;
const SO_PEEK_OFF = 42;
const MSG_PEEK = 0x2;
const MSG_DONTWAIT = 0x40;
const INT_BYTES = 4;

const value = new NativeBuffer(INT_BYTES);
const length = new NativeBuffer(INT_BYTES);
const discarded = new NativeBuffer(4096);

/** What a socket has that remembers no number: its bytes are looked at from the first one on, each time. */
export const NO_MARK = -1;

/**
 * As `recvMessage`, but all stays in the socket: the descriptors are others of the same open files, which are the caller's to close. Where the socket
 * remembers a number, it is that of bytes to pass over, and goes up by those that are seen. Where the bytes seen end where those of one send do, the
 * kernel gives the first descriptors of any bytes behind them: so ask for more bytes than you need, and count descriptors as theirs only where no more
 * came.
 */
export function peekMessage(
  fd: number,
  buffer: Uint8Array,
  offset: number,
  lengthBytes: number,
  fds: ReceivedFds,
): number {
  return receive(fd, buffer, offset, lengthBytes, fds, MSG_PEEK);
}

/** Takes up to so many bytes out of the socket, and drops them, with the descriptors that they came with. Bytes taken, or a negative errno. */
export function dropBytes(fd: number, lengthBytes: number): number {
  for (let dropped = 0; dropped < lengthBytes;) {
    const room = Math.min(lengthBytes - dropped, discarded.bytes.length);
    const taken = result(libc.recv(fd, discarded.address, room, MSG_DONTWAIT));
    if (taken <= 0) return taken < 0 && taken !== -Errno.EAGAIN ? taken : dropped;
    dropped += taken;
  }
  return lengthBytes;
}

/** The number that the socket remembers, 0 or more, or NO_MARK. */
export function markOf(fd: number): number {
  length.u32[0] = INT_BYTES;
  const error = result(libc.getsockopt(fd, SOL_SOCKET, SO_PEEK_OFF, value.address, length.address));
  return error < 0 ? NO_MARK : value.view.getInt32(0, true);
}

/** Has the socket remember a number. 0, or a negative errno: -EOPNOTSUPP for one that is no unix socket. */
export function setMark(fd: number, mark: number): number {
  value.view.setInt32(0, mark, true);
  return result(libc.setsockopt(fd, SOL_SOCKET, SO_PEEK_OFF, value.address, INT_BYTES));
}
