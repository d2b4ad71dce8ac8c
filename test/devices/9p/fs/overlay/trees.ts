/** Whole file systems as text, and changes by path: what tests of an overlay compare it by. */
import { isFailure } from '../../../../../devices/errno.js';
import {
  FileMode,
  OpenFlag,
  SetAttr,
  type ByteString,
  type FileSystem,
  type FsNode,
  type MaybePromise,
} from '../../../../../devices/9p/fs/file-system.js';
import { attributesOf, changes, contentOf, failure, listing, ok, self, write } from '../suite/driver.js';

export type Operation =
  | { readonly kind: 'write'; readonly path: string; readonly content: string }
  | { readonly kind: 'append'; readonly path: string; readonly content: string }
  | { readonly kind: 'cut'; readonly path: string; readonly sizeBytes: number }
  | { readonly kind: 'mkdir' | 'unlink' | 'rmdir'; readonly path: string }
  | { readonly kind: 'rename' | 'link'; readonly path: string; readonly to: string }
  | { readonly kind: 'symlink'; readonly path: string; readonly target: string }
  | { readonly kind: 'chmod'; readonly path: string; readonly mode: number }
  | { readonly kind: 'xattr'; readonly path: string; readonly value: string };

/** Does it below `root` as a guest would, and answers 'OK' or the errno's name. */
export async function perform(root: FsNode, operation: Operation): Promise<string> {
  return withParent(root, operation.path, async (directory, name) => {
    switch (operation.kind) {
      case 'write':
        return overwrite(directory, name, OpenFlag.O_TRUNC, operation.content);
      case 'append':
        return overwrite(directory, name, OpenFlag.O_APPEND, operation.content);
      case 'mkdir':
        return released(directory.mkdir(name, 0o755, self));
      case 'symlink':
        return released(directory.symlink(name, operation.target, self));
      case 'unlink':
      case 'rmdir':
        return failure(directory.unlink(name, operation.kind === 'rmdir'));
      case 'rename':
        return withParent(root, operation.to, (to, newName) => failure(directory.rename(name, to, newName)));
      case 'link':
        return withNode(directory, name, (node) =>
          withParent(root, operation.to, (to, newName) => failure(to.link(newName, node))),
        );
      case 'cut':
        return withNode(directory, name, (node) =>
          failure(node.setattr(changes(SetAttr.P9_ATTR_SIZE, { sizeBytes: operation.sizeBytes }))),
        );
      case 'chmod':
        return withNode(directory, name, (node) =>
          failure(node.setattr(changes(SetAttr.P9_ATTR_MODE, { mode: operation.mode }))),
        );
      case 'xattr':
        return withNode(directory, name, (node) =>
          failure(node.setxattr('user.test', new TextEncoder().encode(operation.value), 0)),
        );
    }
  });
}

async function withParent(
  root: FsNode,
  path: string,
  work: (directory: FsNode, name: string) => Promise<string>,
): Promise<string> {
  const names = path.split('/').filter((name) => name !== '');
  const last = names.pop() ?? '';
  let node = root;
  node.retain();
  for (const name of names) {
    const next = await node.walk(name);
    node.release();
    if (isFailure(next)) return failure(next);
    node = next;
  }
  const answer = await work(node, last);
  node.release();
  return answer;
}

async function withNode(
  directory: FsNode,
  name: string,
  work: (node: FsNode) => Promise<string>,
): Promise<string> {
  const node = await directory.walk(name);
  if (isFailure(node)) return failure(node);
  const answer = await work(node);
  node.release();
  return answer;
}

async function released(answer: MaybePromise<FsNode | number>): Promise<string> {
  const node = await answer;
  if (isFailure(node)) return failure(node);
  node.release();
  return 'OK';
}

async function overwrite(directory: FsNode, name: string, flags: number, content: string): Promise<string> {
  const all = OpenFlag.O_CREAT | OpenFlag.O_RDWR | flags;
  const created = await directory.create(name, all, 0o644, self);
  if (isFailure(created)) return failure(created);
  await write(created.file, 0, content);
  await created.file.close();
  created.node.release();
  return 'OK';
}

/**
 * A line for each file: path, type and mode, content. Names of one file say so, by the first of them; not those of a symbolic link,
 * which file systems without a way to rename one make anew.
 */
export async function describeTree(fs: FileSystem): Promise<string[]> {
  const root = await ok<FsNode>(fs.attach());
  const lines: string[] = [];
  await describeBelow(root, '', lines, new Map());
  root.release();
  return lines;
}

async function describeBelow(
  directory: FsNode,
  path: string,
  lines: string[],
  seen: Map<string, string>,
): Promise<void> {
  const entries = await listing(directory);
  const names = entries.map(({ name }) => name).filter((name) => name !== '.' && name !== '..');
  for (const name of names.sort()) {
    const node = await ok<FsNode>(directory.walk(name));
    const at = `${path}/${name}`;
    const attributes = await attributesOf(node);
    const mode = attributes.mode.toString(8);
    const isDirectory = (attributes.mode & FileMode.S_IFMT) === FileMode.S_IFDIR;
    const inode = `${attributes.device}:${attributes.inodeHigh}:${attributes.inodeLow}`;
    const entry = entries.find((each) => each.name === name);
    if (entry?.inodeLow !== attributes.inodeLow || entry.inodeHigh !== attributes.inodeHigh)
      lines.push(`${at} is listed with another inode`);
    const isLink = (attributes.mode & FileMode.S_IFMT) === FileMode.S_IFLNK;
    const first = isLink ? undefined : seen.get(inode);
    seen.set(inode, first ?? at);
    const links = isDirectory || isLink ? '' : ` ${attributes.nlink}`;
    const xattrs = isDirectory || isFailure(await node.listxattr()) ? '' : await describeXattrs(node);
    const same = first === undefined ? '' : ` = ${first}`;
    lines.push(`${at} ${mode}${links}${await describeContent(node, attributes.mode)}${xattrs}${same}`);
    if (isDirectory) await describeBelow(node, at, lines, seen);
    node.release();
  }
}

async function describeContent(node: FsNode, mode: number): Promise<string> {
  switch (mode & FileMode.S_IFMT) {
    case FileMode.S_IFREG:
      return ` ${JSON.stringify(await contentOf(node))}`;
    case FileMode.S_IFLNK:
      return ` -> ${String(await node.readlink())}`;
    default:
      return '';
  }
}

async function describeXattrs(node: FsNode): Promise<string> {
  const value = await node.getxattr('user.test');
  return isFailure(value) ? '' : ` user.test=${Buffer.from(value).toString()}`;
}

/** Makes what the operations say in a file system, and fails where one of them does. */
export async function build(fs: FileSystem, operations: readonly Operation[]): Promise<void> {
  const root = await ok<FsNode>(fs.attach());
  for (const operation of operations) {
    const answer = await perform(root, operation);
    if (answer !== 'OK') throw new Error(`${operation.kind} ${operation.path}: ${answer}`);
  }
  root.release();
}

/** The node at a path, for the caller to release. */
export async function nodeAt(root: FsNode, path: ByteString): Promise<FsNode> {
  let node = root;
  node.retain();
  for (const name of path.split('/').filter((part) => part !== '')) {
    const next = await ok<FsNode>(node.walk(name));
    node.release();
    node = next;
  }
  return node;
}
