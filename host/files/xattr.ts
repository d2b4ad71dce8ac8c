/**
 * Extended attributes. Names are NUL-terminated; a size of 0 asks how much room is needed. Results are bytes,
 * 0, or a negative errno: -ENODATA (61) for a missing attribute, -ERANGE (34) for too little room,
 * -EOPNOTSUPP.
 *
 * The OPath variants reach files that were opened with O_PATH, which the plain calls refuse with EBADF.
 */
import { result } from '../errors.js';
import * as libc from '../libc.js';
import type { Memory } from '../libc.js';
import { procPath } from './proc-path.js';

export function fgetxattr(fd: number, name: Memory, value: Memory, size: number): number {
  return result(libc.fgetxattr(fd, name, value, size));
}

/** `flags` of XattrFlags: 0 creates or replaces. */
export function fsetxattr(fd: number, name: Memory, value: Memory, size: number, flags: number): number {
  return result(libc.fsetxattr(fd, name, value, size, flags));
}

/** Fills `list` with NUL-terminated names. */
export function flistxattr(fd: number, list: Memory, size: number): number {
  return result(libc.flistxattr(fd, list, size));
}

export function fremovexattr(fd: number, name: Memory): number {
  return result(libc.fremovexattr(fd, name));
}

export function fgetxattrOPath(fd: number, name: Memory, value: Memory, size: number): number {
  return result(libc.getxattr(procPath(fd), name, value, size));
}

export function fsetxattrOPath(fd: number, name: Memory, value: Memory, size: number, flags: number): number {
  return result(libc.setxattr(procPath(fd), name, value, size, flags));
}

export function flistxattrOPath(fd: number, list: Memory, size: number): number {
  return result(libc.listxattr(procPath(fd), list, size));
}

export function fremovexattrOPath(fd: number, name: Memory): number {
  return result(libc.removexattr(procPath(fd), name));
}
