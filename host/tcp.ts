/** Listening TCP sockets, whose connections are served like those of unix sockets: by their descriptors. */
import { isIPv6 } from 'node:net';
import { HostError, result, resultOrThrow } from './errors.js';
import * as libc from './libc.js';
import { NativeBuffer } from './native-buffer.js';

const AF_INET = 2;
const AF_INET6 = 10;
const SOCK_STREAM = 1;
const SOCK_NONBLOCK = 0o4000;
const SOCK_CLOEXEC = 0o2000000;
const SOL_SOCKET = 1;
const SO_REUSEADDR = 2;
const SO_KEEPALIVE = 9;
const IPPROTO_TCP = 6;
const TCP_NODELAY = 1;
const LISTEN_BACKLOG = 16;

/** sockaddr_in: family[2] port[2] address[4] zero[8]; sockaddr_in6: family[2] port[2] flowinfo[4] address[16] scope[4]. */
const SOCKADDR = { port: 2, address4: 4, address6: 8, size4: 16, size6: 28 } as const;

const sockaddr = new NativeBuffer(SOCKADDR.size6);
/** The value of a socket option, or a length that the kernel reads and writes. */
const number = new NativeBuffer(4);

export interface TcpListener {
  readonly fd: number;
  /** The one asked for, or what the system chose for 0. */
  readonly port: number;
}

/**
 * A non-blocking listening socket at a numeric IPv4 or IPv6 address.
 *
 * @throws HostError EINVAL for an address that is none, EADDRINUSE, EADDRNOTAVAIL, EACCES (a port below 1024), …
 */
export function listenTcp(address: string, port: number): TcpListener {
  const family = isIPv6(address) ? AF_INET6 : AF_INET;
  const length = setAddress(family, address, port);
  const flags = SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC;
  const fd = resultOrThrow(result(libc.socket(family, flags, 0)), 'socket', address);
  try {
    // Connections of an earlier server that linger do not keep the port; one that listens does.
    setOption(fd, SOL_SOCKET, SO_REUSEADDR);
    const subject = `${address} port ${port}`;
    resultOrThrow(result(libc.bind(fd, sockaddr.address, length)), 'bind', subject);
    resultOrThrow(result(libc.listen(fd, LISTEN_BACKLOG)), 'listen', subject);
    return { fd, port: boundPort(fd) };
  } catch (error) {
    libc.close(fd);
    throw error;
  }
}

/** Small messages are sent at once, and a peer that vanished is noticed in the end. 0, or a negative errno. */
export function setNoDelay(fd: number): number {
  const error = setOption(fd, IPPROTO_TCP, TCP_NODELAY);
  return error < 0 ? error : setOption(fd, SOL_SOCKET, SO_KEEPALIVE);
}

/** Fills `sockaddr` and returns its length. */
function setAddress(family: number, address: string, port: number): number {
  const isSix = family === AF_INET6;
  sockaddr.bytes.fill(0);
  sockaddr.view.setUint16(0, family, true);
  sockaddr.view.setUint16(SOCKADDR.port, port, false);
  const at = isSix ? SOCKADDR.address6 : SOCKADDR.address4;
  if (libc.inet_pton(family, Buffer.from(`${address}\0`), sockaddr.address + at) !== 1)
    throw new HostError('EINVAL', 'bind', `${address} is no IP address`);
  return isSix ? SOCKADDR.size6 : SOCKADDR.size4;
}

function setOption(fd: number, level: number, name: number): number {
  number.u32[0] = 1;
  return result(libc.setsockopt(fd, level, name, number.address, 4));
}

function boundPort(fd: number): number {
  number.u32[0] = SOCKADDR.size6;
  resultOrThrow(result(libc.getsockname(fd, sockaddr.address, number.address)), 'getsockname', 'TCP');
  return sockaddr.view.getUint16(SOCKADDR.port, false);
}
