/** Tlopen, Tlcreate, Tread, Twrite, Treaddir, Tfsync, Tlock, Tgetlock: what an open file does. */
import { Errno, isFailure, type Failure } from '../../../errno.js';
import { isPromise, LockStatus, LockType, OpenFlag } from '../../fs/file-system.js';
import type { Created, MaybePromise, OpenFile } from '../../fs/file-system.js';
import {
  HEADER_BYTES,
  LockFlag,
  P9_IOHDRSZ,
  RREAD_HEADER_BYTES,
  TWRITE_HEADER_BYTES,
} from '../../protocol/constants.js';
import { encodeCount, encodeRgetlock, encodeRlock, encodeRlopen } from '../../protocol/replies.js';
import { andThen } from '../and-then.js';
import { Fid, held, type XattrValue } from '../fid.js';
import { checkEntryName } from '../names.js';
import { takeNode, type Request } from '../request.js';
import type { Session } from '../session.js';

/** I/O is cut at whole pages, so that the client's requests stay aligned. */
const IOUNIT_ALIGNMENT_BYTES = 4096;

/** Open flags that say something to a file system; the rest (O_CREAT, O_NOCTTY, …) is about the client's own call. */
export const OPEN_FLAGS =
  OpenFlag.O_ACCMODE |
  OpenFlag.O_TRUNC |
  OpenFlag.O_APPEND |
  OpenFlag.O_NONBLOCK |
  OpenFlag.O_DSYNC |
  OpenFlag.O_DIRECT |
  OpenFlag.O_LARGEFILE |
  OpenFlag.O_DIRECTORY |
  OpenFlag.O_NOFOLLOW |
  OpenFlag.O_NOATIME |
  OpenFlag.O_SYNC;

const MODE_BITS = 0o7777;
const LOCK_FLAGS = LockFlag.P9_LOCK_FLAGS_BLOCK | LockFlag.P9_LOCK_FLAGS_RECLAIM;

export function lopen(session: Session, r: Request): MaybePromise<number> {
  const fid = session.holdNode(r, r.message.fid);
  if (isFailure(fid)) return fid;
  const flags = r.message.flags & OPEN_FLAGS;
  const refused = checkOpenFlags(session, flags) || session.change(r, fid);
  if (refused !== 0) return refused;
  if (!session.reserveOpen(r)) return -Errno.EMFILE;
  r.attributes.filled = false;
  return andThen(fid.node.open(flags, r.attributes), session, r, opened);
}

export function checkOpenFlags(session: Session, flags: number): number {
  const access = flags & OpenFlag.O_ACCMODE;
  if (access === OpenFlag.O_ACCMODE) return -Errno.EINVAL;
  const changes = access !== OpenFlag.O_RDONLY || (flags & OpenFlag.O_TRUNC) !== 0;
  return changes && session.options.readOnly ? -Errno.EROFS : 0;
}

function opened(session: Session, r: Request, file: OpenFile | Failure): MaybePromise<number> {
  if (isFailure(file)) return file;
  r.ownedFile = file;
  if (r.attributes.filled) return openedReply(session, r, 0);
  return andThen(file.getattr(r.attributes), session, r, openedReply);
}

function openedReply(session: Session, r: Request, answer: number): number {
  const fid = held(r.fid);
  const failure = answer < 0 ? answer : session.qids.map(r.attributes, r.qid);
  if (failure < 0) return failure;
  giveFile(r, fid);
  fid.identify(r.qid, r.attributes.device);
  encodeRlopen(r.writer, r.qid, iounit(session));
  return 0;
}

/** The request's open file, and its place among those allowed, become the fid's. */
function giveFile(r: Request, fid: Fid): void {
  fid.file = r.ownedFile;
  fid.openFlags = r.message.flags & OPEN_FLAGS;
  fid.removeOnClunk = r.removesOnClunk;
  r.ownedFile = undefined;
  r.openReserved = false;
}

export function iounit(session: Session): number {
  const most = session.msizeBytes - P9_IOHDRSZ;
  return most - (most % IOUNIT_ALIGNMENT_BYTES);
}

