/** Tstat and Twstat of 9P2000 and 9P2000.u, stat(5). */
import { Errno, isFailure, type Failure } from '../../../errno.js';
import {
  FileMode,
  isPromise,
  SetAttr,
  type Attributes,
  type AttributeChanges,
  type ByteString,
  type FsNode,
  type MaybePromise,
} from '../../fs/file-system.js';
import { DirMode, P9_NONUNAME } from '../../protocol/constants.js';
import { idOf } from '../../protocol/messages-9p2000.js';
import type { Qid } from '../../protocol/replies.js';
import {
  DONT_TOUCH_16,
  DONT_TOUCH_32,
  DONT_TOUCH_LENGTH,
  encodeStat,
  WireStat,
} from '../../protocol/stat.js';
import { andThen, type Handler } from '../and-then.js';
import { held, type NodeFid } from '../fid.js';
import { checkEntryName } from '../names.js';
import type { Request } from '../request.js';
import type { Session } from '../session.js';
import { settable } from './attributes.js';

const PERMISSION_BITS = 0o777;
const SPECIAL_BITS = 0o7000;
/** The latest second that a stat can tell: the one after it means "don't touch". */
const LATEST_SECOND = DONT_TOUCH_32 - 1;

/** Types of 9P2000.u, and set-id bits: a bit of st_mode and the DirMode bit for it. */
const UNIX_TYPES: readonly (readonly [number, number])[] = [
  [FileMode.S_IFLNK, DirMode.DMSYMLINK],
  [FileMode.S_IFCHR, DirMode.DMDEVICE],
  [FileMode.S_IFBLK, DirMode.DMDEVICE],
  [FileMode.S_IFIFO, DirMode.DMNAMEDPIPE],
  [FileMode.S_IFSOCK, DirMode.DMSOCKET],
];
const UNIX_BITS: readonly (readonly [number, number])[] = [
  [FileMode.S_ISUID, DirMode.DMSETUID],
  [FileMode.S_ISGID, DirMode.DMSETGID],
  [FileMode.S_ISVTX, DirMode.DMSETVTX],
];

/** Permissions, and in 9P2000.u set-id bits, of DirMode bits. */
export function permissionsOf(mode: number, unix: boolean): number {
  let permissions = mode & PERMISSION_BITS;
  if (unix) for (const [bit, dirMode] of UNIX_BITS) if ((mode & dirMode) !== 0) permissions |= bit;
  return permissions;
}

/** DirMode bits of an st_mode. */
function dirModeOf(mode: number, unix: boolean): number {
  const type = mode & FileMode.S_IFMT;
  let dirMode = mode & PERMISSION_BITS;
  if (type === FileMode.S_IFDIR) dirMode |= DirMode.DMDIR;
  if (unix) {
    dirMode |= UNIX_TYPES.find(([of]) => of === type)?.[1] ?? 0;
    for (const [bit, of] of UNIX_BITS) if ((mode & bit) !== 0) dirMode |= of;
  }
  return dirMode >>> 0;
}

/** Fills `out`. `target` is a symbolic link's; users and groups go by their numbers, as there is no list of names here. */
export function fillStat(
  out: WireStat,
  attributes: Attributes,
  qid: Qid,
  name: ByteString,
  target: ByteString,
  unix: boolean,
): void {
  const isDirectory = (attributes.mode & FileMode.S_IFMT) === FileMode.S_IFDIR;
  out.qid.type = qid.type;
  out.qid.version = qid.version;
  out.qid.pathLow = qid.pathLow;
  out.qid.pathHigh = qid.pathHigh;
  out.mode = dirModeOf(attributes.mode, unix);
  out.atime = seconds(attributes.atimeSeconds);
  out.mtime = seconds(attributes.mtimeSeconds);
  out.length = isDirectory ? 0 : attributes.sizeBytes;
  out.name = name;
  out.uid = String(attributes.uid);
  out.gid = String(attributes.gid);
  out.extension = extensionOf(attributes, target);
  out.nUid = attributes.uid;
  out.nGid = attributes.gid;
}

function seconds(time: number): number {
  return Math.min(Math.max(time, 0), LATEST_SECOND);
}

function extensionOf({ mode, rdev }: Attributes, target: ByteString): ByteString {
  const type = mode & FileMode.S_IFMT;
  if (type === FileMode.S_IFLNK) return target;
  if (type !== FileMode.S_IFCHR && type !== FileMode.S_IFBLK) return '';
  const minor = (rdev & 0xff) | ((rdev >>> 12) & 0xfff00);
  return `${type === FileMode.S_IFBLK ? 'b' : 'c'} ${(rdev >>> 8) & 0xfff} ${minor}`;
}

/** The name that a stat of the fid tells. */
export function nameOf(fid: NodeFid): ByteString {
  return fid.isAttachRoot ? '/' : fid.node.entryName() || fid.name || '/';
}

const reply = new WireStat();

