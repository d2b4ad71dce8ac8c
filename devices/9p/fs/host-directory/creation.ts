/**
 * Making files. Each is made with the fewest permissions and ours alone, then given to its owner, and only then gets its
 * mode, all through the descriptor of what was made: a name could be swapped in between.
 */
import {
  AtFlags,
  closeFd,
  fchmodOPath,
  fchown,
  fgetxattrOPath,
  mkdirat,
  mknodat,
  OpenFlags,
  StatxMask,
  symlinkat,
  unlinkat,
} from '../../../../host/index.js';
import { Errno, isFailure, type Failure } from '../../../errno.js';
import { FileMode, OpenFlag, type ByteString, type Created, type Owner } from '../file-system.js';
import type { ExportContext } from './export-context.js';
import type { HostNode } from './host-node.js';
import { HostFile, hostOpenFlags } from './host-file.js';
import { modeOfNew } from '../set-id-bits.js';

/** Until a new file has its owner, nobody else may do anything with it. */
const OWNER_ONLY = 0o700;
/** Rounds of "it is not there" and "it is there" before create gives up on a name that others make and remove. */
const CREATE_ATTEMPTS = 8;

const DEFAULT_ACL = Buffer.from('system.posix_acl_default\0');

/** A directory about to get a new entry, whose checked name is in `context.name`. */
interface Place {
  readonly fd: number;
  /** S_ISGID on the directory: the new file gets its group. */
  readonly inheritsGroup: boolean;
  /** A default ACL on the directory: the kernel works the permissions out from it and the mode given to it. */
  readonly inheritsAcl: boolean;
}

