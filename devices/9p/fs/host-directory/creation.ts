/**
 * Making files. Each is made ours, with no permission that its owner would not grant to all, then given to its owner, and
 * only then gets its mode, all through a descriptor of what was made: a name could be swapped in between. Where the host made it just
 * so, which is the usual case, nothing of that is left to do, and a new file costs two calls.
 */
import {
  AtFlags,
  closeFd,
  fchmod,
  fchmodOPath,
  fchown,
  fgetxattrOPath,
  mkdirat,
  mknodat,
  StatxMask,
  symlinkat,
  unlinkat,
} from '../../../../host/index.js';
import { Errno, isFailure, type Failure } from '../../../errno.js';
import {
  FileMode,
  OpenFlag,
  type Attributes,
  type ByteString,
  type Created,
  type Owner,
} from '../file-system.js';
import type { ExportContext } from './export-context.js';
import type { HostNode } from './host-node.js';
import { HostFile, hostOpenFlags } from './host-file.js';
import { modeOfNew } from '../set-id-bits.js';

const PERMISSION_BITS = 0o777;
const OWNER_BITS = 0o700;
const SPECIAL_BITS = 0o7000;
/** uid_t and gid_t that chown(2) leaves as they are. */
const UNCHANGED = 0xffff_ffff;
/** Rounds of "it is not there" and "it is there" before create gives up on a name that others make and remove. */
const CREATE_ATTEMPTS = 8;

const DEFAULT_ACL = Buffer.from('system.posix_acl_default\0');

/** A directory about to get a new entry, whose checked name is in `context.name`. */
interface Place {
  readonly fd: number;
  /** The permissions to make the entry with. */
  readonly firstMode: number;
}

/** What is to be changed of a new file before it is the guest's. */
interface Changes {
  readonly owner: boolean;
  readonly uid: number;
  readonly gid: number;
  /** -1 where it is right. */
  readonly mode: number;
}

/** Creates a regular file and opens it; opens what is there where O_EXCL does not forbid it. */
export function create(
  context: ExportContext,
  directory: HostNode,
  name: ByteString,
  flags: number,
  mode: number,
  owner: Owner,
  out: Attributes | undefined,
): Created | Failure {
  for (let attempt = 0; attempt < CREATE_ATTEMPTS; attempt++) {
    const created = createNew(context, directory, name, flags, mode, owner, out);
    if (created !== -Errno.EEXIST || (flags & OpenFlag.O_EXCL) !== 0) return created;
    const existing = openExisting(directory, name, flags & ~(OpenFlag.O_CREAT | OpenFlag.O_EXCL));
    if (existing !== -Errno.ENOENT) return existing;
  }
  return -Errno.ESTALE;
}

function openExisting(directory: HostNode, name: ByteString, flags: number): Created | Failure {
  const node = directory.walk(name);
  if (isFailure(node)) return node;
  const file = node.type === FileMode.S_IFDIR ? -Errno.EISDIR : node.open(flags);
  if (!isFailure(file)) return { node, file };
  node.release();
  // Gone since it was found there.
  return file === -Errno.ESTALE ? -Errno.ENOENT : file;
}

function createNew(
  context: ExportContext,
  directory: HostNode,
  name: ByteString,
  flags: number,
  mode: number,
  owner: Owner,
  out: Attributes | undefined,
): Created | Failure {
  const hostFlags = hostOpenFlags(flags & ~OpenFlag.O_TRUNC);
  if (hostFlags < 0) return hostFlags;
  if (context.openFiles >= context.limits.maxOpenFiles) return -Errno.EMFILE;
  const place = preparePlace(context, directory, name, mode, owner);
  if (isFailure(place)) return place;
  const fd = context.createEntry(place.fd, context.name.address, hostFlags, place.firstMode);
  if (fd < 0) return fd;
  let error = context.statx.load(fd);
  const changes = error < 0 ? undefined : changesOf(context, place, mode, owner);
  if (changes !== undefined) error = apply(fd, changes, fchmod);
  if (error < 0) {
    unlinkat(place.fd, context.name.address, 0);
    closeFd(fd);
    return error;
  }
  const node = directory.adoptFound(name);
  if (changes === undefined && out !== undefined) context.statx.report(out);
  return { node, file: new HostFile(context, fd, node, flags) };
}

