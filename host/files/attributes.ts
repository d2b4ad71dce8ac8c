/**
 * Attributes of files: statx, mode, owner, times, size, file system.
 *
 * Functions whose name ends in OPath take descriptors opened with O_PATH, which the plain call refuses with
 * EBADF. All return 0 or a negative errno.
 */
import { result } from '../errors.js';
import * as libc from '../libc.js';
import type { Memory } from '../libc.js';
import { NativeBuffer } from '../native-buffer.js';
import { AT_FDCWD, AtFlags } from './constants.js';
import { procPath } from './proc-path.js';

const SYS_STATX = libc.syscallNumber('statx');
const EMPTY_PATH = new NativeBuffer(4);

/** Fills `out` (STATX_BYTES, laid out as STATX) for a path; `mask` of StatxMask. */
export function statx(dirFd: number, path: Memory, flags: number, mask: number, out: Memory): number {
  return result(libc.syscall_statx(SYS_STATX, dirFd, path, flags, mask, out));
}

/** As {@link statx}, of the file behind `fd`, O_PATH or not. */
export function fstatx(fd: number, flags: number, mask: number, out: Memory): number {
  return result(
    libc.syscall_statx(SYS_STATX, fd, EMPTY_PATH.address, flags | AtFlags.AT_EMPTY_PATH, mask, out),
  );
}

export function fchmod(fd: number, mode: number): number {
  return result(libc.fchmod(fd, mode));
}

/**
 * Follows symbolic links, as the system call has no flags: for a path that may name one, open it and use
 * fchmodOPath.
 */
export function fchmodat(dirFd: number, path: Memory, mode: number): number {
  return result(libc.fchmodat(dirFd, path, mode, 0));
}

/** -EOPNOTSUPP for a symbolic link on most file systems. */
export function fchmodOPath(fd: number, mode: number): number {
  return result(libc.fchmodat(AT_FDCWD, procPath(fd), mode, 0));
}

/** An owner of 0xffffffff is left as it is. */
export function fchownat(dirFd: number, path: Memory, uid: number, gid: number, flags: number): number {
  return result(libc.fchownat(dirFd, path, uid, gid, flags));
}

/** As {@link fchownat}, of the file behind `fd`, O_PATH or not. */
export function fchown(fd: number, uid: number, gid: number): number {
  return result(
    libc.fchownat(fd, EMPTY_PATH.address, uid, gid, AtFlags.AT_EMPTY_PATH | AtFlags.AT_SYMLINK_NOFOLLOW),
  );
}

/** `times` is UTIMENS_BYTES laid out as UTIMENS. */
export function utimensat(dirFd: number, path: Memory, times: Memory, flags: number): number {
  return result(libc.utimensat(dirFd, path, times, flags));
}

export function futimens(fd: number, times: Memory): number {
  return result(libc.futimens(fd, times));
}

export function futimensOPath(fd: number, times: Memory): number {
  return result(libc.utimensat(AT_FDCWD, procPath(fd), times, 0));
}

export function ftruncate(fd: number, length: number): number {
  return result(libc.ftruncate(fd, length));
}

export function ftruncateOPath(fd: number, length: number): number {
  return result(libc.truncate(procPath(fd), length));
}

/** Fills `out` (STATFS_BYTES, laid out as STATFS); `fd` may be O_PATH. */
export function fstatfs(fd: number, out: Memory): number {
  return result(libc.fstatfs(fd, out));
}

/** The process's effective user id. */
export function geteuid(): number {
  return libc.geteuid();
}
