/** Making, linking and removing entries of an overlay's directories. */
import { Errno, isFailure, type Failure } from '../../../errno.js';
import { createOrOpen } from '../create-or-open.js';
import {
  Attributes,
  FileMode,
  OpenFlag,
  type ByteString,
  type Created,
  type FsNode,
  type MaybePromise,
  type Owner,
} from '../file-system.js';
import { copyUp, raise } from './copy-up.js';
import { lookBelow, lookup, releaseFound } from './lookup.js';
import { Marks, originMark, type Mark } from './marks.js';
import { Layer } from './overlay-context.js';
import { mergedEntries } from './overlay-directory.js';
import { OverlayFile } from './overlay-file.js';
import type { OverlayNode } from './overlay-node.js';
import { isReserved } from './reserved-names.js';

/** Creates a regular file and opens it; opens what is there where O_EXCL does not forbid it. */
export function create(
  directory: OverlayNode,
  name: ByteString,
  flags: number,
  mode: number,
  owner: Owner,
): Promise<Created | Failure> {
  return createOrOpen(
    flags,
    () => directory.context.lock.exclusive(() => createNew(directory, name, flags, mode, owner)),
    (left) => openExisting(directory, name, left),
  );
}

async function openExisting(
  directory: OverlayNode,
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

async function createNew(
  directory: OverlayNode,
  name: ByteString,
  flags: number,
  mode: number,
  owner: Owner,
): Promise<Created | Failure> {
  const upper = await claim(directory, name);
  if (isFailure(upper)) return upper;
  const created = await upper.create(name, flags | OpenFlag.O_EXCL, mode, owner);
  if (isFailure(created)) return created;
  const node = await adoptNew(directory, name, created.node);
  if (!isFailure(node)) return { node, file: new OverlayFile(node, created.file, flags) };
  await created.file.close();
  return node;
}

/** Makes an entry that is no open file by `make`. */
export function makeEntry(
  directory: OverlayNode,
  name: ByteString,
  make: (upper: FsNode) => MaybePromise<FsNode | Failure>,
): Promise<OverlayNode | Failure> {
  return directory.context.lock.exclusive(async () => {
    const upper = await claim(directory, name);
    const made = isFailure(upper) ? upper : await make(upper);
    return isFailure(made) ? made : adoptNew(directory, name, made);
  });
}

/** The upper layer's directory, brought there, in which nothing shows under the name. */
async function claim(directory: OverlayNode, name: ByteString): Promise<FsNode | Failure> {
  if (directory.type !== FileMode.S_IFDIR) return -Errno.ENOTDIR;
  if (isReserved(name)) return -Errno.EPERM;
  const found = await lookup(directory, name);
  if (!isFailure(found)) {
    releaseFound(found);
    return -Errno.EEXIST;
  }
  const error = found === -Errno.ENOENT ? await raise(directory) : found;
  return directory.upper ?? error;
}

/** The node of what was just made in the upper layer; takes `upper` over. */
async function adoptNew(
  directory: OverlayNode,
  name: ByteString,
  upper: FsNode,
): Promise<OverlayNode | Failure> {
  const attributes = new Attributes();
  let error = await upper.getattr(attributes);
  if (error === 0) error = directory.context.number(Layer.upper, attributes);
  if (error < 0) {
    upper.release();
    return error;
  }
  const type = attributes.mode & FileMode.S_IFMT;
  const { inodeLow, inodeHigh } = attributes;
  const marks = type === FileMode.S_IFDIR ? new Marks(upper) : undefined;
  const look = { node: upper, attributes };
  const found = { type, inodeLow, inodeHigh, upper: look, lower: undefined, redirect: undefined, marks };
  return directory.childFor(name, found);
}

export async function link(directory: OverlayNode, name: ByteString, target: OverlayNode): Promise<number> {
  if (directory.type !== FileMode.S_IFDIR) return -Errno.ENOTDIR;
  if (target.type === FileMode.S_IFDIR) return -Errno.EPERM;
  const error = await copyUp(target);
  if (error < 0) return error;
  return directory.context.lock.exclusive(async () => {
    const upper = await claim(directory, name);
    const marks = await directory.marks();
    if (isFailure(upper)) return upper;
    if (isFailure(marks) || target.upper === undefined) return isFailure(marks) ? marks : -Errno.ESTALE;
    const before = marks.get(name);
    const refused = await marks.set(name, (await markOf(target)) || before);
    if (refused < 0) return refused;
    const answer = await upper.link(name, target.upper);
    if (answer < 0) await marks.set(name, before);
    return answer;
  });
}

/** What says of another name of this file in the upper layer where it came from. */
export async function markOf(node: OverlayNode): Promise<Mark> {
  const path = node.lowerPath();
  if (path === undefined || node.lower === undefined || node.isLinkedBelow) return '';
  const attributes = new Attributes();
  const error = await node.lower.getattr(attributes);
  return error < 0 ? '' : originMark(attributes, path);
}

/** True where the lower layer has something of this name, whether it shows or not. */
export async function isBelow(directory: OverlayNode, name: ByteString): Promise<boolean> {
  const look = await lookBelow(directory, name);
  if (isFailure(look)) return false;
  look.node.release();
  return true;
}

/** 0, or -ENOTEMPTY, or why the directory cannot be read. */
export async function checkEmpty(node: OverlayNode): Promise<number> {
  const entries = await mergedEntries(node);
  if (isFailure(entries)) return entries;
  return entries.length === 0 ? 0 : -Errno.ENOTEMPTY;
}

/** Removes an entry: what is below gets hidden before what is above goes. The lock is held. */
export async function unlinkEntry(
  directory: OverlayNode,
  name: ByteString,
  isDirectory: boolean,
): Promise<number> {
  const node = await directory.find(name);
  if (isFailure(node)) return node;
  let error = 0;
  if (isDirectory) error = node.type === FileMode.S_IFDIR ? await checkEmpty(node) : -Errno.ENOTDIR;
  else if (node.type === FileMode.S_IFDIR) error = -Errno.EISDIR;
  if (error === 0) error = await removeShown(directory, name, node);
  if (error === 0) node.detach();
  node.release();
  return error;
}

async function removeShown(directory: OverlayNode, name: ByteString, node: OverlayNode): Promise<number> {
  const { context } = directory;
  const hides = await isBelow(directory, name);
  const error = hides ? await raise(directory) : 0;
  if (error < 0) return error;
  const marks = await directory.marks();
  if (isFailure(marks)) return marks;
  const before = marks.get(name);
  const refused = hides ? await marks.set(name, '') : 0;
  if (refused < 0 || directory.upper === undefined || node.upper === undefined) return refused;
  const isDirectory = node.type === FileMode.S_IFDIR;
  const answer = isDirectory
    ? await context.dispose(directory.upper, name)
    : await directory.upper.unlink(name, false);
  await marks.set(name, answer < 0 ? before : hides ? '' : undefined);
  return answer;
}
