/** Tgetattr, Tsetattr, Tstatfs, Treadlink. Through the open file where there is one: it may have no name any more. */
import { Errno, isFailure, type Failure } from '../../../errno.js';
import { SetAttr } from '../../fs/file-system.js';
import type { AttributeChanges, ByteString, FsNode, MaybePromise, OpenFile } from '../../fs/file-system.js';
import { P9_GETATTR_BASIC, P9_GETATTR_BTIME } from '../../protocol/constants.js';
import { encodeRgetattr, encodeRreadlink, encodeRstatfs } from '../../protocol/replies.js';
import { andThen } from '../and-then.js';
import type { NodeFid } from '../fid.js';
import type { Request } from '../request.js';
import type { Session } from '../session.js';

const SETATTR_ALL = 0x1ff;

export function getattr(session: Session, r: Request): MaybePromise<number> {
  const fid = session.holdNode(r, r.message.fid);
  if (isFailure(fid)) return fid;
  r.attributes.hasBtime = false;
  const answer = (fid.file ?? fid.node).getattr(r.attributes);
  return typeof answer === 'number'
    ? getattrReply(session, r, answer)
    : andThen(answer, session, r, getattrReply);
}

function getattrReply(session: Session, r: Request, answer: number): number {
  const failure = answer < 0 ? answer : session.qids.map(r.attributes, r.qid);
  if (failure < 0) return failure;
  const known = r.attributes.hasBtime ? P9_GETATTR_BASIC | P9_GETATTR_BTIME : P9_GETATTR_BASIC;
  encodeRgetattr(r.writer, r.message.requestMask & known, r.qid, r.attributes);
  return 0;
}

export function setattr(session: Session, r: Request): MaybePromise<number> {
  const changes = r.message.changes;
  const fid = session.holdNode(r, r.message.fid);
  if (isFailure(fid)) return fid;
  if ((changes.valid & ~SETATTR_ALL) !== 0) return -Errno.EINVAL;
  return settable(fid, changes).setattr(changes);
}

/** The open file, but not to truncate it where it is open for reading: for truncate(2) Linux's client takes any fid it has. */
export function settable(fid: NodeFid, changes: AttributeChanges): OpenFile | FsNode {
  const truncates = (changes.valid & SetAttr.P9_ATTR_SIZE) !== 0;
  return fid.file === undefined || (truncates && !fid.mayWrite) ? fid.node : fid.file;
}

export function statfs(session: Session, r: Request): MaybePromise<number> {
  const fid = session.holdNode(r, r.message.fid);
  if (isFailure(fid)) return fid;
  return andThen(fid.node.statfs(r.statistics), session, r, statfsReply);
}

function statfsReply(_session: Session, r: Request, answer: number): number {
  if (answer < 0) return answer;
  encodeRstatfs(r.writer, r.statistics);
  return 0;
}

export function readlink(session: Session, r: Request): MaybePromise<number> {
  const fid = session.holdNode(r, r.message.fid);
  if (isFailure(fid)) return fid;
  return andThen(fid.node.readlink(), session, r, readlinkReply);
}

function readlinkReply(_session: Session, r: Request, target: ByteString | Failure): number {
  if (isFailure(target)) return target;
  encodeRreadlink(r.writer, target);
  return 0;
}
