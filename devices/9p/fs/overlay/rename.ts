/**
 * Renaming in an overlay. A regular file is copied to the upper layer and moved there; a directory is not copied: its upper
 * directory is told where its lower one is, and moves alone.
 */
import { Errno, isFailure } from '../../../errno.js';
import { FileMode, type ByteString } from '../file-system.js';
import { copyUp, raise } from './copy-up.js';
import { checkEmpty, isBelow, markOf } from './entries.js';
import type { Mark } from './marks.js';
import type { OverlayNode } from './overlay-node.js';
import { isReserved } from './reserved-names.js';

/** Rounds of copying a file that is another one once it was copied. */
const RENAME_ATTEMPTS = 8;

/** Moves `name`, which has to be `expected` where that is given. */
export async function rename(
  directory: OverlayNode,
  name: ByteString,
  to: OverlayNode,
  newName: ByteString,
  expected: OverlayNode | undefined,
): Promise<number> {
  const { lock } = directory.context;
  for (let attempt = 0; attempt < RENAME_ATTEMPTS; attempt++) {
    const answer = await lock.exclusive(() =>
      expected === undefined ? tryRename(directory, name, to, newName) : tryRenameNode(expected, to, newName),
    );
    if (typeof answer === 'number') return answer;
    const error = await copyUp(answer);
    answer.release();
    if (error < 0) return error;
  }
  return -Errno.ESTALE;
}

async function tryRenameNode(
  node: OverlayNode,
  to: OverlayNode,
  newName: ByteString,
): Promise<number | OverlayNode> {
  const error = await node.checkName();
  const directory = node.parentNode;
  return error < 0 || directory === null ? error : tryRename(directory, node.name, to, newName);
}

/** Answers a file that has to be copied first, with a reference for the caller. The lock is held. */
async function tryRename(
  directory: OverlayNode,
  name: ByteString,
  to: OverlayNode,
  newName: ByteString,
): Promise<number | OverlayNode> {
  if (to.type !== FileMode.S_IFDIR) return -Errno.ENOTDIR;
  if (isReserved(newName)) return -Errno.EPERM;
  const node = await directory.find(name);
  if (isFailure(node)) return node;
  const found = node.isAbove(to) ? -Errno.EINVAL : await to.find(newName);
  const replaced = isFailure(found) ? undefined : found;
  let error = isFailure(found) && found !== -Errno.ENOENT ? found : 0;
  const isSame = replaced !== undefined && node.is(replaced);
  if (error === 0 && replaced !== undefined && !isSame)
    error = replaced.isAbove(directory) ? -Errno.ENOTEMPTY : await checkReplaceable(node, replaced);
  if (error < 0 || isSame) {
    replaced?.release();
    node.release();
    return error;
  }
  if (node.type === FileMode.S_IFREG && node.upper === undefined) {
    replaced?.release();
    return node;
  }
  const answer = await move(directory, name, to, newName, node, replaced);
  replaced?.release();
  node.release();
  return answer;
}

async function checkReplaceable(node: OverlayNode, replaced: OverlayNode): Promise<number> {
  if (node.type !== FileMode.S_IFDIR) return replaced.type === FileMode.S_IFDIR ? -Errno.EISDIR : 0;
  return replaced.type === FileMode.S_IFDIR ? checkEmpty(replaced) : -Errno.ENOTDIR;
}

/**
 * The order: the directory learns where its lower layer is, what is below either name is hidden, and only then it moves. Killed in
 * between, the file is at its old place, or at the new one.
 */
async function move(
  directory: OverlayNode,
  name: ByteString,
  to: OverlayNode,
  newName: ByteString,
  node: OverlayNode,
  replaced: OverlayNode | undefined,
): Promise<number> {
  const error = (await raise(to)) || (await raise(node));
  if (error < 0) return error;
  const origin = node.lowerPath();
  const isDirectory = node.type === FileMode.S_IFDIR;
  const mark = isDirectory ? '' : await markOf(node);
  if (isDirectory && origin !== undefined) {
    const marks = await node.marks();
    const refused = isFailure(marks) ? marks : await marks.setOrigin(origin);
    if (refused < 0) return refused;
  }
  const moved = await moveMarked(directory, name, to, newName, mark, replaced);
  if (moved < 0) return moved;
  if (isDirectory || mark !== '') node.redirect = origin;
  replaced?.detach();
  node.moveTo(to, newName);
  return 0;
}

async function moveMarked(
  directory: OverlayNode,
  name: ByteString,
  to: OverlayNode,
  newName: ByteString,
  mark: Mark,
  replaced: OverlayNode | undefined,
): Promise<number> {
  const marks = await directory.marks();
  const newMarks = await to.marks();
  if (isFailure(marks) || isFailure(newMarks)) return isFailure(marks) ? marks : (newMarks as number);
  const before = marks.get(name);
  const newBefore = newMarks.get(newName);
  const hidesOld = await isBelow(directory, name);
  const newMark = mark !== '' || (await isBelow(to, newName)) ? mark : undefined;
  let error = await newMarks.set(newName, newMark);
  if (error === 0 && hidesOld) error = await marks.set(name, '');
  if (error === 0) error = await moveAbove(directory, name, to, newName, replaced);
  if (error < 0) {
    await newMarks.set(newName, newBefore);
    await marks.set(name, before);
    return error;
  }
  return hidesOld ? 0 : marks.set(name, undefined);
}

/** An empty directory in the way still has its marks in it, and is taken away first. */
async function moveAbove(
  directory: OverlayNode,
  name: ByteString,
  to: OverlayNode,
  newName: ByteString,
  replaced: OverlayNode | undefined,
): Promise<number> {
  if (directory.upper === undefined || to.upper === undefined) return -Errno.ESTALE;
  const isInTheWay = replaced?.type === FileMode.S_IFDIR && replaced.upper !== undefined;
  const error = isInTheWay ? await to.context.dispose(to.upper, newName) : 0;
  return error < 0 ? error : directory.upper.rename(name, to.upper, newName);
}
