/** Making files in a node:fs-compatible object, and giving them their owner and mode. */
import { Errno, isFailure, type Failure } from '../../../errno.js';
import { createOrOpen } from '../create-or-open.js';
import { FileMode, OpenFlag, type ByteString, type Created, type Owner } from '../file-system.js';
import { setOwner, setPermissions, type Subject } from './attribute-changes.js';
import { call, callFor } from './calls.js';
import { pathTarget } from './change-target.js';
import { OPEN_TO_ALL } from './kept-attributes.js';
import { decodeTarget } from './names.js';
import type { NodeFsContext } from './node-fs-context.js';
import type { NodeFsNode } from './node-fs-node.js';
import { objectFlags } from './open-flags.js';
import { number, typeOf } from './stats.js';

/** Creates a regular file and opens it; opens what is there where O_EXCL does not forbid it. */
export function create(
  context: NodeFsContext,
  directory: NodeFsNode,
  name: ByteString,
  flags: number,
  mode: number,
  owner: Owner,
): Promise<Created | Failure> {
  return createOrOpen(
    flags,
    () => createNew(context, directory, name, flags, mode, owner),
    (left) => openExisting(directory, name, left),
  );
}

async function openExisting(
  directory: NodeFsNode,
  name: ByteString,
  flags: number,
): Promise<Created | Failure> {
  const node = await directory.walk(name);
  if (isFailure(node)) return node;
  const file = node.type === FileMode.S_IFDIR ? -Errno.EISDIR : await node.open(flags);
  if (!isFailure(file)) return { node, file };
  node.release();
  return file;
}

function createNew(
  context: NodeFsContext,
  directory: NodeFsNode,
  name: ByteString,
  flags: number,
  mode: number,
  owner: Owner,
): Promise<Created | Failure> {
  return context.lock.shared(async () => {
    const opened = await openNew(context, directory, name, flags, mode);
    if (isFailure(opened)) return opened;
    const { path, fd } = opened;
    const stats = await context.fstat(fd);
    let answer: Created | Failure;
    if (isFailure(stats)) {
      answer = stats;
    } else {
      const node = await handOver(context, directory, name, path, mode, owner);
      answer = isFailure(node) ? node : { node, file: node.opened(fd, flags, context.account(stats)) };
    }
    if (isFailure(answer)) await call((done) => context.fs.close(fd, done));
    return answer;
  });
}

/** Makes and opens a file that was not there. */
async function openNew(
  context: NodeFsContext,
  directory: NodeFsNode,
  name: ByteString,
  flags: number,
  mode: number,
): Promise<{ path: string; fd: number } | Failure> {
  const { fs, ownership } = context;
  const path = directory.pathOf(name);
  if (isFailure(path)) return path;
  const hostFlags = objectFlags(flags | OpenFlag.O_CREAT | OpenFlag.O_EXCL, fs.constants);
  if (isFailure(hostFlags)) return hostFlags;
  const firstMode = ownership === 'kept' ? OPEN_TO_ALL : mode & 0o777;
  const fd = await counted(context, path, FileMode.S_IFREG, () =>
    callFor<number>((done) => fs.open(path, hostFlags, firstMode, done)),
  );
  return isFailure(fd) ? fd : { path, fd };
}

export async function mkdir(
  context: NodeFsContext,
  directory: NodeFsNode,
  name: ByteString,
  mode: number,
  owner: Owner,
): Promise<NodeFsNode | Failure> {
  const { fs, lock, ownership } = context;
  if (fs.mkdir === undefined) return -Errno.EOPNOTSUPP;
  return lock.shared(async () => {
    const path = directory.pathOf(name);
    if (isFailure(path)) return path;
    const firstMode = ownership === 'kept' ? OPEN_TO_ALL : mode & 0o777;
    const error = await counted(context, path, FileMode.S_IFDIR, () =>
      call((done) => fs.mkdir?.(path, firstMode, done)),
    );
    return error < 0 ? error : handOver(context, directory, name, path, mode, owner);
  });
}

export async function symlink(
  context: NodeFsContext,
  directory: NodeFsNode,
  name: ByteString,
  target: ByteString,
  owner: Owner,
): Promise<NodeFsNode | Failure> {
  const { fs, lock } = context;
  if (fs.symlink === undefined) return -Errno.EOPNOTSUPP;
  const decoded = decodeTarget(target);
  if (isFailure(decoded)) return decoded;
  return lock.shared(async () => {
    const path = directory.pathOf(name);
    if (isFailure(path)) return path;
    const error = await counted(context, path, FileMode.S_IFLNK, () =>
      call((done) => fs.symlink?.(decoded, path, done)),
    );
    return error < 0 ? error : handOver(context, directory, name, path, 0, owner);
  });
}

/** Regular files; there are no functions for others. */
export async function mknod(
  context: NodeFsContext,
  directory: NodeFsNode,
  name: ByteString,
  mode: number,
  owner: Owner,
): Promise<NodeFsNode | Failure> {
  const type = mode & FileMode.S_IFMT;
  if (type !== 0 && type !== FileMode.S_IFREG) return -Errno.EPERM;
  const created = await createNew(context, directory, name, OpenFlag.O_WRONLY, mode, owner);
  if (isFailure(created)) return created;
  await created.file.close();
  return created.node as NodeFsNode;
}

/** Makes the name `path` of a file of S_IFMT `type` by `make`, within the quota. */
export async function counted(
  context: NodeFsContext,
  path: string,
  type: number,
  make: () => Promise<number>,
): Promise<number> {
  const refused = await context.takeName(path, type);
  if (refused < 0) return refused;
  const answer = await make();
  if (answer < 0) context.quota?.giveName(type);
  return answer;
}

/** Gives the new file at `path` its owner and mode, and makes it a node. */
async function handOver(
  context: NodeFsContext,
  directory: NodeFsNode,
  name: ByteString,
  path: string,
  mode: number,
  owner: Owner,
): Promise<NodeFsNode | Failure> {
  const stats = await context.lstat(path);
  if (isFailure(stats)) return stats;
  const type = typeOf(stats);
  const subject = { target: pathTarget(context.fs, path, type), stats, kept: context.keep(stats) };
  const given = await setOwner(context, subject, owner);
  // An object that cannot give files away makes them its own user's.
  const isRefusal = given === -Errno.EPERM || given === -Errno.EOPNOTSUPP;
  const error = given < 0 && !isRefusal ? given : await setMode(subject, type, mode & 0o7777);
  return error < 0 ? error : directory.childFor(name, path, stats);
}

/** The mode that open(2) and mkdir(2) were given passed through the process's umask, and left the special bits out. */
async function setMode(subject: Subject, type: number, permissions: number): Promise<number> {
  if (type === FileMode.S_IFLNK) return 0;
  const current = subject.kept?.permissions ?? number(subject.stats.mode) & 0o7777;
  if (current === permissions) return 0;
  const error = await setPermissions(subject, permissions);
  return error === -Errno.EOPNOTSUPP ? 0 : error;
}
