/**
 * Txattrwalk and Txattrcreate. An extended attribute's value passes through a fid of its own: read after Txattrwalk, written
 * after Txattrcreate and committed by Tclunk.
 */
import { Errno, isFailure, type Failure } from '../../../errno.js';
import type { MaybePromise } from '../../fs/file-system.js';
import { XATTR_SIZE_MAX_BYTES, XattrFlag } from '../../protocol/constants.js';
import { encodeRxattrwalk } from '../../protocol/replies.js';
import { andThen } from '../and-then.js';
import { Fid, held, type XattrValue } from '../fid.js';
import { checkXattrName } from '../names.js';
import type { Request } from '../request.js';
import type { Session } from '../session.js';

/** Makes newfid one of a value or, where the name is empty, of the list of names. */
export function xattrwalk(session: Session, r: Request): MaybePromise<number> {
  const { fid: number, newfid, name } = r.message;
  const fid = session.holdNode(r, number);
  if (isFailure(fid)) return fid;
  const refused = (name === '' ? 0 : checkXattrName(name)) || session.reserve(r, newfid);
  if (refused !== 0) return refused;
  if (!session.reserveXattr(r)) return -Errno.EMFILE;
  const answer = name === '' ? fid.node.listxattr() : fid.node.getxattr(name);
  return andThen(answer, session, r, xattrFound);
}

function xattrFound(session: Session, r: Request, value: Uint8Array | Failure): number {
  if (isFailure(value)) return value;
  const bytes = value;
  if (bytes.length > XATTR_SIZE_MAX_BYTES) return -Errno.E2BIG;
  session.establishXattr(r, { kind: 'read', name: r.message.name, flags: 0, value: bytes, writtenBytes: 0 });
  encodeRxattrwalk(r.writer, bytes.length);
  return 0;
}

/** Makes fid one of a value that is to be written. */
export function xattrcreate(session: Session, r: Request): MaybePromise<number> {
  const { fid: number, name, attrSizeBytes, flags } = r.message;
  const fid = session.holdNode(r, number);
  if (isFailure(fid)) return fid;
  const refused = checkXattrName(name) || checkXattr(attrSizeBytes, flags) || session.change(r, fid);
  if (refused !== 0) return refused;
  if (!session.reserveXattr(r)) return -Errno.EMFILE;
  const next = new Fid(number);
  fid.node.retain();
  next.establish(fid.node, fid.attachment);
  next.identify({ type: fid.qidType, version: 0, pathLow: fid.pathLow, pathHigh: fid.pathHigh }, fid.device);
  // Zeroed: bytes that are never written are not some earlier guest's.
  next.xattr = { kind: 'write', name, flags, value: new Uint8Array(attrSizeBytes), writtenBytes: 0 };
  r.xattrReserved = false;
  return session.replace(fid, next) ? 0 : -Errno.EBADF;
}

function checkXattr(sizeBytes: number, flags: number): number {
  if (sizeBytes > XATTR_SIZE_MAX_BYTES) return -Errno.E2BIG;
  const known = flags === 0 || flags === XattrFlag.XATTR_CREATE || flags === XattrFlag.XATTR_REPLACE;
  return known ? 0 : -Errno.EINVAL;
}

/**
 * Stores what was written, all of it. A size of 0 with XATTR_REPLACE is how Linux's client asks for removexattr(2); it is
 * the same as setxattr(2) of an empty value with that flag, which is much the rarer. Any other empty value is stored.
 */
export function commitXattr(fid: Fid, xattr: XattrValue): MaybePromise<number> {
  const node = held(fid).node;
  if (xattr.writtenBytes < xattr.value.length) return -Errno.EINVAL;
  const removes = xattr.value.length === 0 && xattr.flags === XattrFlag.XATTR_REPLACE;
  return removes ? node.removexattr(xattr.name) : node.setxattr(xattr.name, xattr.value, xattr.flags);
}
