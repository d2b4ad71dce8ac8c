/**
 * Removing and renaming in a node:fs-compatible object. The checks that rename(2) makes are made here as well: memfs
 * leaves them out, replaces full directories, and moves what a symbolic link names instead of the link.
 *
 * The path lock is held alone throughout.
 */
import { Errno, isFailure } from '../../../errno.js';
import { FileMode, type ByteString } from '../file-system.js';
import { call, callFor } from './calls.js';
import type { FileAccount } from '../file-account.js';
import { inodeKey } from './inode-numbers.js';
import type { NodeFsContext } from './node-fs-context.js';
import type { NodeFsStats } from './node-fs-like.js';
import type { NodeFsNode } from './node-fs-node.js';
import { depthOf, MAX_DEPTH } from './depth.js';
import { number, typeOf, whole } from './stats.js';
import { heightOf } from './tree-walk.js';

/** Removes `name`: a directory where `isDirectory`, anything else where not. */
export async function removeEntry(
  context: NodeFsContext,
  directory: NodeFsNode,
  name: ByteString,
  isDirectory: boolean,
): Promise<number> {
  const path = directory.pathOf(name);
  if (isFailure(path)) return path;
  const stats = await context.lstat(path);
  if (isFailure(stats)) return stats;
  if ((typeOf(stats) === FileMode.S_IFDIR) !== isDirectory)
    return isDirectory ? -Errno.ENOTDIR : -Errno.EISDIR;
  return losing(context, path, stats, async (lost) => {
    const error = await removePath(context, path, isDirectory);
    if (error === 0) lost(directory.child(name));
    return error;
  });
}

/** Notes that the name is gone; `held` is the node that had it. */
type Lost = (held: NodeFsNode | undefined) => void;

/**
 * Runs `work`, which takes the name `path` from the file with these attributes and says when it has done so. The file's account is
 * held meanwhile, and its size asked for after that, so that writes under way cannot come in between.
 */
async function losing(
  context: NodeFsContext,
  path: string,
  stats: NodeFsStats,
  work: (lost: Lost) => Promise<number>,
): Promise<number> {
  const account = context.account(stats);
  const current = account === undefined ? stats : await context.lstat(path);
  const answer = isFailure(current)
    ? current
    : await work((held) => {
        noteLoss(context, held, current, account);
      });
  account?.release();
  return answer;
}

async function removePath({ fs }: NodeFsContext, path: string, isDirectory: boolean): Promise<number> {
  if (isDirectory) return fs.rmdir === undefined ? -Errno.EOPNOTSUPP : call((done) => fs.rmdir?.(path, done));
  return fs.unlink === undefined ? -Errno.EOPNOTSUPP : call((done) => fs.unlink?.(path, done));
}

/** Renames `name` to `newName` in `to`, which is a directory of the same object. */
export async function renameEntry(
  context: NodeFsContext,
  directory: NodeFsNode,
  name: ByteString,
  to: NodeFsNode,
  newName: ByteString,
): Promise<number> {
  const path = directory.pathOf(name);
  if (isFailure(path)) return path;
  const newPath = to.pathOf(newName);
  if (isFailure(newPath)) return newPath;
  const stats = await context.lstat(path);
  if (isFailure(stats)) return stats;
  const moved = directory.child(name);
  if (moved?.isAbove(to) === true) return -Errno.EINVAL;
  const replaced = await context.lstat(newPath);
  if (isFailure(replaced) && replaced !== -Errno.ENOENT) return replaced;
  if (!isFailure(replaced) && isOneFile(path, stats, newPath, replaced)) return 0;
  let error = await checkDepth(context, path, typeOf(stats), newPath);
  if (error < 0) return error;
  if (isFailure(replaced)) {
    error = await renamePath(context, path, typeOf(stats), newPath);
  } else {
    error = await checkReplaced(context, typeOf(stats), newPath, typeOf(replaced));
    if (error < 0) return error;
    error = await losing(context, newPath, replaced, (lost) =>
      renamePath(context, path, typeOf(stats), newPath, () => {
        lost(to.child(newName));
      }),
    );
  }
  if (error === 0) moved?.moveTo(to, newName);
  return error;
}