export function stat(unix: boolean): Handler {
  const found = unix ? statFoundUnix : statFoundPlain;
  return (session, r) => {
    const fid = session.holdNode(r, r.message.fid);
    if (isFailure(fid)) return fid;
    return andThen((fid.file ?? fid.node).getattr(r.attributes), session, r, found);
  };
}

function statFoundPlain(session: Session, r: Request, answer: number): number {
  return answer < 0 ? answer : statReply(session, r, '', false);
}

function statFoundUnix(session: Session, r: Request, answer: number): MaybePromise<number> {
  if (answer < 0) return answer;
  if ((r.attributes.mode & FileMode.S_IFMT) !== FileMode.S_IFLNK) return statReply(session, r, '', true);
  return andThen(held(r.fid).node.readlink(), session, r, statOfLink);
}

function statOfLink(session: Session, r: Request, target: ByteString | Failure): number {
  return isFailure(target) ? target : statReply(session, r, target, true);
}

/** size[4] Rstat tag[2] stat[n], where n is a length[2] */
function statReply(session: Session, r: Request, target: ByteString, unix: boolean): number {
  const failure = session.qids.map(r.attributes, r.qid);
  if (failure < 0) return failure;
  const { writer } = r;
  const start = writer.position;
  fillStat(reply, r.attributes, r.qid, nameOf(held(r.fid)), target, unix);
  writer.u16(0);
  encodeStat(writer, reply, unix);
  const end = writer.position;
  writer.position = start;
  writer.u16(end - start - 2);
  writer.position = end;
  return 0;
}

/** All of what is asked for, or nothing; nothing asked for means fsync(2). */
export function wstat(unix: boolean): Handler {
  return (session, r) => {
    const fid = session.holdNode(r, r.message.fid);
    if (isFailure(fid)) return fid;
    if (touchesNothing(r.message.wstat)) return fid.file === undefined ? 0 : fid.file.fsync(false);
    if (session.options.readOnly) return -Errno.EROFS;
    return andThen((fid.file ?? fid.node).getattr(r.attributes), session, r, (_, __, answer) => {
      const failure = answer < 0 ? answer : checkWstat(session, r, unix) || checkName(fid, r);
      return failure < 0 ? failure : change(session, r, fid, unix);
    });
  };
}

/** Who last changed the file is no client's to say, and Linux's client says it all the same: passed over. */
function touchesNothing(wanted: WireStat): boolean {
  return (
    wanted.mode === DONT_TOUCH_32 &&
    wanted.atime === DONT_TOUCH_32 &&
    wanted.mtime === DONT_TOUCH_32 &&
    wanted.length === DONT_TOUCH_LENGTH &&
    wanted.name === '' &&
    wanted.uid === '' &&
    wanted.gid === '' &&
    wanted.extension === '' &&
    wanted.nUid === P9_NONUNAME &&
    wanted.nGid === P9_NONUNAME &&
    touchesNoIdentity(wanted)
  );
}

function touchesNoIdentity({ type, dev, qid }: WireStat): boolean {
  const { type: qidType, version, pathLow, pathHigh } = qid;
  return (
    type === DONT_TOUCH_16 &&
    dev === DONT_TOUCH_32 &&
    qidType === 0xff &&
    version === DONT_TOUCH_32 &&
    pathLow === DONT_TOUCH_32 &&
    pathHigh === DONT_TOUCH_32
  );
}

/** Refuses what cannot be changed, unless it is said to be as it is. Turns the rest into `message.changes`. */
function checkWstat(session: Session, r: Request, unix: boolean): number {
  const wanted = r.message.wstat;
  const { attributes } = r;
  const failure = session.qids.map(attributes, r.qid);
  if (failure < 0) return failure;
  const isDirectory = (attributes.mode & FileMode.S_IFMT) === FileMode.S_IFDIR;
  if (!isSameFile(wanted, r.qid) || wanted.extension !== '') return -Errno.EPERM;
  if (wanted.mode !== DONT_TOUCH_32) {
    if ((wanted.mode & (DirMode.DMAPPEND | DirMode.DMEXCL)) !== 0) return -Errno.EOPNOTSUPP;
    if (((wanted.mode & DirMode.DMDIR) !== 0) !== isDirectory) return -Errno.EPERM;
  }
  if (isDirectory && wanted.length > 0) return -Errno.EISDIR;
  if (!unix && wanted.atime !== DONT_TOUCH_32 && wanted.atime !== seconds(attributes.atimeSeconds))
    return -Errno.EPERM;
  const ownership = ownershipOf(wanted, attributes, unix);
  if (ownership < 0) return ownership;
  fillChanges(r.message.changes, wanted, attributes, isDirectory, unix);
  r.message.changes.valid |= ownership;
  return 0;
}

