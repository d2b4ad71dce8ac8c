/**
 * Owners and permissions that the object is not told of. An object like memfs checks them against its own process, whoever that
 * runs as: a file that the guest gives to its user 1000 would be closed to us, who serve root's requests, too.
 */
import type { Attributes } from '../file-system.js';

const PERMISSION_BITS = 0o7777;

export interface KeptAttributes {
  permissions: number;
  uid: number;
  gid: number;
}

/** What files and directories are made with, so that the object never says no. */
export const OPEN_TO_ALL = 0o777;

export function applyKept(kept: KeptAttributes | undefined, out: Attributes): void {
  if (kept === undefined) return;
  out.mode = (out.mode & ~PERMISSION_BITS) | kept.permissions;
  out.uid = kept.uid;
  out.gid = kept.gid;
}
