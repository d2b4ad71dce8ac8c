/**
 * Brings what guests changed to the lower layer. Each step leaves the overlay showing what it showed before, so that a commit that is
 * killed has lost nothing, and the next one goes on; guests may work meanwhile.
 *
 * Directories that were renamed come first, deepest first, to a stage in the lower layer: then the order in which they go to
 * their new names does not matter, even where two have changed places. Then the tree is gone through top down. A file is made whole
 * in the stage, synced, and renamed over the old one; only then it leaves the upper layer.
 */
import { Errno, isFailure, type Failure } from '../../../errno.js';
import { Attributes, FileMode, type ByteString, type FsNode } from '../file-system.js';
import { becomeBelow, commitFile, giveAttributes, type Commit, type OnEntry } from './commit-file.js';
import { copyMetadata, copyNode, setAttributes } from './copy-node.js';
import { findMoves, type Moves } from './diff.js';
import { isBelow } from './entries.js';
import { lookAt } from './layer.js';
import type { OverlayContext } from './overlay-context.js';
import type { OverlayNode } from './overlay-node.js';
import { ENTRIES_A_TURN, Pace } from './pace.js';
import { STAGE_DIRECTORY } from './reserved-names.js';
import type { Selection } from './selection.js';
import { Stage } from './stage.js';
import { upperNames } from './upper-entries.js';

/** 0, or the negative errno of what was in the way; what was done by then stays done. */
export async function commit(
  root: OverlayNode,
  selection: Selection,
  onEntry: OnEntry = () => true,
): Promise<number> {
  const { context } = root;
  const stage = await Stage.open(context);
  if (isFailure(stage)) return stage;
  const pace = new Pace(ENTRIES_A_TURN);
  const job: Commit = { context, stage, selection, pace, onEntry, linked: new Map() };
  let error = await stageMoves(job, root);
  if (error === 0) error = await commitRoot(job, root);
  if (error === 0) error = await commitEntries(job, root, '');
  for (const { directory } of job.linked.values()) directory.release();
  const closed = await context.lock.exclusive(() => stage.close());
  return error < 0 ? error : closed;
}

async function stageMoves(job: Commit, root: OverlayNode): Promise<number> {
  const moves = await findMoves(root);
  if (isFailure(moves)) return moves;
  const sorted = [...moves.directories].sort((a, b) => (a.source < b.source ? 1 : -1));
  const referred = new Set<ByteString>();
  for (const { path, source, origin } of sorted) {
    if (isStaged(origin) && !isStaged(source)) referred.add(origin.slice(origin.lastIndexOf('/') + 1));
    const isNeeded = job.selection.reaches(path);
    // What is staged was committed in part: the lower layer's users miss it.
    if (!isNeeded && !isStaged(source) && !job.selection.has(seenPath(source, moves))) continue;
    if (!isNeeded) job.selection.add(path);
    if (isStaged(source)) continue;
    const error = await job.context.lock.exclusive(() => stageMove(job, root, path));
    if (error < 0) return error;
  }
  return job.stage.strikeAllBut(referred);
}

/** Where the path of the lower layer was seen, before it was moved or removed. */
function seenPath(source: ByteString, { hidden }: Moves): ByteString {
  for (let at = source; at !== ''; at = at.slice(0, at.lastIndexOf('/'))) {
    const seen = hidden.get(at);
    if (seen !== undefined) return seen + source.slice(at.length);
  }
  return source;
}

function isStaged(source: ByteString): boolean {
  return source.startsWith(`/${STAGE_DIRECTORY}/`);
}

/** Moves the lower layer's directory of what is seen at `path` to the stage. The lock is held. */
async function stageMove({ context, stage }: Commit, root: OverlayNode, path: ByteString): Promise<number> {
  const node = await findPath(root, path);
  if (isFailure(node)) return node === -Errno.ENOENT ? 0 : node;
  const source = node.redirect;
  let error = 0;
  if (source !== undefined && !isStaged(source)) error = await moveToStage(context, stage, node, source);
  node.release();
  return error;
}

async function moveToStage(
  context: OverlayContext,
  stage: Stage,
  node: OverlayNode,
  source: ByteString,
): Promise<number> {
  const marks = await node.marks();
  if (isFailure(marks)) return marks;
  const name = await stage.announce(source);
  if (isFailure(name)) return name;
  const staged = `/${STAGE_DIRECTORY}/${name}`;
  const error = await marks.setOrigin(staged);
  if (error < 0) return error;
  const end = source.lastIndexOf('/');
  const above = await parentOf(context.lowerRoot, source);
  if (isFailure(above)) return above;
  const moved = await above.rename(source.slice(end + 1), stage.directory, name);
  above.release();
  if (moved < 0) return moved;
  node.redirect = staged;
  return stage.strike(name);
}

async function parentOf(root: FsNode, path: ByteString): Promise<FsNode | Failure> {
  let node: FsNode = root;
  node.retain();
  for (const name of path.slice(1).split('/').slice(0, -1)) {
    const look = await lookAt(node, name);
    node.release();
    if (isFailure(look)) return look;
    node = look.node;
  }
  return node;
}

/** The node that guests see at `path`, with a reference for the caller. The lock is held. */
export async function findPath(root: OverlayNode, path: ByteString): Promise<OverlayNode | Failure> {
  let node = root;
  node.retain();
  for (const name of path.split('/').filter((part) => part !== '')) {
    const next: OverlayNode | Failure = await node.find(name);
    node.release();
    if (isFailure(next)) return next;
    node = next;
  }
  return node;
}

