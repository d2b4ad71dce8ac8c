/** The tree's own files and directories: they are always there, and no guest can change, make or remove any. */
import {
  FileMode,
  FsNode,
  OpenFile,
  type Attributes,
  type ByteString,
  type DirectorySink,
  type FileSystemStatistics,
} from '../file-system.js';
import { TREE_DEVICE } from './device-numbers.js';

/** `V9FS_MAGIC` of Linux: there is nothing below the tree's root that would have a type. */
const FILE_SYSTEM_TYPE = 0x01021997;
export const DT_DIR = 4;
export const DT_REG = 8;

export const TreeInode = {
  ...{ root: 1, ctl: 2, events: 3, ack: 4, helper: 5 },
  ...{ exec: 6, requests: 7, execScript: 8 },
} as const;
/** Children's entries are numbered from here on. */
export const FIRST_CHILD_INODE = 16;
const TWO_32 = 0x1_0000_0000;

/** What a file of the tree's own looks like. */
export interface SyntheticAttributes {
  readonly inode: number;
  readonly mode: number;
  readonly nlink: number;
  readonly sizeBytes: number;
  /** 0 with a size of 0 makes the qid's version 0, by which Linux knows that it must not cache what it reads. */
  readonly changedMs: number;
}

export function fillSynthetic(out: Attributes, attributes: SyntheticAttributes): number {
  const { inode, mode, nlink, sizeBytes, changedMs } = attributes;
  const seconds = Math.floor(changedMs / 1000);
  const nanoseconds = Math.round((changedMs % 1000) * 1_000_000);
  out.mode = mode;
  out.uid = 0;
  out.gid = 0;
  out.nlink = nlink;
  out.rdev = 0;
  out.sizeBytes = sizeBytes;
  out.blockSizeBytes = 4096;
  out.blocks = 0;
  out.atimeSeconds = out.mtimeSeconds = out.ctimeSeconds = seconds;
  out.atimeNanoseconds = out.mtimeNanoseconds = out.ctimeNanoseconds = nanoseconds;
  out.hasBtime = false;
  out.inodeLow = inode % TWO_32;
  out.inodeHigh = Math.floor(inode / TWO_32);
  out.device = TREE_DEVICE;
  return 0;
}

/** A node with no state of a guest's: one object for all fids. */
export abstract class SyntheticNode extends FsNode {
  protected abstract attributes(): SyntheticAttributes;

  override getattr(out: Attributes): number {
    return fillSynthetic(out, this.attributes());
  }

  override statfs(out: FileSystemStatistics): number {
    out.type = FILE_SYSTEM_TYPE;
    out.blocks = out.blocksFree = out.blocksAvailable = 0;
    out.files = out.filesFree = 0;
    out.idLow = out.idHigh = 0;
    return 0;
  }

  override retain(): void {}
  override release(): void {}
}

/** An entry of a directory of the tree's own. */
export interface SyntheticEntry {
  readonly name: ByteString;
  readonly inode: number;
  readonly type: number;
  /** Grows from entry to entry. */
  readonly cookie: number;
}

/**
 * An open directory of the tree's own. Entries come from a live iterator, so that reading on costs nothing however many there are, and
 * none that stays is left out or told twice.
 */
export class SyntheticListing extends OpenFile {
  readonly #node: SyntheticNode;
  readonly #entries: () => Iterator<SyntheticEntry>;
  #iterator: Iterator<SyntheticEntry> | undefined;
  /** The entry that comes next, where it has been looked at. */
  #next: SyntheticEntry | undefined;
  #cookie = 0;

  /** `entries` are those from the start, each time that it is called. */
  constructor(node: SyntheticNode, entries: () => Iterator<SyntheticEntry>) {
    super();
    this.#node = node;
    this.#entries = entries;
  }

  override readdir(cookie: number, sink: DirectorySink): number {
    if (this.#iterator === undefined || cookie !== this.#cookie) this.#seek(cookie);
    for (let entry = this.#peek(); entry !== undefined; entry = this.#peek()) {
      const { name, inode, type, cookie: after } = entry;
      if (!sink.entry(name, inode % TWO_32, Math.floor(inode / TWO_32), type, after)) break;
      this.#cookie = after;
      this.#next = undefined;
    }
    return 0;
  }

  override getattr(out: Attributes): number {
    return this.#node.getattr(out);
  }

  override close(): void {
    this.#iterator = undefined;
    this.#next = undefined;
  }

  #peek(): SyntheticEntry | undefined {
    return (this.#next ??= this.#iterator?.next().value as SyntheticEntry | undefined);
  }

  #seek(cookie: number): void {
    this.#iterator = this.#entries();
    this.#next = undefined;
    this.#cookie = cookie;
    for (let entry = this.#peek(); entry !== undefined && entry.cookie <= cookie; entry = this.#peek())
      this.#next = undefined;
  }
}

/** `.` and `..`, which come first. */
export function* dots(own: number, above: number): Generator<SyntheticEntry> {
  yield { name: '.', inode: own, type: DT_DIR, cookie: 1 };
  yield { name: '..', inode: above, type: DT_DIR, cookie: 2 };
}

export const DIRECTORY_MODE = FileMode.S_IFDIR | 0o555;
