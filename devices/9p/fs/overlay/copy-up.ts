/**
 * Brings a file of the lower layer to the upper one before it is changed. It is made where nobody sees it, whole, and put in its
 * place in one step: whoever is killed in between leaves the lower file showing.
 */
import { Errno, isFailure, type Failure } from '../../../errno.js';
import { Attributes, FileMode, type ByteString, type FsNode, type OpenFile } from '../file-system.js';
import { copyNode, setTimes } from './copy-node.js';
import { Layer } from './overlay-context.js';
import type { OverlayFile } from './overlay-file.js';
import type { OverlayNode } from './overlay-node.js';

/** A file that is open for reading below, and the one that is to take its place. */
interface Replacement {
  readonly file: OverlayFile;
  readonly inner: OpenFile;
}

/**
 * Sees to it that the file is in the upper layer: 0 or a negative errno. Of a regular file `limitBytes` are copied at most, for one
 * that is about to be cut. The lock is free.
 */
export function copyUp(node: OverlayNode, limitBytes?: number): Promise<number> | number {
  if (node.upper !== undefined) return 0;
  if (node.copying !== undefined) return node.copying;
  node.context.copies++;
  node.copying = copy(node, limitBytes).finally(() => {
    node.context.copies--;
    node.copying = undefined;
  });
  return node.copying;
}

async function copy(node: OverlayNode, limitBytes: number | undefined): Promise<number> {
  const { context } = node;
  if (node.type !== FileMode.S_IFREG) return context.lock.exclusive(() => raise(node));
  // Data moves without the lock: it may take long, and nothing can change it here.
  const name = context.newName();
  const copied = await makeCopy(node, name, limitBytes);
  if (isFailure(copied)) return copied;
  const error = await context.lock.exclusive(() => place(node, copied, name));
  if (error < 0 && node.upper === undefined) await discardCopy(node, copied, name);
  return error;
}

/** As `copyUp` for anything but a regular file, directories above it included. The lock is held. */
export async function raise(node: OverlayNode): Promise<number> {
  const missing: OverlayNode[] = [];
  let above: OverlayNode | null = node;
  for (; above !== null && above.upper === undefined; above = above.parentNode) {
    if (above.detached) return -Errno.ESTALE;
    missing.push(above);
  }
  for (let next = missing.pop(); next !== undefined; next = missing.pop()) {
    const name = node.context.newName();
    const copied = await makeCopy(next, name, undefined);
    if (isFailure(copied)) return copied;
    const error = await place(next, copied, name);
    if (error < 0 && next.upper === undefined) await discardCopy(next, copied, name);
    if (error < 0) return error;
  }
  return 0;
}

async function makeCopy(
  { context, lower }: OverlayNode,
  name: ByteString,
  limitBytes: number | undefined,
): Promise<FsNode | Failure> {
  if (lower === undefined) return -Errno.ESTALE;
  const attributes = new Attributes();
  const error = await lower.getattr(attributes);
  return error < 0 ? error : copyNode(lower, attributes, context.work, name, limitBytes);
}

async function discardCopy(node: OverlayNode, copied: FsNode, name: ByteString): Promise<void> {
  copied.release();
  await node.context.work.unlink(name, node.type === FileMode.S_IFDIR);
}

/** Puts the copy in the file's place; one that has lost its name loses that of the copy too. The lock is held. */
async function place(node: OverlayNode, copied: FsNode, name: ByteString): Promise<number> {
  const { context, parentNode: parent } = node;
  const replacements = await openReplacements(node, copied);
  if (isFailure(replacements)) return replacements;
  let error: number;
  if (node.detached || parent === null) error = await context.work.unlink(name, false);
  else error = await putInto(parent, node.name, name);
  if (error < 0) {
    for (const { inner } of replacements) await inner.close();
    return error;
  }
  for (const { file, inner } of replacements) file.replace(inner);
  node.raise(copied);
  // A file system without a way to rename a link makes it anew, and the node is stale.
  const again = node.type === FileMode.S_IFLNK ? await parent?.upper?.walk(node.name) : undefined;
  if (again !== undefined && !isFailure(again)) node.raise(again);
  return node.isLinkedBelow ? renumber(node) : 0;
}

/** The other names of the lower file go on with its number. */
async function renumber(node: OverlayNode): Promise<number> {
  const attributes = new Attributes();
  let error = await node.shown.getattr(attributes);
  if (error === 0) error = node.context.number(Layer.upper, attributes);
  if (error < 0) return error;
  node.inodeLow = attributes.inodeLow;
  node.inodeHigh = attributes.inodeHigh;
  return 0;
}

/** The directory's times stay: it has the same entries as before. */
async function putInto(parent: OverlayNode, name: ByteString, copy: ByteString): Promise<number> {
  const error = await raise(parent);
  const { upper } = parent;
  if (error < 0 || upper === undefined) return error;
  const times = new Attributes();
  const failed = (await upper.getattr(times)) || (await parent.context.work.rename(copy, upper, name));
  return failed < 0 ? failed : setTimes(upper, times);
}

async function openReplacements(node: OverlayNode, copied: FsNode): Promise<Replacement[] | Failure> {
  const replacements: Replacement[] = [];
  for (const file of node.files) {
    const inner = await copied.open(file.flags);
    if (!isFailure(inner)) {
      replacements.push({ file, inner });
      continue;
    }
    for (const { inner: opened } of replacements) await opened.close();
    return inner;
  }
  return replacements;
}
