/**
 * A small file system in memory that watches its caller: every node and file that is given out is counted, used after it was
 * given back it throws, and any operation can be made to wait, to fail or to throw.
 */
import {
  FileMode,
  type FileSystemStatistics,
  FsNode,
  OpenFlag,
  type AttributeChanges,
  type Attributes,
  type Created,
  type DirectorySink,
  type FileSystem,
  type MaybePromise,
  type OpenFile,
  type Owner,
} from '../../../../../devices/9p/fs/file-system.js';
import { Errno, type Failure } from '../../../../../devices/errno.js';
import { applyChanges, fillAttributes, Inode, moveEntry, nameOf, unlinkEntry } from './inode.js';
import { MemoryFile } from './memory-file.js';

export class MemoryFileSystem implements FileSystem {
  readonly root = new Inode(2, FileMode.S_IFDIR | 0o755);
  /** Nodes and files given out and not given back. */
  liveNodes = 0;
  liveFiles = 0;
  closed = false;
  /** What was asked, in order: the operation and its first argument. */
  readonly calls: string[] = [];
  /** Fill attributes beside the answers of walks and of what makes files. */
  fillsAttributes = false;
  interruptInstead: (() => void) | undefined;
  /** What readdir does instead of giving the entries. */
  readdirInstead: ((cookie: number, sink: DirectorySink) => number) | undefined;
  /**
   * Called before each operation: it may throw, answer a failure to use instead, or a promise (of a failure, or of undefined to
   * go on).
   */
  before: ((operation: string) => MaybePromise<Failure | undefined>) | undefined;
  #nextInode = 100;
  readonly #gates = new Map<string, Gate>();

  attach(): MaybePromise<FsNode | Failure> {
    return this.run('attach', '', () => new MemoryNode(this, this.root));
  }

  close(): void {
    this.closed = true;
  }

  /** From now on `operation` waits until the gate is opened. */
  gate(operation: string): Gate {
    const gate = new Gate(() => this.#gates.delete(operation));
    this.#gates.set(operation, gate);
    return gate;
  }

  run<T>(operation: string, detail: string, act: () => T): MaybePromise<T | Failure> {
    this.calls.push(detail === '' ? operation : `${operation} ${detail}`);
    const waits = this.#gates.get(operation)?.arrive() ?? this.before?.(operation);
    if (waits === undefined) return act();
    if (typeof waits === 'number') return waits;
    return waits.then((failure) => failure ?? act());
  }

  make(parent: Inode, name: string, mode: number, owner?: Owner): Inode {
    const inode = new Inode(this.#nextInode++, mode, parent);
    inode.uid = owner?.uid ?? 0;
    inode.gid = owner?.gid ?? 0;
    parent.entries.set(name, inode);
    return inode;
  }

  file(name: string, text: string, parent = this.root): Inode {
    const inode = this.make(parent, name, FileMode.S_IFREG | 0o644);
    inode.data = new TextEncoder().encode(text);
    return inode;
  }

  directory(name: string, parent = this.root): Inode {
    return this.make(parent, name, FileMode.S_IFDIR | 0o755);
  }
}

/** Holds operations back. `arrived` settles once one is waiting. */
export class Gate {
  waiting = 0;
  readonly arrived: Promise<void>;
  readonly #open: Promise<undefined>;
  readonly #remove: () => void;
  #arrive!: () => void;
  #release!: () => void;

  constructor(remove: () => void) {
    this.arrived = new Promise((resolve) => (this.#arrive = resolve));
    this.#open = new Promise((resolve) => (this.#release = () => resolve(undefined)));
    this.#remove = remove;
  }

  arrive(): Promise<undefined> {
    this.waiting++;
    this.#arrive();
    return this.#open;
  }

  open(): void {
    this.#remove();
    this.#release();
  }
}

export class MemoryNode extends FsNode {
  readonly inode: Inode;
  readonly #fs: MemoryFileSystem;
  #references = 1;

  constructor(fs: MemoryFileSystem, inode: Inode) {
    super();
    this.#fs = fs;
    this.inode = inode;
    fs.liveNodes++;
  }

  #run<T>(operation: string, detail: string, act: () => T): MaybePromise<T | Failure> {
    if (this.#references <= 0) throw new Error(`${operation} on a node that was released`);
    return this.#fs.run(operation, detail, act);
  }

  #node(inode: Inode): MemoryNode {
    return new MemoryNode(this.#fs, inode);
  }

  override retain(): void {
    if (this.#references <= 0) throw new Error('retain on a node that was released');
    this.#references++;
  }

  override release(): void {
    if (this.#references <= 0) throw new Error('released once too often');
    if (--this.#references === 0) this.#fs.liveNodes--;
  }

  override getattr(out: Attributes): MaybePromise<number> {
    return this.#run('getattr', '', () => fillAttributes(this.inode, out));
  }

  override walk(name: string, out?: Attributes): MaybePromise<FsNode | Failure> {
    return this.#run('walk', name, () => {
      const child = this.inode.entries.get(name);
      if (child === undefined) return -Errno.ENOENT;
      this.#fill(child, out);
      return this.#node(child);
    });
  }

  #fill(inode: Inode, out: Attributes | undefined): void {
    if (out === undefined || !this.#fs.fillsAttributes) return;
    fillAttributes(inode, out);
    out.filled = true;
  }

  override parent(): MaybePromise<FsNode | Failure> {
    return this.#run('parent', '', () => this.#node(this.inode.parent));
  }

  override setattr(changes: AttributeChanges): MaybePromise<number> {
    return this.#run('setattr', '', () => applyChanges(this.inode, changes));
  }

  override open(flags: number): MaybePromise<OpenFile | Failure> {
    return this.#run('open', String(flags), () => {
      const writes = (flags & OpenFlag.O_ACCMODE) !== OpenFlag.O_RDONLY;
      if (this.inode.is(FileMode.S_IFDIR) && writes) return -Errno.EISDIR;
      if ((flags & OpenFlag.O_TRUNC) !== 0) this.inode.data = new Uint8Array(0);
      return new MemoryFile(this.#fs, this.inode, flags);
    });
  }

  override create(
    name: string,
    flags: number,
    mode: number,
    owner: Owner,
    out?: Attributes,
  ): MaybePromise<Created | Failure> {
    return this.#run('create', name, () => {
      const existing = this.inode.entries.get(name);
      if (existing !== undefined && (flags & OpenFlag.O_EXCL) !== 0) return -Errno.EEXIST;
      if (existing?.is(FileMode.S_IFDIR)) return -Errno.EISDIR;
      const inode = existing ?? this.#fs.make(this.inode, name, FileMode.S_IFREG | mode, owner);
      if ((flags & OpenFlag.O_TRUNC) !== 0) inode.data = new Uint8Array(0);
      this.#fill(inode, out);
      return { node: this.#node(inode), file: new MemoryFile(this.#fs, inode, flags) };
    });
  }

  #add(
    operation: string,
    name: string,
    mode: number,
    owner: Owner,
    fill?: (inode: Inode) => void,
  ): MaybePromise<FsNode | Failure> {
    return this.#run(operation, name, () => {
      if (this.inode.entries.has(name)) return -Errno.EEXIST;
      const inode = this.#fs.make(this.inode, name, mode, owner);
      fill?.(inode);
      return this.#node(inode);
    });
  }

