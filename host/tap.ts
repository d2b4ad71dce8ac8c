/** TAP devices (linux/if_tun.h): a network interface of the host whose cable ends in this process. */
import { constants } from 'node:fs';
import { HostError, result, resultOrThrow } from './errors.js';
import * as libc from './libc.js';
import { addressOf, NativeBuffer, pinned } from './native-buffer.js';

const AT_FDCWD = -100;
const O_CLOEXEC = 0o2000000;
const TUNSETIFF = 0x400454ca;
const TUNSETOFFLOAD = 0x400454d0;
const TUNSETVNETHDRSZ = 0x400454d8;
const IFF_TAP = 0x0002;
const IFF_NO_PI = 0x1000;
const IFF_VNET_HDR = 0x4000;

/** struct ifreq: name[16] flags[2] …; 40 bytes on 64-bit machines. */
const IFREQ = { flags: 16, size: 40 } as const;
const IFNAMSIZ = 16;

/** What the kernel may leave undone in the frames that it hands out: bits for {@link tapSetOffloads}. */
export const TapOffload = {
  TUN_F_CSUM: 0x01,
  TUN_F_TSO4: 0x02,
  TUN_F_TSO6: 0x04,
  TUN_F_TSO_ECN: 0x08,
  TUN_F_USO4: 0x20,
  TUN_F_USO6: 0x40,
} as const;

/** What a device has that nobody set otherwise: struct virtio_net_hdr without the number of buffers. */
const DEFAULT_HEADER_BYTES = 10;

/** Frames come and go behind a struct virtio_net_hdr of this many bytes. */
export const TAP_HEADER_BYTES = 12;

const tunPath = Buffer.from('/dev/net/tun\0');

/**
 * Opens the TAP device `name`, or makes it where that is allowed: non-blocking, with a header before each frame.
 *
 * @throws HostError EINVAL for no name of an interface, ENOENT without the kernel's driver, EPERM, EBUSY (in use), …
 */
export function openTap(name: string): number {
  const bytes = Buffer.from(name);
  if (bytes.length === 0 || bytes.length >= IFNAMSIZ || !/^[^\s/%]+$/.test(name)) {
    throw new HostError('EINVAL', 'ioctl', `${name} is no name of a network interface`);
  }
  const flags = constants.O_RDWR | constants.O_NONBLOCK | O_CLOEXEC;
  const fd = resultOrThrow(result(libc.openat(AT_FDCWD, tunPath, flags, 0)), 'open', '/dev/net/tun');
  try {
    setInterface(fd, name, bytes);
    return fd;
  } catch (error) {
    libc.close(fd);
    throw error;
  }
}

function setInterface(fd: number, name: string, bytes: Uint8Array): void {
  const ifreq = new NativeBuffer(IFREQ.size);
  ifreq.bytes.set(bytes);
  ifreq.view.setUint16(IFREQ.flags, IFF_TAP | IFF_NO_PI | IFF_VNET_HDR, true);
  resultOrThrow(result(libc.ioctl(fd, TUNSETIFF, ifreq.address)), 'TUNSETIFF', name);
  resultOrThrow(setHeaderBytes(fd, TAP_HEADER_BYTES), 'TUNSETVNETHDRSZ', name);
}

function setHeaderBytes(fd: number, headerBytes: number): number {
  const argument = new NativeBuffer(4);
  argument.view.setInt32(0, headerBytes, true);
  return result(libc.ioctl(fd, TUNSETVNETHDRSZ, argument.address));
}

/**
 * Closes a device. One that stays keeps what was set for the next program, which may not know that there is anything to set: so that
 * is undone. (Whether frames have headers at all, each program says when it opens a device.)
 */
export function closeTap(fd: number): void {
  tapSetOffloads(fd, 0);
  setHeaderBytes(fd, DEFAULT_HEADER_BYTES);
  libc.close(fd);
}

/** Sets what the kernel may leave undone, as bits of {@link TapOffload}. 0, or -EINVAL where it does not know one of them. */
export function tapSetOffloads(fd: number, offloads: number): number {
  return result(libc.ioctl(fd, TUNSETOFFLOAD, offloads));
}

/** Reads one header and frame, cut to the length of `buffer`. Bytes, or -EAGAIN, or another negative errno. */
export function tapRead(fd: number, buffer: Uint8Array): number {
  pinned.view = buffer;
  const bytes = result(libc.read(fd, addressOf(buffer), buffer.length));
  pinned.view = null;
  return bytes;
}

/** Writes one header and frame: the first `lengthBytes` bytes of `buffer`. Bytes, or a negative errno. */
export function tapWrite(fd: number, buffer: Uint8Array, lengthBytes: number): number {
  if (!(lengthBytes >= 0 && lengthBytes <= buffer.length)) {
    throw new RangeError(`${lengthBytes} bytes of a buffer of ${buffer.length}`);
  }
  pinned.view = buffer;
  const bytes = result(libc.write(fd, addressOf(buffer), lengthBytes));
  pinned.view = null;
  return bytes;
}
