/**
 * Unix stream sockets that carry descriptors (SCM_RIGHTS): the wire of vfio-user and vhost-user.
 *
 * Raw non-blocking fds rather than node:net, which can neither send nor receive descriptors. One message
 * header, one iovec and one control buffer serve every call: calls are synchronous, and the kernel keeps none
 * of them.
 */
import { chmodSync, lstatSync, unlinkSync } from 'node:fs';
import { Errno, HostError, result, resultOrThrow } from './errors.js';
import * as libc from './libc.js';
import { addressOf, NativeBuffer, pinned } from './native-buffer.js';

const AF_UNIX = 1;
const SOCK_STREAM = 1;
const SOCK_NONBLOCK = 0o4000;
const SOCK_CLOEXEC = 0o2000000;
const STREAM_FLAGS = SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC;
const SOL_SOCKET = 1;
const SCM_RIGHTS = 1;
const MSG_CTRUNC = 0x8;
const MSG_DONTWAIT = 0x40;
const MSG_NOSIGNAL = 0x4000;
const MSG_CMSG_CLOEXEC = 0x40000000;

/** The most descriptors the kernel passes in one message. */
export const SCM_MAX_FD = 253;
/** sockaddr_un.sun_path holds 108 bytes including the terminating NUL. */
export const MAX_SOCKET_PATH_BYTES = 107;
const LISTEN_BACKLOG = 16;

/**
 * struct msghdr on 64-bit Linux; musl's 32-bit lengths with padding agree with glibc's on little-endian
 * machines.
 */
const MSGHDR = { iov: 16, iovlen: 24, control: 32, controllen: 40, flags: 48, size: 56 } as const;
/** struct cmsghdr: len[8] level[4] type[4], then the descriptors. */
const CMSGHDR = { len: 0, level: 8, type: 12, size: 16 } as const;

/** CMSG_SPACE for `fds` descriptors. */
function controlSpace(fds: number): number {
  return CMSGHDR.size + ((fds * 4 + 7) & ~7);
}

const iovec = new NativeBuffer(16);
const control = new NativeBuffer(controlSpace(SCM_MAX_FD));
const header = new NativeBuffer(MSGHDR.size);
header.setU64(MSGHDR.iov, iovec.address);
header.setU64(MSGHDR.iovlen, 1);
header.setU64(MSGHDR.control, control.address);

/**
 * {@link recvMessage}: more descriptors came than the caller had room for, or the process may open; all are
 * closed.
 */
export const TOO_MANY_FDS = -Errno.ETOOMANYREFS;

/** Descriptors that arrived with a message, owned by whoever holds the list until taken. */
export class ReceivedFds {
  readonly capacity: number;
  readonly #fds: Int32Array;
  #count = 0;

  /** @param capacity at most {@link SCM_MAX_FD} */
  constructor(capacity: number) {
    if (!(capacity >= 0 && capacity <= SCM_MAX_FD))
      throw new RangeError(`no room for ${capacity} descriptors in a message`);
    this.capacity = capacity;
    this.#fds = new Int32Array(SCM_MAX_FD);
  }

  get count(): number {
    return this.#count;
  }

