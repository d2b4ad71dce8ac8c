/** What `stat`, `readdir` and `statfs` answer, in the shape of Node's. */
import { FileTypeMode } from './constants.js';
import type { Attributes, RawDirectoryEntry } from './messages.js';
import { toText } from './path.js';

/** `stat(2)`. */
export class Stats {
  /** File type and permissions, as `st_mode` has them. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly nlink: number;
  readonly rdev: number;
  /** In bytes. */
  readonly size: number;
  readonly blksize: number;
  /** In units of 512 bytes. */
  readonly blocks: number;
  readonly #attributes: Attributes;

  constructor(attributes: Attributes) {
    this.#attributes = attributes;
    this.mode = attributes.mode;
    this.uid = attributes.uid;
    this.gid = attributes.gid;
    this.nlink = attributes.nlink;
    this.rdev = attributes.rdev;
    this.size = attributes.sizeBytes;
    this.blksize = attributes.blockSizeBytes;
    this.blocks = attributes.blocks;
  }

  /** The qid's path: what a Linux guest makes its inode number of. */
  get ino(): bigint {
    const { pathLow, pathHigh } = this.#attributes.qid;
    return (BigInt(pathHigh) << 32n) | BigInt(pathLow);
  }

  get atimeMs(): number {
    return toMs(this.#attributes.atimeSeconds, this.#attributes.atimeNanoseconds);
  }

  get mtimeMs(): number {
    return toMs(this.#attributes.mtimeSeconds, this.#attributes.mtimeNanoseconds);
  }

  get ctimeMs(): number {
    return toMs(this.#attributes.ctimeSeconds, this.#attributes.ctimeNanoseconds);
  }

  /** Nanoseconds since 1970, exactly. */
  get atimeNs(): bigint {
    return toNs(this.#attributes.atimeSeconds, this.#attributes.atimeNanoseconds);
  }

  get mtimeNs(): bigint {
    return toNs(this.#attributes.mtimeSeconds, this.#attributes.mtimeNanoseconds);
  }

  get ctimeNs(): bigint {
    return toNs(this.#attributes.ctimeSeconds, this.#attributes.ctimeNanoseconds);
  }

  isFile(): boolean {
    return this.#is(FileTypeMode.S_IFREG);
  }

  isDirectory(): boolean {
    return this.#is(FileTypeMode.S_IFDIR);
  }

  isSymbolicLink(): boolean {
    return this.#is(FileTypeMode.S_IFLNK);
  }

  isFIFO(): boolean {
    return this.#is(FileTypeMode.S_IFIFO);
  }

  isSocket(): boolean {
    return this.#is(FileTypeMode.S_IFSOCK);
  }

  isBlockDevice(): boolean {
    return this.#is(FileTypeMode.S_IFBLK);
  }

  isCharacterDevice(): boolean {
    return this.#is(FileTypeMode.S_IFCHR);
  }

  #is(type: number): boolean {
    return (this.mode & FileTypeMode.S_IFMT) === type;
  }
}

function toMs(seconds: number, nanoseconds: number): number {
  return seconds * 1000 + nanoseconds / 1e6;
}

function toNs(seconds: number, nanoseconds: number): bigint {
  return BigInt(seconds) * 1_000_000_000n + BigInt(nanoseconds);
}

/** An entry of a directory. Its type is a `d_type` of `readdir(3)`, which is the file type of a mode shifted down by 12. */
export class DirectoryEntry {
  /** In UTF-8; `nameBytes` has names that are not. */
  readonly name: string;
  readonly nameBytes: Uint8Array;
  readonly type: number;

  constructor(entry: RawDirectoryEntry) {
    this.name = toText(entry.name);
    this.nameBytes = entry.name;
    this.type = entry.type;
  }

  isFile(): boolean {
    return this.type === FileTypeMode.S_IFREG >> 12;
  }

  isDirectory(): boolean {
    return this.type === FileTypeMode.S_IFDIR >> 12;
  }

  isSymbolicLink(): boolean {
    return this.type === FileTypeMode.S_IFLNK >> 12;
  }
}
