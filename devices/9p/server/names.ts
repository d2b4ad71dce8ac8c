/** Checks of what a client gives as a name, before any file system sees it. Each answers 0 or a negative errno. */
import { Errno } from '../../errno.js';
import type { ByteString } from '../fs/file-system.js';

/** The name of a directory entry: one component, and no way to another directory. Its length was checked when it was decoded. */
export function checkEntryName(name: ByteString): number {
  if (name === '' || name === '.' || name === '..') return -Errno.EINVAL;
  return name.includes('/') || name.includes('\0') ? -Errno.EINVAL : 0;
}

/** The target of a symbolic link: any bytes but NUL, and not nothing. */
export function checkLinkTarget(target: ByteString): number {
  if (target === '') return -Errno.ENOENT;
  return target.includes('\0') ? -Errno.EINVAL : 0;
}

/** The name of an extended attribute. */
export function checkXattrName(name: ByteString): number {
  if (name === '') return -Errno.ERANGE;
  return name.includes('\0') ? -Errno.EINVAL : 0;
}
