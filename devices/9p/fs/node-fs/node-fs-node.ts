/** A file of a node:fs-compatible object, as a fid names it: a place in the tree of names, from which its path follows. */
import { Errno, isFailure, type Failure } from '../../../errno.js';
import {
  FileMode,
  type FsNode,
  OpenFlag,
  type AttributeChanges,
  type Attributes,
  type ByteString,
  type Created,
  type FileSystemStatistics,
  type OpenFile,
  type MaybePromise,
  type Owner,
} from '../file-system.js';
import type { Given, Kept } from '../kept.js';
import { NamedNode } from '../named-node.js';
import { changeAttributes, dropSetId } from './attribute-changes.js';
import { call, callFor } from './calls.js';
import { descriptorTarget, pathTarget } from './change-target.js';
import { counted, create, mkdir, mknod, symlink } from './creation.js';
import type { FileAccount, Measure } from '../file-account.js';
import { inodeKey } from './inode-numbers.js';
import type { KeptAttributes } from './kept-attributes.js';
import { decodeName, encodeText, NAME_MAX_BYTES } from './names.js';
import { numbered } from './kept-number.js';
import type { NodeFsContext } from './node-fs-context.js';
import { NodeFsDirectory } from './node-fs-directory.js';
import { NodeFsFile } from './node-fs-file.js';
import type { NodeFsStatistics, NodeFsStats } from './node-fs-like.js';
import { objectFlags } from './open-flags.js';
import { removeEntry, renameEntry } from './removal.js';
import { number, typeOf, whole } from './stats.js';

export class NodeFsNode extends NamedNode<NodeFsNode> {
  /** S_IFMT bits. */
  readonly type: number;
  readonly inodeLow: number;
  readonly inodeHigh: number;
  /** Open files of this node: the only way to it once it has lost its name. */
  readonly #files = new Set<NodeFsFile>();
  /** Kept attributes of a file without a name, whose inode number the object may use again. */
  ownKept: KeptAttributes | undefined;
  readonly #context: NodeFsContext;
  /** What the object calls the inode, if it has a name for it. */
  readonly #key: string | undefined;
  /** The path of the root's node; '' for others. */
  readonly #rootPath: string;

