/**
 * All that is in a memfs volume as bytes, for a volume of another process: the same files with the same inode numbers, and those that have no
 * name any more and are open. memfs 4.80 has no such thing: its snapshots know neither hard links nor inode numbers nor times.
 *
 * A volume: counter[4] released[n], then the root, its node and its entries. A file's node comes with its first name. Then the files without
 * one, in the order in which they were asked for: ino[4] isThere[1], and a node where it has no other name.
 */
import type { Volume } from 'memfs';
import type { StateReader } from '../../../state-reader.js';
import type { StateWriter } from '../../../state-writer.js';
import { FileMode } from '../file-system.js';
import { MAX_DEPTH } from './depth.js';
import { isEntryName } from './names.js';

type Superblock = Volume['_core'];
type Link = Superblock['root'];
type Node = ReturnType<Link['getNode']>;

const NODE_FIELDS = { ino: 4, mode: 4, uid: 4, gid: 4, nlink: 4, rdev: 8 } as const;
type Times = 'atime' | 'mtime' | 'ctime' | 'btime';
const TIMES: readonly Times[] = ['atime', 'mtime', 'ctime', 'btime'];
/** Milliseconds before and after 1970, as a whole number that is not negative. */
const TIME_BIAS = 2 ** 52;

/** What a node is beside its names. */
type NodeRecord = Record<keyof typeof NODE_FIELDS | Times, number> & { symlink: string; data: Uint8Array };

/** How much there is: bytes of content, and files of any kind. */
export function volumeSize({ _core: { inodes } }: Volume): {
  readonly bytes: number;
  readonly files: number;
} {
  const nodes = Object.values(inodes);
  return { bytes: nodes.reduce((sum, node) => sum + node.getSize(), 0), files: nodes.length };
}

/** @param nameless descriptors of files that no name leads to as their fids know them */
export function saveVolume({ _core: core }: Volume, nameless: readonly number[], writer: StateWriter): void {
  const seen = new Set<Node>();
  writer.write(4, core.ino);
  writer.list(core.releasedInos, (ino) => writer.write(4, ino));
  writeNode(writer, core.root.getNode());
  writeEntries(writer, core.root, seen);
  writer.list(nameless, (fd) => writeOnce(writer, core.fds[fd].node, seen));
}

/** Answers whether it is written now, and not as it was there already. */
function writeOnce(writer: StateWriter, node: Node, seen: Set<Node>): boolean {
  const isNew = !seen.has(node);
  writer.write(4, node.ino);
  writer.write(1, isNew ? 1 : 0);
  if (isNew) writeNode(writer, node);
  seen.add(node);
  return isNew;
}

function writeEntries(writer: StateWriter, directory: Link, seen: Set<Node>): void {
  writer.list(entriesOf(directory), ([name, link]) => {
    const node = link.getNode();
    writer.blob(Buffer.from(name));
    if (writeOnce(writer, node, seen) && node.isDirectory()) writeEntries(writer, link, seen);
  });
}

function entriesOf({ children }: Link): [string, Link][] {
  const entries: [string, Link][] = [];
  for (const [name, link] of children)
    if (link !== undefined && name !== '.' && name !== '..') entries.push([String(name), link]);
  return entries;
}

function writeNode(writer: StateWriter, node: Node): void {
  const { ino, mode, uid, gid, nlink, rdev } = node;
  writer.record(NODE_FIELDS, { ino, mode, uid, gid, nlink, rdev });
  for (const time of TIMES) writer.write(8, node[time].getTime() + TIME_BIAS);
  writer.blob(Buffer.from(node.symlink ?? ''));
  writer.blob(node.buf.subarray(0, node.getSize()));
}

/**
 * Fills an empty volume. Answers links that lead to the files without a name, in their order; undefined where that is nothing that was
 * saved: then the volume is of no use.
 */
export function restoreVolume(volume: Volume, reader: StateReader): Link[] | undefined {
  const core = volume._core;
  const [counter, released] = [reader.read(4), reader.list(() => reader.read(4))];
  // So that no inode gets a number meanwhile that is another one's.
  core.ino = counter;
  core.releasedInos = [];
  const restored = new Restored(core, reader, counter);
  restored.root();
  restored.entries(core.root, 1);
  const nameless = reader.list(() => restored.nameless());
  if (reader.overrun || restored.isBroken) return undefined;
  restored.finish();
  core.ino = counter;
  core.releasedInos = released;
  return nameless;
}