export function mkdir(
  context: ExportContext,
  directory: HostNode,
  name: ByteString,
  mode: number,
  owner: Owner,
  out: Attributes | undefined,
): HostNode | Failure {
  const place = preparePlace(context, directory, name, mode, owner);
  if (isFailure(place)) return place;
  const error = mkdirat(place.fd, context.name.address, place.firstMode);
  return error < 0 ? error : adoptNew(context, directory, place, name, FileMode.S_IFDIR, mode, owner, out);
}

export function symlink(
  context: ExportContext,
  directory: HostNode,
  name: ByteString,
  target: ByteString,
  owner: Owner,
  out: Attributes | undefined,
): HostNode | Failure {
  const refused = context.otherName.setTarget(target);
  if (refused < 0) return refused;
  const place = preparePlace(context, directory, name, 0, owner);
  if (isFailure(place)) return place;
  const error = symlinkat(context.otherName.address, place.fd, context.name.address);
  return error < 0 ? error : adoptNew(context, directory, place, name, FileMode.S_IFLNK, 0, owner, out);
}

/** Regular files, FIFOs and sockets; devices where the operator allows them, since they would be devices on the host, too. */
export function mknod(
  context: ExportContext,
  directory: HostNode,
  name: ByteString,
  mode: number,
  rdev: number,
  owner: Owner,
  out: Attributes | undefined,
): HostNode | Failure {
  // Without a type mknod(2) makes a regular file.
  const type = (mode & FileMode.S_IFMT) === 0 ? FileMode.S_IFREG : mode & FileMode.S_IFMT;
  const isDevice = type === FileMode.S_IFBLK || type === FileMode.S_IFCHR;
  if (isDevice && !context.limits.allowDeviceNodes) return -Errno.EPERM;
  if (!isDevice && type !== FileMode.S_IFREG && type !== FileMode.S_IFIFO && type !== FileMode.S_IFSOCK) {
    return -Errno.EINVAL;
  }
  const place = preparePlace(context, directory, name, mode, owner);
  if (isFailure(place)) return place;
  const device = isDevice ? rdev : 0;
  const error = mknodat(place.fd, context.name.address, type | place.firstMode, device);
  return error < 0 ? error : adoptNew(context, directory, place, name, type, mode, owner, out);
}

function preparePlace(
  context: ExportContext,
  directory: HostNode,
  name: ByteString,
  mode: number,
  owner: Owner,
): Place | Failure {
  if (directory.type !== FileMode.S_IFDIR) return -Errno.ENOTDIR;
  const fd = directory.handle();
  if (fd < 0) return fd;
  const refused = context.name.setName(name);
  if (refused < 0) return refused;
  const mayBeOpen = !context.limits.privileged || isHarmlessAsOurs(mode, owner) || hasDefaultAcl(fd);
  return { fd, firstMode: mode & (mayBeOpen ? PERMISSION_BITS : OWNER_BITS) };
}

/** True where the file stays ours, or our group gets no more of it in the meantime than everybody is to have. */
function isHarmlessAsOurs(mode: number, owner: Owner): boolean {
  return staysOurs(owner) || ((mode >> 3) & ~mode & 0o7) === 0;
}

/** True where a file that root makes is its owner's already. */
function staysOurs({ uid, gid }: Owner): boolean {
  return (uid === 0 || uid === UNCHANGED) && (gid === 0 || gid === UNCHANGED);
}

/** A default ACL on the directory: the kernel works the permissions out from it and from the mode given to it, without the umask. */
function hasDefaultAcl(fd: number): boolean {
  return fgetxattrOPath(fd, DEFAULT_ACL, DEFAULT_ACL, 0) > 0;
}

/** What is to be changed of the new file whose attributes are in `context.statx`; undefined where nothing is. */
function changesOf(
  context: ExportContext,
  place: Place,
  mode: number,
  { uid, gid }: Owner,
): Changes | undefined {
  const { statx, limits } = context;
  const isOthers = (uid !== UNCHANGED && statx.uid !== uid) || (gid !== UNCHANGED && statx.gid !== gid);
  const gives = limits.privileged && isOthers;
  const inherits = (gives || (mode & FileMode.S_ISGID) !== 0) && inheritsGroup(context, place);
  const newMode = modeFor(context, place, mode, inherits, uid);
  const newGid = inherits ? statx.gid : gid;
  const owner = gives && (statx.uid !== uid || statx.gid !== newGid);
  return owner || newMode >= 0 ? { owner, uid, gid: newGid, mode: newMode } : undefined;
}