  /** `stats` are those of the file at `path`, of which it is the only live node. `inode` is the number that guests know it by. */
  constructor(
    context: NodeFsContext,
    parent: NodeFsNode | null,
    name: ByteString,
    path: string,
    stats: NodeFsStats,
    inode = context.inodes.numberOf(path, stats),
  ) {
    super(parent, name);
    this.#context = context;
    this.#rootPath = parent === null ? path : '';
    this.type = typeOf(stats);
    this.#key = inodeKey(stats);
    this.inodeLow = inode.low;
    this.inodeHigh = inode.high;
    if (this.#key !== undefined) context.inodes.hold(this.#key, this);
  }

  protected override get self(): this {
    return this;
  }

  protected override onDetach(): void {
    if (this.#key !== undefined) this.#context.inodes.letGo(this.#key, this);
    if (this.#files.size > 0) this.#context.namelessNodes.add(this);
  }

  protected override onRelease(): void {
    if (this.#key !== undefined) this.#context.inodes.letGo(this.#key, this);
  }

  /** One of the open files of this node, if it has one. */
  get someFile(): NodeFsFile | undefined {
    const [file] = this.#files;
    return file;
  }

  closed(file: NodeFsFile): void {
    this.#files.delete(file);
    if (this.#files.size === 0) this.#context.namelessNodes.delete(this);
  }

  /** Where the file is, or undefined once it has no name. True as long as the path lock is held. */
  path(): string | undefined {
    const names: string[] = [];
    let node: NodeFsNode = this.self;
    for (let above = node.parentNode; above !== null; above = node.parentNode) {
      const name = decodeName(node.name);
      if (node.detached || typeof name !== 'string') return undefined;
      names.push(name);
      node = above;
    }
    return names.length === 0
      ? node.#rootPath
      : `${withoutSlash(node.#rootPath)}/${names.reverse().join('/')}`;
  }

  /** Where an entry of this directory is: -ENOTDIR, -ESTALE, or what is wrong with the name. */
  pathOf(name: ByteString): string | Failure {
    if (this.type !== FileMode.S_IFDIR) return -Errno.ENOTDIR;
    const decoded = decodeName(name);
    if (typeof decoded !== 'string') return decoded;
    const path = this.path();
    return path === undefined ? -Errno.ESTALE : `${withoutSlash(path)}/${decoded}`;
  }

  /** True where `stats` are of this very file, as far as the object lets one tell. */
  is(stats: NodeFsStats): boolean {
    return typeOf(stats) === this.type && inodeKey(stats) === this.#key;
  }

  /** The node of the entry `name`, at `path` with `stats`: the one there is, or a new one. With a reference for the caller. */
  childFor(name: ByteString, path: string, stats: NodeFsStats): NodeFsNode {
    const known = this.child(name);
    if (known?.is(stats) === true) {
      known.retain();
      return known;
    }
    known?.detach();
    const node = new NodeFsNode(this.#context, this, name, path, stats);
    this.adopt(node);
    return node;
  }

  override getattr(out: Attributes): Promise<number> {
    return this.#withStats(
      (stats, path) => this.#fill(out, stats, path),
      (file) => file.getattr(out),
    );
  }

  override setattr(changes: AttributeChanges): Promise<number> {
    const context = this.#context;
    return this.#withStats(
      async (stats, path) => {
        const account = context.account(stats);
        const measure: Measure = () => context.sizeAt(path);
        const target = pathTarget(context.fs, path, this.type);
        const subject = { target, stats, kept: context.keep(stats), account, measure };
        const answer = await changeAttributes(context, subject, changes);
        account?.release();
        return answer;
      },
      (file) => file.setattr(changes),
    );
  }

  override async walk(name: ByteString): Promise<NodeFsNode | Failure> {
    return this.#context.lock.shared(async () => {
      const path = this.pathOf(name);
      if (isFailure(path)) return path;
      const stats = await this.#context.lstat(path);
      if (!isFailure(stats)) return this.childFor(name, path, stats);
      if (stats === -Errno.ENOENT) this.child(name)?.detach();
      return stats;
    });
  }

  /** Regular files and directories only: others might be FIFOs and devices of the host. */
  override async open(flags: number): Promise<OpenFile | Failure> {
    switch (this.type) {
      case FileMode.S_IFREG:
        return (flags & OpenFlag.O_DIRECTORY) !== 0 ? -Errno.ENOTDIR : this.#openFile(flags);
      case FileMode.S_IFDIR:
        if ((flags & (OpenFlag.O_ACCMODE | OpenFlag.O_TRUNC)) !== 0) return -Errno.EISDIR;
        this.retain();
        return new NodeFsDirectory(this.#context, this);
      case FileMode.S_IFLNK:
        return -Errno.ELOOP;
      case FileMode.S_IFCHR:
      case FileMode.S_IFBLK:
        return -Errno.EACCES;
      default:
        return -Errno.ENXIO;
    }
  }

  /** By an open file, if it has one: there is no other way to it. */
  override keep(): Kept | Failure {
    if (this.#context.contents === undefined) return super.keep();
    return this.someFile === undefined ? -Errno.ESTALE : numbered(this.someFile.fd);
  }

  override regain(name: ByteString, given: Given): MaybePromise<NodeFsNode | Failure> {
    return this.#context.contents?.regain(this, name, given) ?? -Errno.ESTALE;
  }

  override async reopen(flags: number, given: Given): Promise<OpenFile | Failure> {
    const { contents } = this.#context;
    if (this.detached) return contents?.reopen(this, flags) ?? -Errno.ESTALE;
    const file = await this.open(flags);
    if (file instanceof NodeFsDirectory) file.goOn(contents?.listing(given));
    return file;
  }

  override create(name: ByteString, flags: number, mode: number, owner: Owner): Promise<Created | Failure> {
    return create(this.#context, this, name, flags, mode, owner);
  }

  override mkdir(name: ByteString, mode: number, owner: Owner): Promise<NodeFsNode | Failure> {
    return mkdir(this.#context, this, name, mode, owner);
  }

  override symlink(name: ByteString, target: ByteString, owner: Owner): Promise<NodeFsNode | Failure> {
    return symlink(this.#context, this, name, target, owner);
  }

  override mknod(name: ByteString, mode: number, _rdev: number, owner: Owner): Promise<NodeFsNode | Failure> {
    return mknod(this.#context, this, name, mode, owner);
  }

  override async link(name: ByteString, target: FsNode): Promise<number> {
    const { fs, lock } = this.#context;
    if (!this.#sharesObjectWith(target)) return -Errno.EXDEV;
    if (target.type === FileMode.S_IFDIR) return -Errno.EPERM;
    if (fs.link === undefined) return -Errno.EOPNOTSUPP;
    return lock.shared(async () => {
      const path = this.pathOf(name);
      if (isFailure(path)) return path;
      const existing = target.path();
      if (existing === undefined) return -Errno.ESTALE;
      return counted(this.#context, path, target.type, () => call((done) => fs.link?.(existing, path, done)));
    });
  }

  override async readlink(): Promise<ByteString | Failure> {
    if (this.type !== FileMode.S_IFLNK) return -Errno.EINVAL;
    return this.#context.lock.shared(async () => {
      const path = this.path();
      return path === undefined ? -Errno.ESTALE : readTarget(this.#context, path);
    });
  }

  override unlink(name: ByteString, directory: boolean): Promise<number> {
    return this.#context.lock.exclusive(() => removeEntry(this.#context, this, name, directory));
  }

  override async rename(name: ByteString, newDirectory: FsNode, newName: ByteString): Promise<number> {
    if (!this.#sharesObjectWith(newDirectory)) return -Errno.EXDEV;
    return this.#context.lock.exclusive(() => renameEntry(this.#context, this, name, newDirectory, newName));
  }

  override async remove(): Promise<number> {
    const directory = this.parentNode;
    if (directory === null) return -Errno.EBUSY;
    return this.#context.lock.exclusive(async () => {
      const error = await this.#checkName();
      return error < 0
        ? error
        : removeEntry(this.#context, directory, this.name, this.type === FileMode.S_IFDIR);
    });
  }

  override async renameTo(newDirectory: FsNode, newName: ByteString): Promise<number> {
    if (this.parentNode === null) return -Errno.EBUSY;
    if (!this.#sharesObjectWith(newDirectory)) return -Errno.EXDEV;
    return this.#context.lock.exclusive(async () => {
      const error = await this.#checkName();
      const directory = this.parentNode;
      if (error < 0 || directory === null) return error;
      return renameEntry(this.#context, directory, this.name, newDirectory, newName);
    });
  }

  override async statfs(out: FileSystemStatistics): Promise<number> {
    const { fs, lock, quota } = this.#context;
    if (quota !== undefined) {
      quota.fill(out);
      return 0;
    }
    if (fs.statfs === undefined) return -Errno.EOPNOTSUPP;
    const statistics = await lock.shared(async () => {
      const path = this.path();
      if (path === undefined) return -Errno.ESTALE;
      return callFor<NodeFsStatistics>((done) => fs.statfs?.(path, done));
    });
    if (isFailure(statistics)) return statistics;
    fillStatistics(out, statistics);
    return 0;
  }

  #sharesObjectWith(node: FsNode): node is NodeFsNode {
    return node instanceof NodeFsNode && node.#context === this.#context;
  }

  /** Goes to the file by its path, if the same file is there still, or by one of its open files. */
  async #withStats(
    byPath: (stats: NodeFsStats, path: string) => Promise<number> | number,
    byFile: (file: NodeFsFile) => Promise<number>,
  ): Promise<number> {
    return this.#context.lock.shared(async () => {
      const path = this.path();
      const stats = path === undefined ? -Errno.ESTALE : await this.#context.lstat(path);
      if (path !== undefined && !isFailure(stats) && this.is(stats)) return byPath(stats, path);
      const file = this.someFile;
      if (file !== undefined) return byFile(file);
      return isFailure(stats) && stats !== -Errno.ENOENT ? stats : -Errno.ESTALE;
    });
  }

  /** The lock is held. */
  async #fill(out: Attributes, stats: NodeFsStats, path: string): Promise<number> {
    this.#context.fill(out, stats, undefined);
    out.inodeLow = this.inodeLow;
    out.inodeHigh = this.inodeHigh;
    if (this.type !== FileMode.S_IFLNK || out.sizeBytes > 0) return 0;
    // memfs leaves out that a link is as long as its target.
    const target = await readTarget(this.#context, path);
    if (!isFailure(target)) out.sizeBytes = target.length;
    return 0;
  }

  /** 0 where the name leads to this file still. The lock is held. */
  async #checkName(): Promise<number> {
    const path = this.path();
    const stats = path === undefined ? -Errno.ESTALE : await this.#context.lstat(path);
    if (isFailure(stats)) return stats === -Errno.ENOENT ? -Errno.ESTALE : stats;
    return this.is(stats) ? 0 : -Errno.ESTALE;
  }

  async #openFile(flags: number): Promise<OpenFile | Failure> {
    const context = this.#context;
    const hostFlags = objectFlags(flags, context.fs.constants);
    if (isFailure(hostFlags)) return hostFlags;
    return context.lock.shared(async () => {
      const path = this.path();
      if (path === undefined) return -Errno.ESTALE;
      // Before the open, which might cut a file that is another one by now.
      const expected = await context.lstat(path);
      if (isFailure(expected)) return expected === -Errno.ENOENT ? -Errno.ESTALE : expected;
      if (!this.is(expected)) return -Errno.ESTALE;
      const account = context.account(expected);
      const open = (): Promise<number> =>
        callFor<number>((done) => context.fs.open(path, hostFlags, 0, done));
      const fd =
        account === undefined || (flags & OpenFlag.O_TRUNC) === 0
          ? await open()
          : await account.resize(0, () => context.sizeAt(path), open);
      const file = isFailure(fd) ? fd : await this.#checkOpened(fd, flags);
      account?.release();
      return file;
    });
  }

  /** Makes the file of a descriptor, unless what was opened is another file. */
  async #checkOpened(fd: number, flags: number): Promise<OpenFile | Failure> {
    const context = this.#context;
    const stats = await context.fstat(fd);
    let error = isFailure(stats) ? stats : this.is(stats) ? 0 : -Errno.ESTALE;
    if (!isFailure(stats) && error === 0 && (flags & OpenFlag.O_TRUNC) !== 0) {
      error = await dropSetId({ target: descriptorTarget(context.fs, fd), stats, kept: context.keep(stats) });
    }
    if (!isFailure(stats) && error === 0) return this.opened(fd, flags, context.account(stats));
    await call((done) => context.fs.close(fd, done));
    return error;
  }

  /** The open file of `fd`, which is this node's, with a hold of its account. The path lock is held since the file had this name. */
  opened(fd: number, flags: number, account: FileAccount | undefined): NodeFsFile {
    const file = new NodeFsFile(this.#context, this, fd, flags, account);
    this.#files.add(file);
    if (this.detached) this.#context.namelessNodes.add(this);
    return file;
  }
}

/** The bytes of a symbolic link's target. */
async function readTarget({ fs }: NodeFsContext, path: string): Promise<ByteString | Failure> {
  if (fs.readlink === undefined) return -Errno.EOPNOTSUPP;
  const target = await callFor<unknown>((done) => fs.readlink?.(path, done));
  if (isFailure(target)) return target;
  return typeof target === 'string' ? encodeText(target) : -Errno.EIO;
}

function withoutSlash(path: string): string {
  return path.endsWith('/') ? path.slice(0, -1) : path;
}

function fillStatistics(out: FileSystemStatistics, statistics: NodeFsStatistics): void {
  out.type = number(statistics.type) >>> 0;
  out.blockSizeBytes = Math.max(whole(statistics.bsize), 1);
  out.blocks = whole(statistics.blocks);
  out.blocksFree = whole(statistics.bfree);
  out.blocksAvailable = whole(statistics.bavail);
  out.files = whole(statistics.files);
  out.filesFree = whole(statistics.ffree);
  out.idLow = 0;
  out.idHigh = 0;
  out.nameLengthBytes = NAME_MAX_BYTES;
}