function readNode(reader: StateReader): NodeRecord {
  const fields = reader.record(NODE_FIELDS);
  const [atime, mtime, ctime, btime] = TIMES.map(() => reader.read(8) - TIME_BIAS);
  const symlink = Buffer.from(reader.blob()).toString();
  return { ...fields, atime, mtime, ctime, btime, symlink, data: reader.blob() };
}

class Restored {
  isBroken = false;
  readonly #core: Superblock;
  readonly #reader: StateReader;
  readonly #largestIno: number;
  readonly #nodes = new Map<number, Node>();
  readonly #records: [Node, NodeRecord][] = [];

  constructor(core: Superblock, reader: StateReader, largestIno: number) {
    this.#core = core;
    this.#reader = reader;
    this.#largestIno = largestIno;
  }

  root(): void {
    const { root } = this.#core;
    const record = readNode(this.#reader);
    this.#becomes(root.getNode(), record);
    this.isBroken ||= (record.mode & FileMode.S_IFMT) !== FileMode.S_IFDIR;
    root.ino = record.ino;
  }

  entries(directory: Link, depth: number): void {
    const reader = this.#reader;
    this.isBroken ||= depth > MAX_DEPTH;
    reader.list(() => {
      const name = Buffer.from(reader.blob()).toString();
      const [ino, isNew] = [reader.read(4), reader.read(1)];
      const node = isNew === 0 ? this.#nodes.get(ino) : this.#made(ino);
      this.isBroken ||= node === undefined || !isEntryName(name) || directory.children.has(name);
      if (node === undefined || this.isBroken) return;
      const isDirectory = node.isDirectory();
      this.isBroken ||= isDirectory && isNew === 0;
      const link = directory.createChild(name, node);
      if (isNew !== 0 && isDirectory) this.entries(link, depth + 1);
    });
  }

  /** A link that no directory has. */
  nameless(): Link {
    const { root, inodes } = this.#core;
    const [ino, isNew] = [this.#reader.read(4), this.#reader.read(1)];
    const node = isNew === 0 ? this.#nodes.get(ino) : this.#made(ino);
    this.isBroken ||= node === undefined;
    // It is of no inode table: its number is free, or another file's.
    if (isNew !== 0 && inodes[ino] === node) delete inodes[ino];
    const NewLink = root.constructor as new (core: Superblock, parent: Link, name: string) => Link;
    const link = new NewLink(this.#core, root, '');
    link.setNode(node ?? root.getNode());
    return link;
  }

  #made(ino: number): Node | undefined {
    const record = readNode(this.#reader);
    if (record.ino !== ino || this.isBroken) return undefined;
    const node = this.#core.createNode(record.mode);
    this.#becomes(node, record);
    return node;
  }

  /** Has an inode number from the record, and later everything else. */
  #becomes(node: Node, record: NodeRecord): void {
    const { inodes } = this.#core;
    if (inodes[node.ino] === node) delete inodes[node.ino];
    this.isBroken ||= record.ino > this.#largestIno;
    node.ino = record.ino;
    inodes[record.ino] ??= node;
    this.#nodes.set(record.ino, node);
    this.#records.push([node, record]);
  }

  /** Last of all, since making entries changes times and links of directories. */
  finish(): void {
    for (const [node, { mode, uid, gid, nlink, rdev, symlink, data, ...times }] of this.#records) {
      if (data.length > 0) node.setBuffer(Buffer.from(data.buffer, data.byteOffset, data.length));
      Object.assign(node, { mode, uid, gid, nlink, rdev });
      if ((mode & FileMode.S_IFMT) === FileMode.S_IFLNK) node.symlink = symlink;
      node.mtime = new Date(times.mtime);
      node.ctime = new Date(times.ctime);
      node.atime = new Date(times.atime);
      node.btime = new Date(times.btime);
    }
  }
}