/** Creates a regular file and opens it; opens what is there where O_EXCL does not forbid it. */
export function create(
  context: ExportContext,
  directory: HostNode,
  name: ByteString,
  flags: number,
  mode: number,
  owner: Owner,
): Created | Failure {
  for (let attempt = 0; attempt < CREATE_ATTEMPTS; attempt++) {
    const created = createNew(context, directory, name, flags, mode, owner);
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
  return file;
}

function createNew(
  context: ExportContext,
  directory: HostNode,
  name: ByteString,
  flags: number,
  mode: number,
  owner: Owner,
): Created | Failure {
  const hostFlags = hostOpenFlags(flags & ~OpenFlag.O_TRUNC);
  if (hostFlags < 0) return hostFlags;
  if (context.openFiles >= context.limits.maxOpenFiles) return -Errno.EMFILE;
  const place = preparePlace(context, directory, name);
  if (isFailure(place)) return place;
  const fd = context.createEntry(place.fd, context.name.address, hostFlags, firstMode(place, mode));
  if (fd < 0) return fd;
  let error = context.statx.load(fd);
  if (error === 0) error = handOver(context, place, fd, mode, owner);
  const pathFd = error < 0 ? error : context.reopen(fd, OpenFlags.O_PATH);
  if (pathFd < 0) {
    unlinkat(place.fd, context.name.address, 0);
    closeFd(fd);
    return pathFd;
  }
  const node = directory.adoptOpened(name, pathFd);
  return { node, file: new HostFile(context, fd, flags) };
}

export function mkdir(
  context: ExportContext,
  directory: HostNode,
  name: ByteString,
  mode: number,
  owner: Owner,
): HostNode | Failure {
  const place = preparePlace(context, directory, name);
  if (isFailure(place)) return place;
  const error = mkdirat(place.fd, context.name.address, firstMode(place, mode));
  return error < 0 ? error : adoptNew(context, directory, place, name, FileMode.S_IFDIR, mode, owner);
}

export function symlink(
  context: ExportContext,
  directory: HostNode,
  name: ByteString,
  target: ByteString,
  owner: Owner,
): HostNode | Failure {
  const refused = context.otherName.setTarget(target);
  if (refused < 0) return refused;
  const place = preparePlace(context, directory, name);
  if (isFailure(place)) return place;
  const error = symlinkat(context.otherName.address, place.fd, context.name.address);
  return error < 0 ? error : adoptNew(context, directory, place, name, FileMode.S_IFLNK, 0, owner);
}

/** Regular files, FIFOs and sockets; devices where the operator allows them, since they would be devices on the host, too. */
export function mknod(
  context: ExportContext,
  directory: HostNode,
  name: ByteString,
  mode: number,
  rdev: number,
  owner: Owner,
): HostNode | Failure {
  // Without a type mknod(2) makes a regular file.
  const type = (mode & FileMode.S_IFMT) === 0 ? FileMode.S_IFREG : mode & FileMode.S_IFMT;
  const isDevice = type === FileMode.S_IFBLK || type === FileMode.S_IFCHR;
  if (isDevice && !context.limits.allowDeviceNodes) return -Errno.EPERM;
  if (!isDevice && type !== FileMode.S_IFREG && type !== FileMode.S_IFIFO && type !== FileMode.S_IFSOCK) {
    return -Errno.EINVAL;
  }
  const place = preparePlace(context, directory, name);
  if (isFailure(place)) return place;
  const device = isDevice ? rdev : 0;
  const error = mknodat(place.fd, context.name.address, type | firstMode(place, mode), device);
  return error < 0 ? error : adoptNew(context, directory, place, name, type, mode, owner);
}

function preparePlace(context: ExportContext, directory: HostNode, name: ByteString): Place | Failure {
  if (directory.type !== FileMode.S_IFDIR) return -Errno.ENOTDIR;
  const fd = directory.handle();
  if (fd < 0) return fd;
  const refused = context.name.setName(name);
  if (refused < 0) return refused;
  const error = context.statx.load(fd, StatxMask.STATX_MODE);
  if (error < 0) return error;
  const inheritsGroup = (context.statx.mode & FileMode.S_ISGID) !== 0;
  return { fd, inheritsGroup, inheritsAcl: fgetxattrOPath(fd, DEFAULT_ACL, DEFAULT_ACL, 0) > 0 };
}

function firstMode(place: Place, mode: number): number {
  return mode & (place.inheritsAcl ? 0o777 : OWNER_ONLY);
}

/** Opens what was just made under `context.name`, hands it over and makes it a node; removes it where that fails. */
function adoptNew(
  context: ExportContext,
  directory: HostNode,
  place: Place,
  name: ByteString,
  type: number,
  mode: number,
  owner: Owner,
): HostNode | Failure {
  const fd = context.openEntry(place.fd, context.name.address);
  let error = fd < 0 ? fd : checkNew(context, fd, type);
  if (error === 0) error = handOver(context, place, fd, mode, owner);
  if (error === 0) return directory.adoptOpened(name, fd);
  if (error !== -Errno.ESTALE) {
    unlinkat(place.fd, context.name.address, type === FileMode.S_IFDIR ? AtFlags.AT_REMOVEDIR : 0);
  }
  if (fd >= 0) closeFd(fd);
  return error;
}

/**
 * Fills `context.statx`. -ESTALE where somebody has put another file in the new one's place: one of another type, or a hard link to
 * a file that was there before and must not be given away.
 */
function checkNew({ statx }: ExportContext, fd: number, type: number): number {
  const error = statx.load(fd);
  if (error < 0) return error;
  const isNew = (statx.mode & FileMode.S_IFMT) === type && (type === FileMode.S_IFDIR || statx.nlink === 1);
  return isNew ? 0 : -Errno.ESTALE;
}

/** Gives the new file, whose attributes are in `context.statx`, its owner and mode. */
function handOver(context: ExportContext, place: Place, fd: number, mode: number, owner: Owner): number {
  const { statx } = context;
  const type = statx.mode & FileMode.S_IFMT;
  const error = context.limits.privileged ? giveAway(context, place, fd, owner) : 0;
  if (error < 0 || type === FileMode.S_IFLNK) return error;
  const granted = place.inheritsAcl ? (statx.mode & 0o777) | (mode & 0o7000) : mode;
  const wanted = modeOfNew(granted, type === FileMode.S_IFDIR, place.inheritsGroup, owner.uid);
  return wanted === (statx.mode & 0o7777) ? 0 : fchmodOPath(fd, wanted);
}

function giveAway({ statx }: ExportContext, place: Place, fd: number, owner: Owner): number {
  const gid = place.inheritsGroup ? statx.gid : owner.gid;
  return statx.uid === owner.uid && statx.gid === gid ? 0 : fchown(fd, owner.uid, gid);
}
