/**
 * Tcreate of 9P2000 and 9P2000.u: files and directories, opened at once, and in 9P2000.u what mknod(2), symlink(2) and link(2) make.
 * The new file belongs to the user that attached, and to its directory's group: no message names another.
 */
import { Errno, isFailure, type Failure } from '../../../errno.js';
import {
  FileMode,
  OpenFlag,
  type FsNode,
  type MaybePromise,
  type OpenFile,
  type Owner,
} from '../../fs/file-system.js';
import { DirMode } from '../../protocol/constants.js';
import { encodeRlopen } from '../../protocol/replies.js';
import { andThen, type Handler } from '../and-then.js';
import { Fid, held, type NodeFid } from '../fid.js';
import { checkEntryName, checkLinkTarget } from '../names.js';
import { takeNode, type Request } from '../request.js';
import type { Session } from '../session.js';
import { checkOpenFlags, created, iounit } from './files.js';
import { makedev, MAJOR_MAX, MINOR_MAX } from './entries.js';
import { translateMode } from './open-9p2000.js';
import { permissionsOf } from './stat-9p2000.js';

/**
 * What can be made. DMTMP is a hint, and passed over; DMAPPEND and DMEXCL are promises that none of our file systems can keep.
 */
const PLAIN_BITS = (0o777 | DirMode.DMDIR | DirMode.DMTMP) >>> 0;
const UNIX_BITS =
  (PLAIN_BITS |
    DirMode.DMSYMLINK |
    DirMode.DMLINK |
    DirMode.DMDEVICE |
    DirMode.DMNAMEDPIPE |
    DirMode.DMSOCKET |
    DirMode.DMSETUID |
    DirMode.DMSETGID |
    DirMode.DMSETVTX) >>>
  0;
const FILE_MASK = 0o666;
const DIRECTORY_MASK = 0o777;

/** Kinds of file that 9P2000.u makes and does not open, and how. */
const SPECIAL: readonly (readonly [bit: number, make: Make])[] = [
  [DirMode.DMSYMLINK, makeSymlink],
  [DirMode.DMLINK, makeLink],
  [DirMode.DMDEVICE, makeDevice],
  [DirMode.DMNAMEDPIPE, (_session, r, owner) => makeNode(r, FileMode.S_IFIFO, 0, owner)],
  [DirMode.DMSOCKET, (_session, r, owner) => makeNode(r, FileMode.S_IFSOCK, 0, owner)],
];

type Make = (session: Session, r: Request, owner: Owner) => MaybePromise<FsNode | Failure>;

export function create(unix: boolean): Handler {
  const make = unix ? makeUnix : makePlain;
  return (session, r) => {
    const m = r.message;
    const fid = session.holdNode(r, m.fid);
    if (isFailure(fid)) return fid;
    const refused = checkCreate(session, r, unix) || session.change(r, fid);
    if (refused !== 0) return refused;
    if (!fid.isDirectory) return -Errno.ENOTDIR;
    return andThen(fid.node.getattr(r.attributes), session, r, make);
  };
}

function checkCreate(session: Session, r: Request, unix: boolean): number {
  const m = r.message;
  const refused = checkEntryName(m.name) || translateMode(session, r, unix);
  if (refused !== 0) return refused;
  if ((m.mode & ~(unix ? UNIX_BITS : PLAIN_BITS)) !== 0) return -Errno.EOPNOTSUPP;
  const changesDirectory = m.flags !== OpenFlag.O_RDONLY && (m.mode & DirMode.DMDIR) !== 0;
  return changesDirectory ? -Errno.EISDIR : checkOpenFlags(session, m.flags);
}

/** The permissions of the directory bound those of what is made in it, as create(5) has it. */
function makePlain(session: Session, r: Request, answer: number): MaybePromise<number> {
  if (answer < 0) return answer;
  const mask = (r.message.mode & DirMode.DMDIR) === 0 ? FILE_MASK : DIRECTORY_MASK;
  return makeOpened(session, r, r.message.mode & 0o777 & (~mask | r.attributes.mode));
}

function makeUnix(session: Session, r: Request, answer: number): MaybePromise<number> {
  if (answer < 0) return answer;
  const { mode } = r.message;
  const special = SPECIAL.find(([bit]) => (mode & bit) !== 0);
  if (special === undefined) return makeOpened(session, r, permissionsOf(mode, true));
  const owner = ownerOf(held(r.fid), r);
  r.attributes.filled = false;
  return andThen(special[1](session, r, owner), session, r, foundSpecial);
}

