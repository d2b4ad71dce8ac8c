/** POSIX ACLs as extended attributes: a version[4], and entries of tag[2] perm[2] id[4], little-endian (linux/posix_acl_xattr.h). */
import { Errno, type Failure } from '../../../errno.js';
import type { ByteString } from '../file-system.js';

const VERSION_BYTES = 4;
const ENTRY_BYTES = 8;
const ID_OFFSET = 4;
const ACL_USER = 0x02;
const ACL_GROUP = 0x08;

export function isAcl(name: ByteString): boolean {
  return name === 'system.posix_acl_access' || name === 'system.posix_acl_default';
}

/** The same ACL with other ids, or the first failure that one of the functions answers; -EINVAL of what is no ACL. */
export function translateAcl(
  value: Uint8Array,
  uid: (id: number) => number,
  gid: (id: number) => number,
): Uint8Array | Failure {
  const entries = (value.length - VERSION_BYTES) / ENTRY_BYTES;
  if (!Number.isInteger(entries) || entries < 0) return -Errno.EINVAL;
  const translated = value.slice();
  const view = new DataView(translated.buffer, translated.byteOffset, translated.length);
  for (let at = VERSION_BYTES; at < value.length; at += ENTRY_BYTES) {
    const tag = view.getUint16(at, true);
    if (tag !== ACL_USER && tag !== ACL_GROUP) continue;
    const id = (tag === ACL_USER ? uid : gid)(view.getUint32(at + ID_OFFSET, true));
    if (id < 0) return id;
    view.setUint32(at + ID_OFFSET, id, true);
  }
  return translated;
}
