/** Removing and renaming under a policy. */
import { Errno, isFailure } from '../../../errno.js';
import type { ByteString } from '../file-system.js';
import { losing } from './counting.js';
import { isDirectory } from './looks.js';
import type { PolicyNode } from './policy-node.js';

/** Removes `name`, which has to be `expected` where that is given. */
export async function removeEntry(
  directory: PolicyNode,
  name: ByteString,
  isRmdir: boolean,
  expected?: PolicyNode,
): Promise<number> {
  const { context } = directory;
  const refused = directory.mayChangeEntry('unlink', name, -Errno.ENOENT);
  if (refused < 0) return refused;
  // A file system knows best whether its node still has its name.
  const remove = (): ReturnType<typeof directory.inner.unlink> =>
    expected === undefined ? directory.inner.unlink(name, isRmdir) : expected.inner.remove();
  const error = await (context.limitsFiles ? losingEntry(directory, name, remove) : remove());
  if (error === 0) (expected ?? directory.child(name))?.detach();
  return error;
}

async function losingEntry(
  { context, inner }: PolicyNode,
  name: ByteString,
  work: () => number | Promise<number>,
): Promise<number> {
  const node = await inner.walk(name);
  if (isFailure(node)) return node === -Errno.ENOENT ? work() : node;
  const answer = await losing(context, node, work);
  node.release();
  return answer;
}

/** Renames `name`, which has to be `expected` where that is given. Nothing else looks names up meanwhile. */
export async function renameEntry(
  directory: PolicyNode,
  name: ByteString,
  to: PolicyNode,
  newName: ByteString,
  expected?: PolicyNode,
): Promise<number> {
  const { context } = directory;
  const refused =
    directory.mayChangeEntry('rename', name, -Errno.ENOENT) ||
    to.mayChangeEntry('rename', newName) ||
    (await mayMove(directory, name, to, newName));
  if (refused < 0) return refused;
  const rename = (): number | Promise<number> =>
    expected === undefined
      ? directory.inner.rename(name, to.inner, newName)
      : expected.inner.renameTo(to.inner, newName);
  const isOne = context.limitsFiles && (await isOneFile(directory, name, to, newName));
  const error = await (context.limitsFiles && !isOne ? losingEntry(to, newName, rename) : rename());
  if (error === 0) await noteRename(directory, name, to, newName, expected);
  return error;
}

/** What is denied below a directory, by where that is, would show elsewhere. */
async function mayMove(
  directory: PolicyNode,
  name: ByteString,
  to: PolicyNode,
  newName: ByteString,
): Promise<number> {
  const { context } = directory;
  const { rules } = context;
  const path = directory.pathOf(name);
  if (!rules.hasPatterns || !rules.pinsDirectory(path)) return 0;
  const node = await directory.inner.walk(name);
  if (isFailure(node)) return node;
  const refused = (await isDirectory(node)) ? -Errno.EACCES : 0;
  node.release();
  // Where it is, it may stay.
  const stays = refused < 0 && directory === to && name === newName;
  return stays ? 0 : context.decided('rename', path, refused);
}

async function isOneFile(
  directory: PolicyNode,
  name: ByteString,
  to: PolicyNode,
  newName: ByteString,
): Promise<boolean> {
  const from = await directory.inner.walk(name);
  const there = await to.inner.walk(newName);
  const isOne = !isFailure(from) && !isFailure(there) && from === there;
  if (!isFailure(from)) from.release();
  if (!isFailure(there)) there.release();
  return isOne || (directory === to && name === newName);
}

/** The tree of names follows, as far as the file system says that the file has moved: two names of one file both stay. */
async function noteRename(
  directory: PolicyNode,
  name: ByteString,
  to: PolicyNode,
  newName: ByteString,
  expected: PolicyNode | undefined,
): Promise<void> {
  const { context } = directory;
  const left = directory === to && name === newName ? undefined : await directory.inner.walk(name);
  const stays = left === undefined || !isFailure(left);
  if (left !== undefined && !isFailure(left)) left.release();
  context.version++;
  if (!stays) (expected ?? directory.child(name))?.moveTo(to, newName);
}