  /** Takes over descriptor `index`, or returns -1 when there is none or it was taken before. */
  take(index: number): number {
    if (index >= this.#count) return -1;
    const fd = this.#fds[index];
    this.#fds[index] = -1;
    return fd;
  }

  /** Those that were not taken, which stay the list's. */
  get left(): number[] {
    return [...this.#fds.subarray(0, this.#count)].filter((fd) => fd >= 0);
  }

  /** Closes what was not taken and empties the list. */
  closeAll(): void {
    for (let i = 0; i < this.#count; i++) {
      if (this.#fds[i] >= 0) libc.close(this.#fds[i]);
    }
    this.#count = 0;
  }

  /** For {@link recvMessage}: the list now owns `fd`. */
  push(fd: number): void {
    if (this.#count < SCM_MAX_FD) this.#fds[this.#count++] = fd;
    else libc.close(fd);
  }
}

/** Pins `buffer` for the call to come, which unpins it. */
function setIovec(buffer: Uint8Array, offset: number, length: number): void {
  if (!(offset >= 0 && length > 0 && offset + length <= buffer.byteLength)) {
    throw new RangeError(`bytes ${offset}+${length} of a buffer of ${buffer.byteLength}`);
  }
  pinned.view = buffer;
  iovec.setU64(0, addressOf(buffer) + offset);
  iovec.setU64(8, length);
}

/** Puts every descriptor of the control buffer into the list. */
function collectFds(controlBytes: number, fds: ReceivedFds): void {
  const { view } = control;
  let at = 0;
  while (at + CMSGHDR.size <= controlBytes) {
    const length = control.getU64(at + CMSGHDR.len);
    if (length < CMSGHDR.size || at + length > controlBytes) return;
    if (
      view.getInt32(at + CMSGHDR.level, true) === SOL_SOCKET &&
      view.getInt32(at + CMSGHDR.type, true) === SCM_RIGHTS
    ) {
      for (let i = at + CMSGHDR.size; i + 4 <= at + length; i += 4) fds.push(view.getInt32(i, true));
    }
    at += (length + 7) & ~7;
  }
}

/**
 * Receives up to `length` bytes, and the descriptors that came with them (close-on-exec) into `fds`, whose
 * former content is closed first.
 *
 * Descriptors come with the read that takes the first byte they were sent with. A read ends after bytes that
 * carry some, yet glues plain bytes before them: a reader of a message's header alone never meets those of
 * the next message, and a reader of more must give them to the last message that begins in what it got.
 *
 * @returns bytes read, 0 at the end of the stream, -EAGAIN when there is nothing, {@link TOO_MANY_FDS} when
 *   descriptors had to be refused (the bytes are lost: the connection is beyond use), or another negative
 *   errno
 */
export function recvMessage(
  fd: number,
  buffer: Uint8Array,
  offset: number,
  length: number,
  fds: ReceivedFds,
): number {
  return receive(fd, buffer, offset, length, fds, 0);
}

/** As `recvMessage`, with further flags. */
export function receive(
  fd: number,
  buffer: Uint8Array,
  offset: number,
  length: number,
  fds: ReceivedFds,
  flags: number,
): number {
  fds.closeAll();
  setIovec(buffer, offset, length);
  header.setU64(MSGHDR.controllen, fds.capacity === 0 ? 0 : controlSpace(fds.capacity));
  const received = result(libc.recvmsg(fd, header.address, MSG_DONTWAIT | MSG_CMSG_CLOEXEC | flags));
  pinned.view = null;
  if (received < 0) return received;
  collectFds(header.getU64(MSGHDR.controllen), fds);
  // The padding of the control buffer admits one descriptor more than asked for, so the flag alone is not
  // enough.
  if ((header.view.getInt32(MSGHDR.flags, true) & MSG_CTRUNC) === 0 && fds.count <= fds.capacity)
    return received;
  fds.closeAll();
  return TOO_MANY_FDS;
}

const NO_FDS: readonly number[] = [];

/**
 * Sends up to `length` bytes, with `fds` attached to the first of them; the caller keeps the descriptors.
 *
 * @returns bytes sent, which may be fewer (send the rest without descriptors), or a negative errno: -EAGAIN
 *   when the socket is full, -EPIPE when the peer is gone (no signal is raised)
 */
export function sendMessage(
  fd: number,
  buffer: Uint8Array,
  offset: number,
  length: number,
  fds: readonly number[] = NO_FDS,
): number {
  if (fds.length > SCM_MAX_FD) return -Errno.EINVAL;
  setIovec(buffer, offset, length);
  header.setU64(MSGHDR.controllen, fds.length === 0 ? 0 : controlSpace(fds.length));
  if (fds.length > 0) setControl(fds);
  const sent = result(libc.sendmsg(fd, header.address, MSG_DONTWAIT | MSG_NOSIGNAL));
  pinned.view = null;
  return sent;
}

function setControl(fds: readonly number[]): void {
  control.setU64(CMSGHDR.len, CMSGHDR.size + fds.length * 4);
  control.view.setInt32(CMSGHDR.level, SOL_SOCKET, true);
  control.view.setInt32(CMSGHDR.type, SCM_RIGHTS, true);
  for (let i = 0; i < fds.length; i++) control.view.setInt32(CMSGHDR.size + i * 4, fds[i], true);
}

/** sockaddr_un: family[2] path[108]. */
const sockaddr = new NativeBuffer(112);

/** Fills `sockaddr` and returns its length. */
function setSocketAddress(path: string): number {
  const bytes = Buffer.from(path);
  if (bytes.length === 0 || bytes.includes(0)) {
    throw new HostError('EINVAL', 'bind', 'a socket path must not be empty or contain NUL');
  }
  if (bytes.length > MAX_SOCKET_PATH_BYTES) {
    const limit = `Linux allows ${MAX_SOCKET_PATH_BYTES}; use a shorter directory`;
    throw new HostError('ENAMETOOLONG', 'bind', `socket path of ${bytes.length} bytes, ${limit}: ${path}`);
  }
  sockaddr.bytes.fill(0);
  sockaddr.view.setUint16(0, AF_UNIX, true);
  sockaddr.bytes.set(bytes, 2);
  return 2 + bytes.length + 1;
}

function createSocket(): number {
  return resultOrThrow(result(libc.socket(AF_UNIX, STREAM_FLAGS, 0)), 'socket', 'AF_UNIX');
}

/** Runs `setUp` on a new socket and returns the socket, or closes it when `setUp` throws. */
function withNewSocket(setUp: (fd: number) => void): number {
  const fd = createSocket();
  try {
    setUp(fd);
    return fd;
  } catch (error) {
    libc.close(fd);
    throw error;
  }
}

/** Removes a socket file that nobody listens on; throws when somebody does or it is something else. */
function removeStaleSocket(path: string): void {
  if (!lstatSync(path).isSocket()) {
    throw new HostError('EEXIST', 'bind', `${path} exists and is not a socket`);
  }
  const probe = createSocket();
  const error = result(libc.connect(probe, sockaddr.address, setSocketAddress(path)));
  libc.close(probe);
  if (error !== -Errno.ECONNREFUSED) {
    throw new HostError('EADDRINUSE', 'bind', `${path} is in use by another process`);
  }
  unlinkSync(path);
}

function bindTo(fd: number, path: string): number {
  const length = setSocketAddress(path);
  return result(libc.bind(fd, sockaddr.address, length));
}

/**
 * A non-blocking listening socket at `path`, mode 0600. A socket file left behind by a dead process is
 * replaced.
 *
 * @throws HostError ENAMETOOLONG, EINVAL, EADDRINUSE (somebody accepts there), EEXIST (not a socket), or from
 *   bind(2)
 */
export function listenUnix(path: string): number {
  return withNewSocket((fd) => {
    let error = bindTo(fd, path);
    if (error === -Errno.EADDRINUSE) {
      removeStaleSocket(path);
      error = bindTo(fd, path);
    }
    resultOrThrow(error, 'bind', path);
    // Nobody can connect before listen(), so there is no moment with a wider mode.
    chmodSync(path, 0o600);
    resultOrThrow(result(libc.listen(fd, LISTEN_BACKLOG)), 'listen', path);
  });
}

/**
 * A non-blocking connection from the listening socket's queue, or -EAGAIN, -EMFILE or another negative errno.
 */
export function acceptConnection(fd: number): number {
  return result(libc.accept4(fd, 0, 0, SOCK_NONBLOCK | SOCK_CLOEXEC));
}

/**
 * A non-blocking connection to the socket at `path`. @throws HostError ENOENT, ECONNREFUSED, EAGAIN (queue
 * full), …
 */
export function connectUnix(path: string): number {
  return withNewSocket((fd) => {
    const length = setSocketAddress(path);
    resultOrThrow(result(libc.connect(fd, sockaddr.address, length)), 'connect', path);
  });
}

/** Two connected non-blocking sockets. */
export function socketPair(): [number, number] {
  const pair = new NativeBuffer(8);
  resultOrThrow(result(libc.socketpair(AF_UNIX, STREAM_FLAGS, 0, pair.address)), 'socketpair', 'AF_UNIX');
  return [pair.view.getInt32(0, true), pair.view.getInt32(4, true)];
}
