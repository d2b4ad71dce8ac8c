/** Brings one file of an overlay to its lower layer. */
import { Errno, isFailure, type Failure } from '../../../errno.js';
import {
  Attributes,
  FileMode,
  OpenFlag,
  type ByteString,
  type FsNode,
  type OpenFile,
} from '../file-system.js';
import type { Difference } from './compare.js';
import { copyMetadata, copyNode } from './copy-node.js';
import { differenceOf } from './diff.js';
import { lookAt } from './layer.js';
import { Layer, type OverlayContext } from './overlay-context.js';
import type { OverlayFile } from './overlay-file.js';
import type { OverlayNode } from './overlay-node.js';
import type { Pace } from './pace.js';
import type { Selection } from './selection.js';
import type { Stage } from './stage.js';

/** Most files with several names that one commit keeps together; names of others become files of their own. */
const LINKED_FILES_MAX = 65_536;

/** Told the path of what is about to be committed, or gone into. False has the commit stop there, with EINTR. */
export type OnEntry = (path: ByteString) => boolean;

/** A commit under way. */
export interface Commit {
  readonly context: OverlayContext;
  readonly stage: Stage;
  readonly selection: Selection;
  readonly pace: Pace;
  readonly onEntry: OnEntry;
  /** Upper files with several names, by inode number: where they were brought to. */
  readonly linked: Map<string, { readonly directory: FsNode; readonly name: ByteString }>;
}

/** Brings a file below, and takes it from the upper layer unless somebody writes to it still. */
export async function commitFile(
  job: Commit,
  directory: OverlayNode,
  name: ByteString,
  node: OverlayNode,
): Promise<number> {
  const marks = await directory.marks();
  if (isFailure(marks) || directory.upper === undefined || directory.lower === undefined)
    return isFailure(marks) ? marks : -Errno.ESTALE;
  const difference = await differenceToCommit(job, node);
  if (isFailure(difference)) return difference;
  let error = 0;
  if (difference === 'content') error = await replaceBelow(job, directory, name, node);
  if (difference === 'metadata') error = await giveAttributes(node, directory.lower, name);
  if (error === 0) error = await marks.set(name, undefined);
  if (error === 0) error = await becomeBelow(job.context, directory.lower, name, node);
  if (error < 0 || isPinned(node)) return error;
  return leaveUpper(directory.upper, name, node);
}

/** A file with several names is brought below as one, whatever the lower layer has under each of them. */
async function differenceToCommit({ linked }: Commit, node: OverlayNode): Promise<Difference | Failure> {
  const attributes = new Attributes();
  const error = node.upper === undefined ? -Errno.ESTALE : await node.upper.getattr(attributes);
  if (error < 0) return error;
  const isCopy = node.redirect === undefined && node.lower !== undefined;
  const isAlone = attributes.nlink === 1 && !linked.has(keyOf(attributes));
  return isCopy && isAlone ? differenceOf(node) : 'content';
}

function isPinned({ files }: OverlayNode): boolean {
  for (const file of files) if (file.isPinned) return true;
  return false;
}

/** What is open for reading is read below from now on. */
async function leaveUpper(upper: FsNode, name: ByteString, node: OverlayNode): Promise<number> {
  const opened: { file: OverlayFile; inner: OpenFile }[] = [];
  let error = 0;
  for (const file of node.files) {
    const inner = (await node.lower?.open(file.flags)) ?? -Errno.ESTALE;
    if (isFailure(inner)) error = inner;
    else opened.push({ file, inner });
  }
  if (error === 0) error = await upper.unlink(name, false);
  if (error < 0) {
    for (const { inner } of opened) await inner.close();
    return error;
  }
  for (const { file, inner } of opened) file.replace(inner);
  node.leaveUpper();
  return 0;
}

async function replaceBelow(
  job: Commit,
  directory: OverlayNode,
  name: ByteString,
  node: OverlayNode,
): Promise<number> {
  const { context, stage } = job;
  const attributes = new Attributes();
  if (node.upper === undefined || directory.lower === undefined) return -Errno.ESTALE;
  const error = await node.upper.getattr(attributes);
  if (error < 0) return error;
  const made = context.newName();
  const failed = await makeStaged(job, node.upper, attributes, made);
  if (failed < 0) return failed;
  const cleared = await clearDirectory(stage, directory.lower, name);
  if (cleared < 0) return cleared;
  const placed = await stage.directory.rename(made, directory.lower, name);
  if (placed === 0) rememberLinked(job, directory.lower, name, attributes);
  return placed;
}

/** Makes the file in the stage: as another name of one that was committed, or as a copy, on the disk. */
async function makeStaged(
  { stage, linked }: Commit,
  upper: FsNode,
  attributes: Attributes,
  made: ByteString,
): Promise<number> {
  const known = linked.get(keyOf(attributes));
  const other = known === undefined ? -Errno.ENOENT : await lookAt(known.directory, known.name);
  if (!isFailure(other)) {
    const error = await stage.directory.link(made, other.node);
    other.node.release();
    if (error === 0) return 0;
  }
  const copied = await copyNode(upper, attributes, stage.directory, made);
  if (isFailure(copied)) return copied;
  const error = (attributes.mode & FileMode.S_IFMT) === FileMode.S_IFREG ? await sync(copied) : 0;
  copied.release();
  return error;
}

async function sync(node: FsNode): Promise<number> {
  const file = await node.open(OpenFlag.O_RDONLY);
  if (isFailure(file)) return file;
  const error = await file.fsync(false);
  await file.close();
  return error;
}

/** A file cannot be renamed over a directory. */
async function clearDirectory(stage: Stage, below: FsNode, name: ByteString): Promise<number> {
  const look = await lookAt(below, name);
  if (isFailure(look)) return look === -Errno.ENOENT ? 0 : look;
  look.node.release();
  const isDirectory = (look.attributes.mode & FileMode.S_IFMT) === FileMode.S_IFDIR;
  return isDirectory ? stage.trash(below, name) : 0;
}

function keyOf({ device, inodeHigh, inodeLow }: Attributes): string {
  return `${device}:${inodeHigh}:${inodeLow}`;
}

function rememberLinked(
  { linked }: Commit,
  directory: FsNode,
  name: ByteString,
  attributes: Attributes,
): void {
  if (attributes.nlink < 2 || linked.has(keyOf(attributes)) || linked.size >= LINKED_FILES_MAX) return;
  directory.retain();
  linked.set(keyOf(attributes), { directory, name });
}

/** Gives the entry `name` of the lower layer the attributes of the file above. */
export async function giveAttributes(
  { upper }: OverlayNode,
  below: FsNode,
  name: ByteString,
): Promise<number> {
  const look = await lookAt(below, name);
  if (isFailure(look)) return look;
  const attributes = new Attributes();
  const error = upper === undefined ? -Errno.ESTALE : await upper.getattr(attributes);
  const answer = error < 0 || upper === undefined ? error : await copyMetadata(upper, attributes, look.node);
  look.node.release();
  return answer;
}

/** The node's lower layer is the entry `name` now, and the node has its number. */
export async function becomeBelow(
  context: OverlayContext,
  below: FsNode,
  name: ByteString,
  node: OverlayNode,
): Promise<number> {
  const look = await lookAt(below, name);
  if (isFailure(look)) return look;
  const error = context.number(Layer.lower, look.attributes);
  node.setLower(look.node);
  if (error < 0) return error;
  node.inodeLow = look.attributes.inodeLow;
  node.inodeHigh = look.attributes.inodeHigh;
  return 0;
}
