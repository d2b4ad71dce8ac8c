/**
 * Extended attributes by policy: `user.*` and POSIX ACLs cross, nothing else does. `security.*` and `trusted.*` mean something to
 * the host's own kernel (file capabilities, labels, overlayfs), so the guest neither sees nor sets them.
 */
import {
  fgetxattrOPath,
  flistxattrOPath,
  fremovexattrOPath,
  fsetxattrOPath,
} from '../../../../host/index.js';
import { Errno, type Failure } from '../../../errno.js';
import type { ByteString } from '../file-system.js';
import type { ExportContext } from './export-context.js';
import { scratch, XATTR_MAX_BYTES } from './scratch.js';

const USER_PREFIX = 'user.';
const ACL_NAMES: readonly ByteString[] = ['system.posix_acl_access', 'system.posix_acl_default'];
const NUL = 0;

function crosses(name: ByteString): boolean {
  return name.startsWith(USER_PREFIX) || ACL_NAMES.includes(name);
}

/** Puts a name that crosses into `context.name`. */
function setName(context: ExportContext, name: ByteString): number {
  return crosses(name) ? context.name.setAttributeName(name) : -Errno.EOPNOTSUPP;
}

export function getxattr(context: ExportContext, fd: number, name: ByteString): Uint8Array | Failure {
  const refused = setName(context, name);
  if (refused < 0) return refused;
  const buffer = scratch.attributeValue;
  const size = fgetxattrOPath(fd, context.name.address, buffer, XATTR_MAX_BYTES);
  return size < 0 ? size : new Uint8Array(buffer.subarray(0, size));
}

export function listxattr(fd: number): Uint8Array | Failure {
  const buffer = scratch.attributeValue;
  const size = flistxattrOPath(fd, buffer, XATTR_MAX_BYTES);
  if (size < 0) return size;
  const crossing: Buffer[] = [];
  for (let start = 0, end: number; start < size; start = end) {
    end = buffer.indexOf(NUL, start) + 1;
    if (crosses(buffer.toString('latin1', start, end - 1))) crossing.push(buffer.subarray(start, end));
  }
  return new Uint8Array(Buffer.concat(crossing));
}

export function setxattr(
  context: ExportContext,
  fd: number,
  name: ByteString,
  value: Uint8Array,
  flags: number,
): number {
  const refused = setName(context, name);
  if (refused < 0) return refused;
  if (value.byteLength > XATTR_MAX_BYTES) return -Errno.E2BIG;
  return fsetxattrOPath(fd, context.name.address, value, value.byteLength, flags);
}

export function removexattr(context: ExportContext, fd: number, name: ByteString): number {
  const refused = setName(context, name);
  return refused < 0 ? refused : fremovexattrOPath(fd, context.name.address);
}
