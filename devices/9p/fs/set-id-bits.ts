/** Rules for set-user-id and set-group-id bits, as Linux has them. */
import { FileMode } from './file-system.js';

const S_IXGRP = 0o010;

export const SET_ID_BITS = FileMode.S_ISUID | FileMode.S_ISGID;

/** `mode` after the file was written or given away: set-group-id without group execution means mandatory locking, and stays. */
export function withoutSetId(mode: number): number {
  const kept = mode & ~FileMode.S_ISUID;
  return (mode & S_IXGRP) === 0 ? kept : kept & ~FileMode.S_ISGID;
}

/**
 * The mode of a new file. In a set-group-id directory the file gets the directory's group, of which its maker need not be a
 * member: an executable one would lend that group to them (CVE-2022-0358). We cannot know the guest's groups, so only its
 * root keeps the bit. Directories hand the bit on.
 */
export function modeOfNew(mode: number, isDirectory: boolean, inheritsGroup: boolean, uid: number): number {
  const permissions = mode & 0o7777;
  if (!inheritsGroup) return permissions;
  if (isDirectory) return permissions | FileMode.S_ISGID;
  const lends = (mode & S_IXGRP) !== 0 && uid !== 0;
  return lends ? permissions & ~FileMode.S_ISGID : permissions;
}