function isSameFile(wanted: WireStat, qid: Qid): boolean {
  if (touchesNoIdentity(wanted)) return true;
  const { type, dev, qid: given } = wanted;
  const sameQid =
    (given.pathLow === qid.pathLow && given.pathHigh === qid.pathHigh && given.type === qid.type) ||
    (given.pathLow === DONT_TOUCH_32 && given.pathHigh === DONT_TOUCH_32 && given.type === 0xff);
  return sameQid && (type === 0 || type === DONT_TOUCH_16) && (dev === 0 || dev === DONT_TOUCH_32);
}

/** SetAttr bits of the new owner and group, whose numbers it leaves in `wanted`; or a negative errno. */
function ownershipOf(wanted: WireStat, attributes: Attributes, unix: boolean): number {
  const uid = idWanted(wanted.nUid, wanted.uid);
  const gid = idWanted(wanted.nGid, wanted.gid);
  if (!unix && uid !== P9_NONUNAME && uid !== attributes.uid) return -Errno.EPERM;
  if (uid === undefined || gid === undefined) return -Errno.EINVAL;
  wanted.nUid = uid;
  wanted.nGid = gid;
  const owner = !unix || uid === P9_NONUNAME ? 0 : SetAttr.P9_ATTR_UID;
  return owner | (gid === P9_NONUNAME ? 0 : SetAttr.P9_ATTR_GID);
}

/** The number of a user or group; that of its name where there is none; undefined where the name says nothing to us. */
function idWanted(id: number, name: ByteString): number | undefined {
  return id !== P9_NONUNAME || name === '' ? id : idOf(name);
}

function fillChanges(
  changes: AttributeChanges,
  wanted: WireStat,
  attributes: Attributes,
  isDirectory: boolean,
  unix: boolean,
): void {
  const { P9_ATTR_ATIME, P9_ATTR_ATIME_SET, P9_ATTR_MTIME, P9_ATTR_MTIME_SET } = SetAttr;
  changes.valid = 0;
  changes.uid = wanted.nUid;
  changes.gid = wanted.nGid;
  if (wanted.mode !== DONT_TOUCH_32) changes.valid |= SetAttr.P9_ATTR_MODE;
  // Plan 9 knows no set-id bits: a mode of its does not say anything about them.
  changes.mode = permissionsOf(wanted.mode, unix) | (unix ? 0 : attributes.mode & SPECIAL_BITS);
  if (wanted.length !== DONT_TOUCH_LENGTH && !isDirectory) changes.valid |= SetAttr.P9_ATTR_SIZE;
  changes.sizeBytes = wanted.length;
  // A second that is there already is left alone, with what the file has of it beyond seconds.
  const setsAtime = wanted.atime !== DONT_TOUCH_32 && wanted.atime !== seconds(attributes.atimeSeconds);
  const setsMtime = wanted.mtime !== DONT_TOUCH_32 && wanted.mtime !== seconds(attributes.mtimeSeconds);
  if (setsAtime) changes.valid |= P9_ATTR_ATIME | P9_ATTR_ATIME_SET;
  changes.atimeSeconds = wanted.atime;
  changes.atimeNanoseconds = 0;
  if (setsMtime) changes.valid |= P9_ATTR_MTIME | P9_ATTR_MTIME_SET;
  changes.mtimeSeconds = wanted.mtime;
  changes.mtimeNanoseconds = 0;
}

function checkName(fid: NodeFid, r: Request): number {
  const { name } = r.message.wstat;
  if (name === '' || name === nameOf(fid)) return 0;
  return fid.isAttachRoot ? -Errno.EBUSY : checkEntryName(name);
}

/** The new name first: if it cannot be had, nothing has changed; if the rest fails then, the old name is given back. */
async function change(session: Session, r: Request, fid: NodeFid, unix: boolean): Promise<number> {
  const { changes, wstat: wanted } = r.message;
  const oldName = nameOf(fid);
  const renames = wanted.name !== '' && wanted.name !== oldName;
  if (!renames) return settable(fid, changes).setattr(changes);
  const directory = await fid.node.parent();
  if (isFailure(directory)) return directory;
  r.ownedNode = directory;
  const taken = unix ? 0 : await checkFree(session, directory, wanted.name);
  const renamed = taken < 0 ? taken : await fid.node.renameTo(directory, wanted.name);
  if (renamed < 0) return renamed;
  fid.name = wanted.name;
  const answer = changes.valid === 0 ? 0 : await settable(fid, changes).setattr(changes);
  if (answer < 0 && (await fid.node.renameTo(directory, oldName)) === 0) fid.name = oldName;
  return answer;
}

/** A name that is taken is no new name for another file, as stat(5) has it; in 9P2000.u it is rename(2). */
async function checkFree(session: Session, directory: FsNode, name: ByteString): Promise<number> {
  const answer = directory.walk(name);
  const there = isPromise(answer) ? await answer : answer;
  if (isFailure(there)) return there === -Errno.ENOENT ? 0 : there;
  session.releaseNode(there);
  return -Errno.EEXIST;
}
