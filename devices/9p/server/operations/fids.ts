/** Tauth, Tattach, Twalk, Tclunk, Tremove: how fids come and go. */
import { Errno, isFailure, type Failure } from '../../../errno.js';
import { isPromise, type ByteString, type FsNode, type MaybePromise } from '../../fs/file-system.js';
import { P9_NOFID, QID_BYTES, QidType, HEADER_BYTES } from '../../protocol/constants.js';
import { encodeQid, encodeRwalk } from '../../protocol/replies.js';
import { andThen } from '../and-then.js';
import { Fid, held } from '../fid.js';
import { checkEntryName } from '../names.js';
import { takeNode, type Request } from '../request.js';
import type { Session } from '../session.js';
import { commitXattr } from './xattr.js';

/** Most directories that an aname may name in turn: each is a step on the stack where the file system answers at once. */
const ANAME_DEPTH_MAX = 128;
/** Size of Rwalk up to its first qid. */
const RWALK_HEADER_BYTES = HEADER_BYTES + 2;

/** There is no authentication: who reaches the transport has the mount. ENOENT is how clients know that they need none. */
export function auth(): number {
  return -Errno.ENOENT;
}

/** Attaches to the root or, where aname is a path, to what is there below it. */
export function attach(session: Session, r: Request): MaybePromise<number> {
  const m = r.message;
  if (m.afid !== P9_NOFID) return -Errno.EINVAL;
  const failure = splitPath(r);
  if (failure !== 0) return failure;
  const refused = session.reserve(r, m.fid);
  if (refused !== 0) return refused;
  return andThen(session.fs.attach(), session, r, enterRoot);
}

function splitPath(r: Request): number {
  const m = r.message;
  m.nwname = 0;
  for (const name of m.aname.split('/')) {
    if (name === '' || name === '.') continue;
    const failure = checkEntryName(name);
    if (failure !== 0) return failure;
    m.wnames[m.nwname++] = name;
  }
  if (m.nwname > ANAME_DEPTH_MAX) return -Errno.ENAMETOOLONG;
  return 0;
}

function enterRoot(session: Session, r: Request, root: FsNode | Failure): MaybePromise<number> {
  if (isFailure(root)) return root;
  r.ownedNode = root;
  return andThen(root.getattr(r.attributes), session, r, enterPath);
}

function enterPath(session: Session, r: Request, answer: number): MaybePromise<number> {
  const failure = identify(session, r, answer);
  return failure < 0 ? failure : andThen(descend(session, r), session, r, attached);
}

function attached(session: Session, r: Request, answer: number): number {
  if (answer < 0) return answer;
  const { pathLow, pathHigh } = r.qid;
  const attachment = { uid: r.message.nUname, pathLow, pathHigh };
  session.establish(r, takeNode(r), attachment);
  r.writer.reset(HEADER_BYTES);
  encodeQid(r.writer, r.qid);
  return 0;
}

/** Walks from fid by up to 16 names. Newfid comes to be only where all of them were found. */
export function walk(session: Session, r: Request): MaybePromise<number> {
  const m = r.message;
  const fid = session.holdNode(r, m.fid);
  if (isFailure(fid)) return fid;
  if (r.roomBytes < RWALK_HEADER_BYTES + m.nwname * QID_BYTES) return -Errno.EMSGSIZE;
  for (let i = 0; i < m.nwname; i++) {
    const failure = m.wnames[i] === '..' ? 0 : checkEntryName(m.wnames[i]);
    if (failure !== 0) return failure;
  }
  const refused = m.newfid === m.fid ? session.change(r, fid) : session.reserve(r, m.newfid);
  if (refused !== 0) return refused;
  r.qid.type = fid.qidType;
  r.qid.pathLow = fid.pathLow;
  r.qid.pathHigh = fid.pathHigh;
  r.attributes.device = fid.device;
  r.writer.reset(RWALK_HEADER_BYTES);
  return andThen(descend(session, r), session, r, walkedAll);
}

