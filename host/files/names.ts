/**
 * Names in directories: opening, creating, linking, renaming, removing, listing.
 *
 * Every path is NUL-terminated bytes in memory of the caller (a Uint8Array, or an address: 50 ns faster),
 * relative to a directory descriptor. All return a result >= 0 or a negative errno.
 */
import { Errno, result } from '../errors.js';
import * as libc from '../libc.js';
import type { Memory } from '../libc.js';
import { addressOf, NativeBuffer } from '../native-buffer.js';
import { AT_FDCWD, AtFlags, OpenFlags } from './constants.js';
import { submit, type Completion } from './on-thread.js';
import { procDirectory, procName } from './proc-path.js';

const { O_CLOEXEC } = OpenFlags;

/** struct open_how: flags[8] mode[8] resolve[8]. */
const OPEN_HOW = { flags: 0, mode: 8, resolve: 16, size: 24 } as const;
const openHow = new NativeBuffer(OPEN_HOW.size);

const SYS_OPENAT2 = libc.syscallNumber('openat2');
const SYS_RENAMEAT2 = libc.syscallNumber('renameat2');
const SYS_MKNODAT = libc.syscallNumber('mknodat');
const SYS_GETDENTS64 = libc.syscallNumber('getdents64');

/**
 * open(2) from `dirFd`; always close-on-exec. `mode` matters with O_CREAT and O_TMPFILE only.
 *
 * @returns an fd
 */
export function openat(dirFd: number, path: Memory, flags: number, mode: number): number {
  return result(libc.openat(dirFd, path, flags | O_CLOEXEC, mode));
}

/**
 * As {@link openat}, with ResolveFlags held by the kernel for the whole path. Unlike openat, unknown flags
 * and a mode without O_CREAT are -EINVAL. -EXDEV: the path leaves `dirFd`; -ELOOP: a symbolic link; -EAGAIN:
 * a rename raced with `..`, try again.
 */
export function openat2(dirFd: number, path: Memory, flags: number, mode: number, resolve: number): number {
  openHow.u32[OPEN_HOW.flags / 4] = flags | O_CLOEXEC;
  openHow.u32[OPEN_HOW.mode / 4] = mode;
  openHow.u32[OPEN_HOW.resolve / 4] = resolve;
  return result(libc.syscall_openat2(SYS_OPENAT2, dirFd, path, openHow.address, OPEN_HOW.size));
}

let openat2Works: boolean | undefined;

/** Whether the kernel has openat2 (Linux 5.6) and a seccomp filter allows it; asked once. */
export function hasOpenat2(): boolean {
  openat2Works ??= probeOpenat2();
  return openat2Works;
}

function probeOpenat2(): boolean {
  // A structure of no bytes is invalid: EINVAL from a kernel that has the call, ENOSYS or EPERM otherwise.
  return result(libc.syscall_openat2(SYS_OPENAT2, AT_FDCWD, 0, 0, 0)) === -Errno.EINVAL;
}

/**
 * Opens the file behind an O_PATH descriptor again, such as for reading. Call it on regular files and
 * directories only.
 */
export function reopen(fd: number, flags: number): number {
  const name = procName(fd);
  return result(libc.openat(procDirectory(), name, flags | O_CLOEXEC, 0));
}

export function mkdirat(dirFd: number, path: Memory, mode: number): number {
  return result(libc.mkdirat(dirFd, path, mode));
}

/** `device` as made by {@link makeDevice}; 0 but for device nodes. */
export function mknodat(dirFd: number, path: Memory, mode: number, device: number): number {
  return result(libc.syscall_mknodat(SYS_MKNODAT, dirFd, path, mode, device));
}

/** A device number in the form that mknod(2) takes from user space: 12 bits of major and 20 of minor. */
export function makeDevice(major: number, minor: number): number {
  return ((minor & 0xff) | ((major & 0xfff) << 8) | ((minor & 0xfff00) << 12)) >>> 0;
}

export function symlinkat(target: Memory, dirFd: number, path: Memory): number {
  return result(libc.symlinkat(target, dirFd, path));
}

export function linkat(
  oldDirFd: number,
  oldPath: Memory,
  newDirFd: number,
  newPath: Memory,
  flags: number,
): number {
  return result(libc.linkat(oldDirFd, oldPath, newDirFd, newPath, flags));
}

/** A new name for the file behind `fd`, O_PATH or not; needs no privilege, which AT_EMPTY_PATH would. */
export function linkFd(fd: number, newDirFd: number, newPath: Memory): number {
  const name = procName(fd);
  return result(libc.linkat(procDirectory(), name, newDirFd, newPath, AtFlags.AT_SYMLINK_FOLLOW));
}

/** `flags` 0 for a file, AT_REMOVEDIR for a directory. */
export function unlinkat(dirFd: number, path: Memory, flags: number): number {
  return result(libc.unlinkat(dirFd, path, flags));
}

export function renameat2(
  oldDirFd: number,
  oldPath: Memory,
  newDirFd: number,
  newPath: Memory,
  flags: number,
): number {
  return result(libc.syscall_renameat2(SYS_RENAMEAT2, oldDirFd, oldPath, newDirFd, newPath, flags));
}

/**
 * The target's length, cut to `length` bytes, without a NUL. An empty path names the link opened as `dirFd`.
 */
export function readlinkat(dirFd: number, path: Memory, target: Memory, length: number): number {
  return result(libc.readlinkat(dirFd, path, target, length));
}

/**
 * Fills `buffer` with whole entries (see DIRENT64) from the directory's position.
 *
 * @returns bytes, 0 at the end
 */
export function getdents64(fd: number, buffer: Memory, length: number): number {
  return result(libc.syscall_getdents64(SYS_GETDENTS64, fd, buffer, length));
}

/** {@link getdents64} on a thread. Until `done`, which is called once, `buffer` and `fd` stay untouched. */
export function getdents64Async(fd: number, buffer: Uint8Array, length: number, done: Completion): void {
  submit(
    (settle) => {
      libc.syscall_getdents64.async(SYS_GETDENTS64, fd, addressOf(buffer), length, settle);
    },
    (_error, value) => {
      void buffer;
      done(result(value));
    },
    () => getdents64(fd, buffer, length),
    done,
  );
}
