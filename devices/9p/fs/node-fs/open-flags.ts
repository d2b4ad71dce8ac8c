/** The guest's open flags in the object's numbers. */
import { Errno } from '../../../errno.js';
import { OpenFlag } from '../file-system.js';
import type { NodeFsConstants } from './node-fs-like.js';

/** Linux on x86-64: what memfs uses. */
const LINUX_CONSTANTS: NodeFsConstants = OpenFlag;

/** Flags in turn: ours, and what they are called in `fs.constants`. */
const PASSED_ON = ['O_CREAT', 'O_EXCL', 'O_TRUNC', 'O_APPEND', 'O_SYNC', 'O_DSYNC'] as const;
const ACCESS_MODES = ['O_RDONLY', 'O_WRONLY', 'O_RDWR'] as const;

/**
 * -EINVAL for an access mode that is none. Symbolic links are never followed, and FIFOs never waited for, as far as the
 * object knows these flags; what is opened has been looked at before.
 */
export function objectFlags(flags: number, constants: NodeFsConstants = LINUX_CONSTANTS): number {
  const access = flags & OpenFlag.O_ACCMODE;
  if (access === OpenFlag.O_ACCMODE) return -Errno.EINVAL;
  let result = constants[ACCESS_MODES[access]] | (constants.O_NOFOLLOW ?? 0) | (constants.O_NONBLOCK ?? 0);
  for (const name of PASSED_ON) if ((flags & OpenFlag[name]) !== 0) result |= constants[name] ?? 0;
  return result;
}
