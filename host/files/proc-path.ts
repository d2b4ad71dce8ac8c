/**
 * `/proc/self/fd/N` as a path: how calls that take no O_PATH descriptor reach the file behind one. It is a
 * magic link, so nobody can swap the file meanwhile, and a symbolic link opened with O_PATH|O_NOFOLLOW is not
 * followed any further.
 */
import * as libc from '../libc.js';
import { NativeBuffer } from '../native-buffer.js';
import { AT_FDCWD, OpenFlags } from './constants.js';

const PREFIX = '/proc/self/fd/';
const NO_SUCH_FD = Buffer.from('-1\0');

// One buffer is enough: calls are synchronous, and none takes two of these paths.
const path = new NativeBuffer(32);
path.bytes.set(Buffer.from(PREFIX));

let directory: number | undefined;

/**
 * `/proc/self/fd`, opened once and kept: from there the kernel looks up one name instead of four, in three quarters of the time.
 * AT_FDCWD where it cannot be opened. Goes with {@link procName}.
 */
export function procDirectory(): number {
  directory ??= openDirectory();
  return directory;
}

function openDirectory(): number {
  path.bytes[PREFIX.length] = 0;
  const flags = OpenFlags.O_PATH | OpenFlags.O_DIRECTORY | OpenFlags.O_CLOEXEC;
  const fd = libc.openat(AT_FDCWD, path.address, flags, 0);
  return fd < 0 ? AT_FDCWD : fd;
}

/** The address of the NUL-terminated name of `fd` below {@link procDirectory}, good until the next call of a function here. */
export function procName(fd: number): number {
  const from = procDirectory() === AT_FDCWD ? 0 : PREFIX.length;
  return procPath(fd) + from;
}

/** The address of the NUL-terminated path of `fd`, good until the next call of this function. */
export function procPath(fd: number): number {
  const { bytes } = path;
  const number = fd | 0;
  if (number < 0) {
    bytes.set(NO_SUCH_FD, PREFIX.length);
    return path.address;
  }
  let end = PREFIX.length + 1;
  for (let rest = number; rest >= 10; rest = Math.trunc(rest / 10)) end++;
  bytes[end] = 0;
  let rest = number;
  for (let i = end - 1; i >= PREFIX.length; i--) {
    bytes[i] = 0x30 + (rest % 10);
    rest = Math.trunc(rest / 10);
  }
  return path.address;
}