/** Creates a file in fid's directory and opens it: fid is that file's from then on. */
export function lcreate(session: Session, r: Request): MaybePromise<number> {
  const m = r.message;
  const fid = session.holdNode(r, m.fid);
  if (isFailure(fid)) return fid;
  const refused = checkEntryName(m.name) || checkOpenFlags(session, m.flags) || session.change(r, fid);
  if (refused !== 0) return refused;
  if (!fid.isDirectory) return -Errno.ENOTDIR;
  if (!session.reserveOpen(r)) return -Errno.EMFILE;
  const flags = m.flags & (OPEN_FLAGS | OpenFlag.O_EXCL);
  const owner = { uid: fid.attachment.uid, gid: m.gid };
  r.attributes.filled = false;
  return andThen(
    fid.node.create(m.name, flags, m.mode & MODE_BITS, owner, r.attributes),
    session,
    r,
    created,
  );
}

export function created(session: Session, r: Request, answer: Created | Failure): MaybePromise<number> {
  if (isFailure(answer)) return answer;
  r.ownedNode = answer.node;
  r.ownedFile = answer.file;
  if (r.attributes.filled) return createdReply(session, r, 0);
  return andThen(answer.file.getattr(r.attributes), session, r, createdReply);
}

function createdReply(session: Session, r: Request, answer: number): number {
  const directory = held(r.fid);
  const failure = answer < 0 ? answer : session.qids.map(r.attributes, r.qid);
  if (failure < 0) return failure;
  const fid = new Fid(directory.number);
  fid.name = r.message.name;
  fid.establish(takeNode(r), directory.attachment);
  giveFile(r, fid);
  fid.identify(r.qid, r.attributes.device);
  if (!session.replace(directory, fid)) return -Errno.EBADF;
  encodeRlopen(r.writer, r.qid, iounit(session));
  return 0;
}

/** Reads straight into the reply's buffers, behind the place of the header. */
export function read(session: Session, r: Request): MaybePromise<number> {
  const m = r.message;
  const fid = session.hold(r, m.fid);
  if (isFailure(fid)) return fid;
  const room = Math.min(m.count, r.roomBytes - RREAD_HEADER_BYTES);
  if (fid.xattr !== undefined) return readXattr(session, r, fid.xattr, room);
  const file = fid.file;
  if (file === undefined || !fid.mayRead) return -Errno.EBADF;
  if (fid.isDirectory) return -Errno.EISDIR;
  r.reply.slice(RREAD_HEADER_BYTES, room, r.payload);
  r.blocked = file;
  r.blockedOn = r.payload;
  const answer = file.read(m.offset, r.payload);
  return typeof answer === 'number' ? readReply(session, r, answer) : andThen(answer, session, r, readReply);
}

function readXattr(session: Session, r: Request, xattr: XattrValue, room: number): number {
  if (xattr.kind !== 'read') return -Errno.EBADF;
  const left = Math.max(0, xattr.value.length - r.message.offset);
  const lengthBytes = Math.min(left, room);
  r.reply.scatter(RREAD_HEADER_BYTES, xattr.value, r.message.offset, lengthBytes);
  r.reply.slice(RREAD_HEADER_BYTES, lengthBytes, r.payload);
  return readReply(session, r, lengthBytes);
}

function readReply(session: Session, r: Request, answer: number): number {
  r.blocked = undefined;
  if (answer < 0) return answer;
  if (!(answer <= r.payload.byteLength)) return impossible(session, 'read', answer);
  session.statistics.bytesRead += answer;
  encodeCount(r.writer, answer);
  r.payloadBytes = answer;
  return 0;
}

/** An answer that a file system cannot have meant. */
function impossible(session: Session, what: string, answer: unknown): number {
  session.report(`${what} answered ${String(answer)}`);
  return -Errno.EIO;
}

/** Writes straight from the request's buffers. */
export function write(session: Session, r: Request): MaybePromise<number> {
  const m = r.message;
  const fid = session.hold(r, m.fid);
  if (isFailure(fid)) return fid;
  r.source.slice(TWRITE_HEADER_BYTES, m.count, r.payload);
  if (fid.xattr !== undefined) return writeXattr(session, r, fid.xattr);
  const file = fid.file;
  if (file === undefined || !fid.mayWrite) return -Errno.EBADF;
  r.blocked = file;
  r.blockedOn = r.payload;
  const answer = file.write(m.offset, r.payload);
  return typeof answer === 'number'
    ? writeReply(session, r, answer)
    : andThen(answer, session, r, writeReply);
}