  override mkdir(name: string, mode: number, owner: Owner): MaybePromise<FsNode | Failure> {
    return this.#add('mkdir', name, FileMode.S_IFDIR | mode, owner);
  }

  override symlink(name: string, target: string, owner: Owner): MaybePromise<FsNode | Failure> {
    return this.#add('symlink', name, FileMode.S_IFLNK | 0o777, owner, (inode) => (inode.target = target));
  }

  override mknod(name: string, mode: number, rdev: number, owner: Owner): MaybePromise<FsNode | Failure> {
    return this.#add('mknod', name, mode, owner, (inode) => (inode.rdev = rdev));
  }

  override link(name: string, target: FsNode): MaybePromise<number> {
    return this.#run('link', name, () => {
      const { inode } = target as MemoryNode;
      if (inode.is(FileMode.S_IFDIR)) return -Errno.EPERM;
      if (this.inode.entries.has(name)) return -Errno.EEXIST;
      this.inode.entries.set(name, inode);
      inode.nlink++;
      return 0;
    });
  }

  override readlink(): MaybePromise<string | Failure> {
    return this.#run('readlink', '', () =>
      this.inode.is(FileMode.S_IFLNK) ? this.inode.target : -Errno.EINVAL,
    );
  }

  override unlink(name: string, directory: boolean): MaybePromise<number> {
    return this.#run('unlink', name, () => unlinkEntry(this.inode, name, directory));
  }

  override rename(name: string, newDirectory: FsNode, newName: string): MaybePromise<number> {
    return this.#run('rename', name, () =>
      moveEntry(this.inode, name, (newDirectory as MemoryNode).inode, newName),
    );
  }

  override remove(): MaybePromise<number> {
    return this.#run('remove', '', () => {
      const name = nameOf(this.inode);
      if (name === undefined) return -Errno.ESTALE;
      return unlinkEntry(this.inode.parent, name, this.inode.is(FileMode.S_IFDIR));
    });
  }

  override renameTo(newDirectory: FsNode, newName: string): MaybePromise<number> {
    return this.#run('renameTo', newName, () => {
      const name = nameOf(this.inode);
      if (name === undefined) return -Errno.ESTALE;
      return moveEntry(this.inode.parent, name, (newDirectory as MemoryNode).inode, newName);
    });
  }

  override statfs(out: FileSystemStatistics): MaybePromise<number> {
    return this.#run('statfs', '', () => {
      Object.assign(out, {
        type: 0x01021997,
        blocks: 1000,
        blocksFree: 600,
        blocksAvailable: 500,
        files: 50,
      });
      Object.assign(out, { filesFree: 40, idLow: 0xdeadbeef, idHigh: 0x01020304 });
      return 0;
    });
  }

  override getxattr(name: string): MaybePromise<Uint8Array | Failure> {
    return this.#run('getxattr', name, () => this.inode.xattrs.get(name)?.slice() ?? -Errno.ENODATA);
  }

  override listxattr(): MaybePromise<Uint8Array | Failure> {
    const names = [...this.inode.xattrs.keys()].map((name) => `${name}\0`).join('');
    return this.#run('listxattr', '', () => Uint8Array.from(names, (character) => character.charCodeAt(0)));
  }

  override setxattr(name: string, value: Uint8Array, flags: number): MaybePromise<number> {
    return this.#run('setxattr', name, () => {
      const exists = this.inode.xattrs.has(name);
      if (flags === 1 && exists) return -Errno.EEXIST;
      if (flags === 2 && !exists) return -Errno.ENODATA;
      this.inode.xattrs.set(name, value);
      return 0;
    });
  }

  override removexattr(name: string): MaybePromise<number> {
    return this.#run('removexattr', name, () => (this.inode.xattrs.delete(name) ? 0 : -Errno.ENODATA));
  }
}