/** Where all names were found, makes newfid; where only some were, answers their qids; where none was, why. */
function walkedAll(session: Session, r: Request, answer: number): number {
  const found = r.walked;
  if (answer < 0 && found === 0) return answer;
  encodeRwalk(r.writer, found);
  return answer < 0 ? 0 : makeNewfid(session, r);
}

function makeNewfid(session: Session, r: Request): number {
  const from = held(r.fid);
  if (r.ownedNode === undefined) {
    // A walk by no names is a clone: another reference to the same node.
    from.node.retain();
    r.ownedNode = from.node;
  }
  const node = takeNode(r);
  const name = lastName(r, from);
  if (r.reserved !== undefined) {
    r.reserved.name = name;
    session.establish(r, node, from.attachment);
    return 0;
  }
  const next = new Fid(from.number);
  next.name = name;
  next.establish(node, from.attachment);
  next.identify(r.qid, r.attributes.device);
  return session.replace(from, next) ? 0 : -Errno.EBADF;
}

/** The name that the walk ended with. */
function lastName(r: Request, from: Fid): ByteString {
  const { nwname, wnames } = r.message;
  if (nwname === 0) return from.name;
  const last = wnames[nwname - 1];
  return last === '..' ? '' : last;
}

/** Goes on from the request's node by the next of its names. `walked` counts those found, whose qids are in the reply. */
function descend(session: Session, r: Request): MaybePromise<number> {
  const m = r.message;
  if (r.walked === m.nwname) return 0;
  if ((r.qid.type & QidType.P9_QTDIR) === 0) return -Errno.ENOTDIR;
  const from = r.ownedNode ?? held(r.fid).node;
  const name = m.wnames[r.walked];
  r.attributes.filled = false;
  if (name !== '..') {
    const answer = from.walk(name, r.attributes);
    return isPromise(answer) ? andThen(answer, session, r, descended) : descended(session, r, answer);
  }
  const root = r.fid?.attachment;
  if (root?.pathLow !== r.qid.pathLow || root.pathHigh !== r.qid.pathHigh)
    return andThen(from.parent(), session, r, descended);
  from.retain();
  return descended(session, r, from);
}

function descended(session: Session, r: Request, node: FsNode | Failure): MaybePromise<number> {
  if (isFailure(node)) return node;
  if (r.ownedNode !== undefined) session.releaseNode(r.ownedNode);
  r.ownedNode = node;
  // Most file systems that answer a walk have seen the attributes.
  if (r.attributes.filled) return descendFurther(session, r, 0);
  return andThen(node.getattr(r.attributes), session, r, descendFurther);
}

function descendFurther(session: Session, r: Request, answer: number): MaybePromise<number> {
  const failure = identify(session, r, answer);
  if (failure < 0) return failure;
  encodeQid(r.writer, r.qid);
  r.walked++;
  return descend(session, r);
}

/** The qid of the attributes that a getattr answered with. */
function identify(session: Session, r: Request, answer: number): number {
  return answer < 0 ? answer : session.qids.map(r.attributes, r.qid);
}

/** Gives the fid up, whatever else happens. Answers once its file is closed, unless other requests still use it. */
export function clunk(session: Session, r: Request): MaybePromise<number> {
  const fid = session.remove(r.message.fid);
  if (fid === undefined) return -Errno.EBADF;
  // The table's hold is the request's now: it ends with the request even where the commit throws.
  r.fid = fid;
  if (fid.xattr?.kind === 'write') return commitXattr(fid, fid.xattr);
  if (fid.removeOnClunk && fid.node !== undefined) return andThen(fid.node.remove(), session, r, () => 0);
  r.fid = undefined;
  const closed = session.release(fid);
  return isPromise(closed) ? closed.then(() => 0) : 0;
}

/** Removes the file that the fid names, and gives the fid up even where that fails. */
export function remove(session: Session, r: Request): MaybePromise<number> {
  const fid = session.remove(r.message.fid);
  if (fid === undefined) return -Errno.EBADF;
  r.fid = fid;
  if (fid.node === undefined || fid.xattr !== undefined) return -Errno.EBADF;
  if (session.options.readOnly) return -Errno.EROFS;
  return fid.isAttachRoot ? -Errno.EBUSY : fid.node.remove();
}