/** A value is written from its start, in any pieces that leave no gap. */
function writeXattr(session: Session, r: Request, xattr: XattrValue): number {
  const { offset, count } = r.message;
  if (xattr.kind !== 'write') return -Errno.EBADF;
  if (offset > xattr.writtenBytes) return -Errno.EINVAL;
  if (offset + count > xattr.value.length) return -Errno.ENOSPC;
  r.payload.gather(0, xattr.value, offset, count);
  xattr.writtenBytes = Math.max(xattr.writtenBytes, offset + count);
  return writeReply(session, r, count);
}

function writeReply(session: Session, r: Request, answer: number): number {
  r.blocked = undefined;
  if (answer < 0) return answer;
  if (!(answer <= r.message.count)) return impossible(session, 'write', answer);
  session.statistics.bytesWritten += answer;
  encodeCount(r.writer, answer);
  return 0;
}

export function readdir(session: Session, r: Request): MaybePromise<number> {
  const m = r.message;
  const fid = session.holdOpen(r, m.fid);
  if (isFailure(fid)) return fid;
  if (!fid.isDirectory) return -Errno.ENOTDIR;
  if (fid.readingDirectory) return -Errno.EBUSY;
  const room = Math.min(m.count, r.roomBytes - RREAD_HEADER_BYTES);
  fid.readingDirectory = true;
  r.readingDirectory = fid;
  r.directory.begin(r.reply, room, fid.device, session.qids);
  return andThen(fid.file.readdir(m.offset, r.directory), session, r, readdirReply);
}

function readdirReply(session: Session, r: Request, answer: number): number {
  const directory = r.directory;
  directory.end();
  const taken = directory.dataBytes;
  if (directory.failure !== 0) session.report(`a directory entry was refused with ${directory.failure}`);
  // What was found before a failure is not lost: the next Treaddir meets the failure again.
  if (taken === 0 && answer < 0) return answer;
  if (taken === 0 && directory.failure !== 0) return directory.failure;
  // No bytes would mean the end of the directory.
  if (taken === 0 && directory.full) return -Errno.EINVAL;
  r.writer.reset(HEADER_BYTES);
  encodeCount(r.writer, taken);
  r.payloadBytes = taken;
  return 0;
}

export function fsync(session: Session, r: Request): MaybePromise<number> {
  const fid = session.holdOpen(r, r.message.fid);
  if (isFailure(fid)) return fid;
  return fid.file.fsync(r.message.datasync !== 0);
}

/** A lock that the client would wait for is waited for here, as far as the file system and the bound on such waits let it. */
export function lock(session: Session, r: Request): MaybePromise<number> {
  const { lock: wanted, fid: number, flags } = r.message;
  const fid = session.holdOpen(r, number);
  if (isFailure(fid)) return fid;
  if (wanted.type > LockType.P9_LOCK_TYPE_UNLCK || (flags & ~LOCK_FLAGS) !== 0) return -Errno.EINVAL;
  wanted.wait = (flags & LockFlag.P9_LOCK_FLAGS_BLOCK) !== 0 && session.mayWaitForLock;
  wanted.readOnly = session.options.readOnly;
  r.blocked = fid.file;
  r.blockedOn = wanted;
  const answer = fid.file.lock(wanted);
  if (!isPromise(answer)) return lockReply(session, r, answer);
  session.waitForLock(r);
  return andThen(answer, session, r, lockReply);
}

function lockReply(session: Session, r: Request, status: number): number {
  r.blocked = undefined;
  if (status < 0) return status;
  if (!(status <= LockStatus.P9_LOCK_GRACE)) return impossible(session, 'lock', status);
  encodeRlock(r.writer, status);
  return 0;
}

export function getlock(session: Session, r: Request): MaybePromise<number> {
  const { lock: wanted, fid: number } = r.message;
  const fid = session.holdOpen(r, number);
  if (isFailure(fid)) return fid;
  if (wanted.type > LockType.P9_LOCK_TYPE_UNLCK) return -Errno.EINVAL;
  return andThen(fid.file.getlock(wanted), session, r, getlockReply);
}

function getlockReply(_session: Session, r: Request, answer: number): number {
  if (answer < 0) return answer;
  encodeRgetlock(r.writer, r.message.lock);
  return 0;
}
