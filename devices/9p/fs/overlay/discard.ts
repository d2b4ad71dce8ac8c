/** Drops what guests changed: the lower layer shows again. Files that guests have open stay theirs until they are closed. */
import { Errno, isFailure } from '../../../errno.js';
import { FileMode, type ByteString } from '../file-system.js';
import { findPath } from './commit.js';
import { copyMetadata } from './copy-node.js';
import { findMoves, type Moves } from './diff.js';
import type { OverlayNode } from './overlay-node.js';
import { upperNames } from './upper-entries.js';
import { Attributes } from '../file-system.js';

/**
 * What was renamed goes back where it was, whichever of both paths is given. 0 or a negative errno; what was dropped by then stays
 * dropped.
 */
export async function discard(root: OverlayNode, paths: readonly ByteString[]): Promise<number> {
  const { lock } = root.context;
  if (paths.some((path) => path === '/' || path === '')) return discardAll(root);
  const moves = await findMoves(root);
  if (isFailure(moves)) return moves;
  for (const path of withOtherEnds(paths, moves)) {
    const error = await lock.exclusive(() => discardPath(root, path));
    if (error < 0) return error;
  }
  return 0;
}

async function discardAll(root: OverlayNode): Promise<number> {
  const { lock } = root.context;
  const names = await lock.shared(() => upperNames(root));
  if (isFailure(names)) return names;
  for (const name of names) {
    const error = await lock.exclusive(() => discardEntry(root, name));
    if (error < 0) return error;
  }
  const attributes = new Attributes();
  const { upper, lower } = root;
  if (upper === undefined || lower === undefined) return -Errno.ESTALE;
  const error = await lower.getattr(attributes);
  return error < 0 ? error : copyMetadata(lower, attributes, upper);
}

/** Adds, for what was renamed, the path that it had or has; deepest first, so that none goes before what is below it. */
function withOtherEnds(paths: readonly ByteString[], { hidden, moved }: Moves): ByteString[] {
  const chosen = new Set(paths);
  for (let before = -1; before !== chosen.size;) {
    before = chosen.size;
    for (const [source, path] of moved) {
      const seen = hidden.get(source);
      if (seen === undefined) continue;
      if (isIn(chosen, path)) chosen.add(seen);
      else if (isIn(chosen, seen)) chosen.add(path);
    }
  }
  return [...chosen].sort().reverse();
}

function isIn(chosen: ReadonlySet<ByteString>, path: ByteString): boolean {
  for (let at = path; at !== ''; at = at.slice(0, at.lastIndexOf('/'))) if (chosen.has(at)) return true;
  return false;
}

async function discardPath(root: OverlayNode, path: ByteString): Promise<number> {
  const end = path.lastIndexOf('/');
  const directory = await findPath(root, path.slice(0, end));
  // Gone with the directory that it was in.
  if (isFailure(directory))
    return directory === -Errno.ENOENT || directory === -Errno.ENOTDIR ? 0 : directory;
  const error = directory.type === FileMode.S_IFDIR ? await discardEntry(directory, path.slice(end + 1)) : 0;
  directory.release();
  return error;
}

/** What is above goes before what is below shows again. The lock is held. */
async function discardEntry(directory: OverlayNode, name: ByteString): Promise<number> {
  const { upper } = directory;
  const marks = await directory.marks();
  if (isFailure(marks) || upper === undefined) return isFailure(marks) ? marks : 0;
  const node = await directory.find(name);
  let error = isFailure(node) && node !== -Errno.ENOENT ? node : 0;
  if (!isFailure(node)) {
    const isDirectory = node.type === FileMode.S_IFDIR;
    if (node.upper !== undefined) {
      error = isDirectory ? await directory.context.dispose(upper, name) : await upper.unlink(name, false);
      if (error === 0) node.detach();
    }
    node.release();
  }
  return error < 0 ? error : marks.set(name, undefined);
}
