/** File descriptors as such: closing, and the flags of descriptors that a peer handed over. */
import { constants } from 'node:fs';
import { result } from './errors.js';
import * as libc from './libc.js';

const F_DUPFD_CLOEXEC = 1030;
const F_GETFL = 3;
const F_SETFL = 4;

/** 0, or a negative errno; the number is free again either way. */
export function closeFd(fd: number): number {
  return result(libc.close(fd));
}

/** Another descriptor of the same open file, which is the caller's, or a negative errno. */
export function duplicateFd(fd: number): number {
  return result(libc.fcntl(fd, F_DUPFD_CLOEXEC, 0));
}

/** The access mode and status flags that a file was opened with, or a negative errno. */
export function statusFlags(fd: number): number {
  return result(libc.fcntl(fd, F_GETFL, 0));
}

/** Sets O_NONBLOCK on the open file, which every process holding a duplicate shares. */
export function setNonBlocking(fd: number): number {
  const flags = statusFlags(fd);
  return flags < 0 ? flags : result(libc.fcntl(fd, F_SETFL, flags | constants.O_NONBLOCK));
}

/** Clears it, for a program that is given the descriptor and counts on waiting. */
export function setBlocking(fd: number): number {
  const flags = statusFlags(fd);
  return flags < 0 ? flags : result(libc.fcntl(fd, F_SETFL, flags & ~constants.O_NONBLOCK));
}