function ownerOf(directory: NodeFid, r: Request): Owner {
  return { uid: directory.attachment.uid, gid: r.attributes.gid };
}

function makeOpened(session: Session, r: Request, permissions: number): MaybePromise<number> {
  const m = r.message;
  const directory = held(r.fid);
  const owner = ownerOf(directory, r);
  if (!session.reserveOpen(r)) return -Errno.EMFILE;
  r.attributes.filled = false;
  if ((m.mode & DirMode.DMDIR) !== 0)
    return andThen(directory.node.mkdir(m.name, permissions, owner), session, r, madeDirectory);
  const flags = m.flags | OpenFlag.O_EXCL;
  return andThen(directory.node.create(m.name, flags, permissions, owner, r.attributes), session, r, created);
}

function madeDirectory(session: Session, r: Request, node: FsNode | Failure): MaybePromise<number> {
  if (isFailure(node)) return node;
  r.ownedNode = node;
  return andThen(node.open(OpenFlag.O_RDONLY), session, r, openedDirectory);
}

function openedDirectory(session: Session, r: Request, file: OpenFile | Failure): MaybePromise<number> {
  if (isFailure(file)) return file;
  return created(session, r, { node: takeNode(r), file });
}

function makeSymlink(_session: Session, r: Request, owner: Owner): MaybePromise<FsNode | Failure> {
  const { name, extension } = r.message;
  const refused = checkLinkTarget(extension);
  return refused !== 0 ? refused : held(r.fid).node.symlink(name, extension, owner, r.attributes);
}

/** `extension` is the number of the fid that gets another name. */
function makeLink(session: Session, r: Request): MaybePromise<FsNode | Failure> {
  const { name, extension } = r.message;
  if (!/^\d{1,10}$/.test(extension)) return -Errno.EINVAL;
  const target = session.holdOther(r, Number(extension));
  if (isFailure(target)) return target;
  const directory = held(r.fid).node;
  const answer = directory.link(name, target.node);
  if (typeof answer === 'number') return answer < 0 ? answer : directory.walk(name, r.attributes);
  return answer.then((settled) => (settled < 0 ? settled : directory.walk(name, r.attributes)));
}

/** `extension` is "b MAJOR MINOR" or "c MAJOR MINOR". */
function makeDevice(_session: Session, r: Request, owner: Owner): MaybePromise<FsNode | Failure> {
  const parts = /^([bc]) (\d{1,4}) (\d{1,7})$/.exec(r.message.extension);
  if (parts === null) return -Errno.EINVAL;
  const [major, minor] = [Number(parts[2]), Number(parts[3])];
  if (major > MAJOR_MAX || minor > MINOR_MAX) return -Errno.EINVAL;
  return makeNode(r, parts[1] === 'b' ? FileMode.S_IFBLK : FileMode.S_IFCHR, makedev(major, minor), owner);
}

function makeNode(r: Request, type: number, rdev: number, owner: Owner): MaybePromise<FsNode | Failure> {
  const { name, mode } = r.message;
  return held(r.fid).node.mknod(name, type | permissionsOf(mode, true), rdev, owner, r.attributes);
}

function foundSpecial(session: Session, r: Request, node: FsNode | Failure): MaybePromise<number> {
  if (isFailure(node)) return node;
  r.ownedNode = node;
  if (r.attributes.filled) return specialReply(session, r, 0);
  return andThen(node.getattr(r.attributes), session, r, specialReply);
}

/** The fid is the new file's, which is not open: what it leads to is the client's own. */
function specialReply(session: Session, r: Request, answer: number): number {
  const directory = held(r.fid);
  const failure = answer < 0 ? answer : session.qids.map(r.attributes, r.qid);
  if (failure < 0) return failure;
  const fid = new Fid(directory.number);
  fid.name = r.message.name;
  fid.establish(takeNode(r), directory.attachment);
  fid.identify(r.qid, r.attributes.device);
  if (!session.replace(directory, fid)) return -Errno.EBADF;
  encodeRlopen(r.writer, r.qid, iounit(session));
  return 0;
}