async function commitRoot({ selection }: Commit, { upper, lower }: OverlayNode): Promise<number> {
  if (!selection.has('') || upper === undefined || lower === undefined) return 0;
  const attributes = new Attributes();
  const error = await upper.getattr(attributes);
  return error < 0 ? error : copyMetadata(upper, attributes, lower);
}

/** Commits what is in a directory that is in both layers, under its own name. */
async function commitEntries(job: Commit, directory: OverlayNode, path: ByteString): Promise<number> {
  const { lock } = job.context;
  const names = await lock.shared(() => upperNames(directory));
  if (isFailure(names)) return names;
  for (let name = names.pop(); name !== undefined; name = names.pop()) {
    const at = `${path}/${name}`;
    if (!job.selection.reaches(at)) continue;
    await job.pace.spend(1);
    if (!job.onEntry(at)) return -Errno.EINTR;
    const entry = name;
    const node = await lock.exclusive(() => commitEntry(job, directory, entry, at));
    if (isFailure(node)) return node;
    if (node === null) continue;
    let error = await commitEntries(job, node, at);
    if (error === 0 && job.selection.has(at))
      error = await lock.exclusive(() => lowerDirectory(job, directory, entry, node));
    node.release();
    if (error < 0) return error;
  }
  return 0;
}

/** Commits one entry; answers a directory that is to be gone into, with a reference, or null. The lock is held. */
async function commitEntry(
  job: Commit,
  directory: OverlayNode,
  name: ByteString,
  path: ByteString,
): Promise<OverlayNode | null | Failure> {
  const found = await directory.find(name);
  if (found === -Errno.ENOENT) return (await commitRemoval(job, directory, name)) || null;
  if (isFailure(found)) return found;
  const node = found;
  const isDirectory = node.type === FileMode.S_IFDIR;
  let error = 0;
  if (node.upper !== undefined) {
    if (isDirectory) error = await commitDirectory(job, directory, name, node, path);
    else if (job.selection.has(path)) error = await commitFile(job, directory, name, node);
  }
  if (error === 0 && isDirectory && node.upper !== undefined && node.redirect === undefined) return node;
  node.release();
  return error < 0 ? error : null;
}

async function commitRemoval({ stage }: Commit, directory: OverlayNode, name: ByteString): Promise<number> {
  const marks = await directory.marks();
  if (isFailure(marks) || marks.get(name) === undefined) return isFailure(marks) ? marks : 0;
  const error = await clearBelow(stage, directory, name);
  return error < 0 ? error : marks.set(name, undefined);
}

/** Takes away what the lower layer has under a name of which it does not show. */
async function clearBelow(stage: Stage, directory: OverlayNode, name: ByteString): Promise<number> {
  const { lower } = directory;
  if (lower === undefined || !(await isBelow(directory, name))) return 0;
  return stage.trash(lower, name);
}

/** Sees to it that the directory is in the lower layer, under its own name and with its own attributes. */
async function commitDirectory(
  job: Commit,
  directory: OverlayNode,
  name: ByteString,
  node: OverlayNode,
  path: ByteString,
): Promise<number> {
  const marks = await directory.marks();
  const ownMarks = await node.marks();
  if (isFailure(marks) || isFailure(ownMarks) || directory.lower === undefined)
    return isFailure(marks) ? marks : isFailure(ownMarks) ? ownMarks : -Errno.ESTALE;
  const { redirect } = node;
  // One that was renamed, and is not to be committed.
  if (redirect !== undefined && !isStaged(redirect)) return 0;
  let error = 0;
  if (redirect !== undefined) error = await placeStaged(job, directory, name, redirect);
  else if (node.lower === undefined) error = await makeBelow(job, directory, name, node);
  if (error === 0) error = await marks.set(name, undefined);
  if (error === 0) error = await ownMarks.setOrigin(undefined);
  if (error === 0 && job.selection.has(path)) error = await giveAttributes(node, directory.lower, name);
  return error < 0 ? error : becomeBelow(job.context, directory.lower, name, node);
}

async function placeStaged(
  { stage }: Commit,
  directory: OverlayNode,
  name: ByteString,
  redirect: ByteString,
): Promise<number> {
  if (directory.lower === undefined) return -Errno.ESTALE;
  const error = await clearBelow(stage, directory, name);
  if (error < 0) return error;
  return stage.directory.rename(redirect.slice(redirect.lastIndexOf('/') + 1), directory.lower, name);
}

async function makeBelow(
  { context, stage }: Commit,
  directory: OverlayNode,
  name: ByteString,
  { upper }: OverlayNode,
): Promise<number> {
  const attributes = new Attributes();
  if (upper === undefined || directory.lower === undefined) return -Errno.ESTALE;
  const error = (await upper.getattr(attributes)) || (await clearBelow(stage, directory, name));
  if (error < 0) return error;
  const made = context.newName();
  const copied = await copyNode(upper, attributes, stage.directory, made);
  if (isFailure(copied)) return copied;
  copied.release();
  return stage.directory.rename(made, directory.lower, name);
}

/** Once nothing is left in it, the upper directory goes. The lock is held. */
async function lowerDirectory(
  { context }: Commit,
  directory: OverlayNode,
  name: ByteString,
  node: OverlayNode,
): Promise<number> {
  const left = await upperNames(node);
  if (isFailure(left)) return left;
  const { upper, lower } = node;
  if (left.length > 0 || upper === undefined || lower === undefined || directory.upper === undefined)
    return 0;
  const attributes = new Attributes();
  const error = (await upper.getattr(attributes)) || (await setAttributes(lower, attributes));
  const disposed = error < 0 ? error : await context.dispose(directory.upper, name);
  if (disposed === 0) node.leaveUpper();
  return disposed;
}
