/** Tmkdir, Tsymlink, Tmknod, Tlink, Tunlinkat, Trename, Trenameat: the entries of directories. */
import { Errno, isFailure, type Failure } from '../../../errno.js';
import type { FsNode, MaybePromise, Owner } from '../../fs/file-system.js';
import { AT_REMOVEDIR } from '../../protocol/constants.js';
import { encodeQid } from '../../protocol/replies.js';
import { andThen } from '../and-then.js';
import type { NodeFid } from '../fid.js';
import { checkEntryName, checkLinkTarget } from '../names.js';
import type { Request } from '../request.js';
import type { Session } from '../session.js';

const MODE_BITS = 0o7777;
const MODE_AND_FORMAT_BITS = 0o177777;
/** Linux has 12 bits of major and 20 of minor number. */
export const MAJOR_MAX = 0xfff;
export const MINOR_MAX = 0xfffff;

export function mkdir(session: Session, r: Request): MaybePromise<number> {
  const m = r.message;
  const directory = holdForName(session, r);
  if (isFailure(directory)) return directory;
  r.attributes.filled = false;
  const answer = directory.node.mkdir(m.name, m.mode & MODE_BITS, ownerFor(directory, r), r.attributes);
  return andThen(answer, session, r, made);
}

export function symlink(session: Session, r: Request): MaybePromise<number> {
  const m = r.message;
  const directory = holdForName(session, r);
  if (isFailure(directory)) return directory;
  const refused = checkLinkTarget(m.symtgt);
  if (refused !== 0) return refused;
  r.attributes.filled = false;
  const answer = directory.node.symlink(m.name, m.symtgt, ownerFor(directory, r), r.attributes);
  return andThen(answer, session, r, made);
}

export function mknod(session: Session, r: Request): MaybePromise<number> {
  const m = r.message;
  const directory = holdForName(session, r);
  if (isFailure(directory)) return directory;
  if (m.major > MAJOR_MAX || m.minor > MINOR_MAX) return -Errno.EINVAL;
  const mode = m.mode & MODE_AND_FORMAT_BITS;
  const rdev = makedev(m.major, m.minor);
  r.attributes.filled = false;
  const answer = directory.node.mknod(m.name, mode, rdev, ownerFor(directory, r), r.attributes);
  return andThen(answer, session, r, made);
}

/** The directory, for a request that makes or removes its `name` there. */
function holdForName(session: Session, r: Request): NodeFid | Failure {
  const directory = session.holdDirectory(r, r.message.dfid);
  if (isFailure(directory)) return directory;
  const refused = checkEntryName(r.message.name);
  return refused === 0 ? directory : refused;
}

function ownerFor(directory: NodeFid, r: Request): Owner {
  return { uid: directory.attachment.uid, gid: r.message.gid };
}

/** `makedev(3)` of glibc. */
export function makedev(major: number, minor: number): number {
  return ((major << 8) | (minor & 0xff) | ((minor & ~0xff) << 12)) >>> 0;
}

/** What the file's maker is answered, where it was made before. */
export function madeBefore(session: Session, r: Request): MaybePromise<number> {
  const directory = holdForName(session, r);
  if (isFailure(directory)) return directory;
  r.attributes.filled = false;
  return andThen(directory.node.walk(r.message.name, r.attributes), session, r, made);
}

/** The new file's qid is all that the client learns; no fid is made. */
function made(session: Session, r: Request, node: FsNode | Failure): MaybePromise<number> {
  if (isFailure(node)) return node;
  r.ownedNode = node;
  if (r.attributes.filled) return madeReply(session, r, 0);
  return andThen(node.getattr(r.attributes), session, r, madeReply);
}

function madeReply(session: Session, r: Request, answer: number): number {
  const failure = answer < 0 ? answer : session.qids.map(r.attributes, r.qid);
  if (failure < 0) return failure;
  encodeQid(r.writer, r.qid);
  return 0;
}

export function link(session: Session, r: Request): MaybePromise<number> {
  const directory = holdForName(session, r);
  if (isFailure(directory)) return directory;
  const target = session.holdNode(r, r.message.fid);
  if (isFailure(target)) return target;
  return directory.node.link(r.message.name, target.node);
}

export function unlinkat(session: Session, r: Request): MaybePromise<number> {
  const { name, flags } = r.message;
  const directory = holdForName(session, r);
  if (isFailure(directory)) return directory;
  if ((flags & ~AT_REMOVEDIR) !== 0) return -Errno.EINVAL;
  return directory.node.unlink(name, (flags & AT_REMOVEDIR) !== 0);
}

export function rename(session: Session, r: Request): MaybePromise<number> {
  const directory = holdForName(session, r);
  if (isFailure(directory)) return directory;
  const fid = session.holdNode(r, r.message.fid);
  if (isFailure(fid)) return fid;
  return fid.isAttachRoot ? -Errno.EBUSY : fid.node.renameTo(directory.node, r.message.name);
}

export function renameat(session: Session, r: Request): MaybePromise<number> {
  const { fid, name, newname } = r.message;
  const target = holdForName(session, r);
  if (isFailure(target)) return target;
  const source = session.holdNode(r, fid);
  if (isFailure(source)) return source;
  if (!source.isDirectory) return -Errno.ENOTDIR;
  const refused = checkEntryName(newname);
  return refused === 0 ? source.node.rename(name, target.node, newname) : refused;
}