/** S_ISGID on the directory: the new file has got its group, and keeps it. */
function inheritsGroup({ directoryStatx }: ExportContext, place: Place): boolean {
  const error = directoryStatx.load(place.fd, StatxMask.STATX_MODE);
  return error === 0 && (directoryStatx.mode & FileMode.S_ISGID) !== 0;
}

function modeFor(
  { statx }: ExportContext,
  place: Place,
  mode: number,
  inherits: boolean,
  uid: number,
): number {
  const type = statx.mode & FileMode.S_IFMT;
  if (type === FileMode.S_IFLNK) return -1;
  const made = statx.mode & PERMISSION_BITS;
  // Made with less than we said: by the umask, which is the daemon's and not the guest's, or by an ACL, which is right.
  const byAcl = made !== (mode & PERMISSION_BITS) && hasDefaultAcl(place.fd);
  const granted = (byAcl ? made : mode & PERMISSION_BITS) | (mode & SPECIAL_BITS);
  // A new directory has S_ISGID, which we never ask for at first, only from its parent.
  const isDirectory = type === FileMode.S_IFDIR;
  const hasGroup = isDirectory ? (statx.mode & FileMode.S_ISGID) !== 0 : inherits;
  const wanted = modeOfNew(granted, isDirectory, hasGroup, uid);
  return wanted === (statx.mode & 0o7777) ? -1 : wanted;
}

function apply(
  fd: number,
  { owner, uid, gid, mode }: Changes,
  chmod: (fd: number, mode: number) => number,
): number {
  const error = owner ? fchown(fd, uid, gid) : 0;
  return error < 0 || mode < 0 ? error : chmod(fd, mode);
}

/** Makes what was just made under `context.name` a node, as it is or once it was handed over; removes it where that fails. */
function adoptNew(
  context: ExportContext,
  directory: HostNode,
  place: Place,
  name: ByteString,
  type: number,
  mode: number,
  owner: Owner,
  out: Attributes | undefined,
): HostNode | Failure {
  if (!context.limits.privileged || staysOurs(owner)) {
    const isRight = lookAtNew(context, place, type, mode, owner);
    if (isRight && out !== undefined) context.statx.report(out);
    if (isRight) return directory.adoptFound(name);
  }
  const fd = handOver(context, place, type, mode, owner);
  if (fd >= 0) return directory.adoptOpened(name, fd);
  if (fd !== -Errno.ESTALE)
    unlinkat(place.fd, context.name.address, type === FileMode.S_IFDIR ? AtFlags.AT_REMOVEDIR : 0);
  return fd;
}

/** True where the new file is just as it is to be; `context.statx` tells how. */
function lookAtNew(context: ExportContext, place: Place, type: number, mode: number, owner: Owner): boolean {
  const error = context.statx.loadName(place.fd, context.name.address) || checkNew(context, type);
  return error === 0 && changesOf(context, place, mode, owner) === undefined;
}

/** Opens the new file and changes what is to be changed; answers its O_PATH descriptor, or a negative errno. */
function handOver(context: ExportContext, place: Place, type: number, mode: number, owner: Owner): number {
  const fd = context.openEntry(place.fd, context.name.address);
  if (fd < 0) return fd;
  let error = context.statx.load(fd) || checkNew(context, type);
  const changes = error < 0 ? undefined : changesOf(context, place, mode, owner);
  if (changes !== undefined) error = apply(fd, changes, fchmodOPath);
  if (error === 0) return fd;
  closeFd(fd);
  return error;
}

/**
 * -ESTALE where somebody has put another file in the new one's place: one of another type, or a hard link to a file that was there
 * before and must not be given away.
 */
function checkNew({ statx }: ExportContext, type: number): number {
  const isNew = (statx.mode & FileMode.S_IFMT) === type && (type === FileMode.S_IFDIR || statx.nlink === 1);
  return isNew ? 0 : -Errno.ESTALE;
}
