/**
 * Attributes of files: statx, mode, owner, times, size, file system.
 *
 * Functions whose name ends in OPath take descriptors opened with O_PATH, which the plain call refuses with
 * EBADF. All return 0 or a negative errno.
 */
import { Errno, result } from '../errors.js';
import * as libc from '../libc.js';
import type { Memory } from '../libc.js';
import { NativeBuffer } from '../native-buffer.js';
import { AtFlags } from './constants.js';
import { procDirectory, procName, procPath } from './proc-path.js';

const SYS_STATX = libc.syscallNumber('statx');
const SYS_FCHMODAT2 = libc.syscallNumber('fchmodat2');
const EMPTY_PATH = new NativeBuffer(4);
const NO_FD = -1;

/** Whether an O_PATH descriptor can be named by AT_EMPTY_PATH, which takes half the time of its path in /proc; asked once. */
interface EmptyPathSupport {
  /** fchmodat2 (Linux 6.6). */
  readonly chmod: boolean;
  /** utimensat (Linux 5.8). */
  readonly utimens: boolean;
}
let emptyPath: EmptyPathSupport | undefined;

/** What knows the flag goes on to find that there is no such descriptor. */
function probeEmptyPath(): EmptyPathSupport {
  const address = EMPTY_PATH.address;
  const chmod = result(libc.syscall_fchmodat2(SYS_FCHMODAT2, NO_FD, address, 0, AtFlags.AT_EMPTY_PATH));
  const utimens = result(libc.utimensat(NO_FD, address, 0, AtFlags.AT_EMPTY_PATH));
  return { chmod: chmod === -Errno.EBADF, utimens: utimens === -Errno.EBADF };
}

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
  emptyPath ??= probeEmptyPath();
  if (emptyPath.chmod)
    return result(libc.syscall_fchmodat2(SYS_FCHMODAT2, fd, EMPTY_PATH.address, mode, AtFlags.AT_EMPTY_PATH));
  const name = procName(fd);
  return result(libc.fchmodat(procDirectory(), name, mode, 0));
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
  emptyPath ??= probeEmptyPath();
  if (emptyPath.utimens) return result(libc.utimensat(fd, EMPTY_PATH.address, times, AtFlags.AT_EMPTY_PATH));
  const name = procName(fd);
  return result(libc.utimensat(procDirectory(), name, times, 0));
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