/** With a quota, no rename may take anything deeper than it could have been made. */
async function checkDepth(
  context: NodeFsContext,
  path: string,
  type: number,
  newPath: string,
): Promise<number> {
  const depth = depthOf(newPath);
  if (context.quota === undefined || depth <= depthOf(path)) return 0;
  const height = type === FileMode.S_IFDIR ? await heightOf(context, path) : 0;
  if (height < 0) return height;
  return depth + height > MAX_DEPTH ? -Errno.ENAMETOOLONG : 0;
}

function isOneFile(path: string, stats: NodeFsStats, newPath: string, replaced: NodeFsStats): boolean {
  if (path === newPath) return true;
  const key = inodeKey(stats);
  return (
    key !== undefined &&
    key === inodeKey(replaced) &&
    number(stats.nlink) > 1 &&
    typeOf(stats) === typeOf(replaced)
  );
}

/** What rename(2) says of a file in the way. */
async function checkReplaced(
  context: NodeFsContext,
  type: number,
  newPath: string,
  replacedType: number,
): Promise<number> {
  if (type !== FileMode.S_IFDIR) return replacedType === FileMode.S_IFDIR ? -Errno.EISDIR : 0;
  if (replacedType !== FileMode.S_IFDIR) return -Errno.ENOTDIR;
  const names = await context.list(newPath);
  if (isFailure(names)) return names;
  return names.length > 0 ? -Errno.ENOTEMPTY : 0;
}

/** `replaced` is called once the file at `newPath` has lost that name, where there is one. */
async function renamePath(
  context: NodeFsContext,
  path: string,
  type: number,
  newPath: string,
  replaced?: () => void,
): Promise<number> {
  const { fs } = context;
  if (type === FileMode.S_IFLNK) return moveLink(context, path, newPath, replaced);
  if (fs.rename === undefined) return -Errno.EOPNOTSUPP;
  const error = await call((done) => fs.rename?.(path, newPath, done));
  if (error === 0) replaced?.();
  return error;
}

/** Makes the link anew, since an object's rename might follow it. Neither name leads to nothing in between. */
async function moveLink(
  context: NodeFsContext,
  path: string,
  newPath: string,
  replaced?: () => void,
): Promise<number> {
  const { fs, quota } = context;
  if (fs.readlink === undefined || fs.symlink === undefined) return -Errno.EOPNOTSUPP;
  const target = await callFor<unknown>((done) => fs.readlink?.(path, done));
  if (typeof target !== 'string') return isFailure(target) ? target : -Errno.EIO;
  if (replaced !== undefined) {
    const error = await removePath(context, newPath, false);
    if (error < 0) return error;
    replaced();
  }
  let error = await call((done) => fs.symlink?.(target, newPath, done));
  if (error < 0) return error;
  quota?.addName(FileMode.S_IFLNK);
  error = await removePath(context, path, false);
  if (error === 0) quota?.giveName(FileMode.S_IFLNK);
  return error;
}

/** A name of the file with these attributes is gone; `held` is the node that had it. */
function noteLoss(
  context: NodeFsContext,
  held: NodeFsNode | undefined,
  stats: NodeFsStats,
  account: FileAccount | undefined,
): void {
  const key = inodeKey(stats);
  const isLast = typeOf(stats) === FileMode.S_IFDIR || number(stats.nlink) <= 1;
  if (isLast && key !== undefined) {
    // The object may give the number to a new file at once.
    if (held !== undefined) held.ownKept = context.kept.get(key);
    context.kept.delete(key);
  }
  if (isLast && account !== undefined) account.loseName(whole(stats.size));
  else context.quota?.giveName(typeOf(stats));
  held?.detach();
}
