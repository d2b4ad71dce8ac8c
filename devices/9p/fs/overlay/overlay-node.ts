/** A file of an overlay, as a fid names it: in the upper layer, in the lower one until it is changed, or a directory in both. */
import { Errno, isFailure, type Failure } from '../../../errno.js';
import {
  FileMode,
  type FsNode,
  OpenFlag,
  SetAttr,
  type AttributeChanges,
  type Attributes,
  type ByteString,
  type Created,
  type FileSystemStatistics,
  type MaybePromise,
  type OpenFile,
  type Owner,
} from '../file-system.js';
import type { Given, Kept } from '../kept.js';
import { NamedNode } from '../named-node.js';
import { copyUp } from './copy-up.js';
import { create, link, makeEntry, unlinkEntry } from './entries.js';
import { innerDetails, keepNode, regainNode } from './kept-nodes.js';
import { lookup, releaseFound, type Directory, type Found } from './lookup.js';
import { Marks } from './marks.js';
import type { OverlayContext } from './overlay-context.js';
import { OverlayDirectory } from './overlay-directory.js';
import { OverlayFile } from './overlay-file.js';
import { rename } from './rename.js';

export class OverlayNode extends NamedNode<OverlayNode> implements Directory {
  readonly context: OverlayContext;
  /** S_IFMT bits. */
  readonly type: number;
  inodeLow: number;
  inodeHigh: number;
  upper: FsNode | undefined;
  /** Of a directory what shows below it, of a file what it was made from. */
  lower: FsNode | undefined;
  /** The path of `lower`, where that does not follow from the name. */
  redirect: ByteString | undefined;
  /** The lower file has other names, and keeps its inode number when this one is copied. */
  isLinkedBelow: boolean;
  /** Open regular files. */
  readonly files = new Set<OverlayFile>();
  /** The copy under way, which everybody who wants to change the file waits for. */
  copying: Promise<number> | undefined;
  /** Nodes of the layers, for as long as calls on them may be under way. */
  readonly #held: FsNode[] = [];
  #marks: Promise<Marks | Failure> | undefined;

  /** Takes over the layers' nodes in `found`. */
  constructor(context: OverlayContext, parent: OverlayNode | null, name: ByteString, found: Found) {
    super(parent, name);
    this.context = context;
    this.type = found.type;
    this.inodeLow = found.inodeLow;
    this.inodeHigh = found.inodeHigh;
    this.redirect = found.redirect;
    this.upper = found.upper?.node;
    this.lower = found.lower?.node;
    this.isLinkedBelow = (found.lower?.attributes.nlink ?? 0) > 1 && this.type !== FileMode.S_IFDIR;
    if (this.upper !== undefined) this.#held.push(this.upper);
    if (this.lower !== undefined) this.#held.push(this.lower);
    if (found.marks !== undefined) this.#marks = Promise.resolve(found.marks);
  }

  protected override get self(): this {
    return this;
  }

  protected override onDetach(): void {
    // The layers' nodes stay usable as far as the layers let them.
  }

  protected override onRelease(): void {
    for (const node of this.#held) node.release();
  }

  /** The layer that this file is read from. */
  get shown(): FsNode {
    const node = this.upper ?? this.lower;
    if (node === undefined) throw new Error('a node of an overlay is in no layer');
    return node;
  }

  /** Takes over `upper`: from now on the file is there. */
  raise(upper: FsNode): void {
    this.upper = upper;
    this.#held.push(upper);
  }

  /** A commit has brought the file below. */
  leaveUpper(): void {
    this.upper = undefined;
    this.#marks = undefined;
  }

  /** Takes over `lower`, which a commit has put under this file's own name. */
  setLower(lower: FsNode): void {
    this.lower = lower;
    this.redirect = undefined;
    this.isLinkedBelow = false;
    this.#held.push(lower);
  }

  async marks(): Promise<Marks | Failure> {
    if (this.upper === undefined) return NO_MARKS;
    this.#marks ??= Marks.load(this.upper);
    const marks = await this.#marks;
    if (isFailure(marks)) this.#marks = undefined;
    return marks;
  }

  /** Where the lower layer has this file, or what it was made from. '' for the root; undefined where it has nothing. */
  lowerPath(): ByteString | undefined {
    let path = '';
    for (let node: OverlayNode | null = this.self; node?.lower !== undefined; node = node.parentNode) {
      if (node.redirect !== undefined) return node.redirect + path;
      if (node.parentNode === null) return path;
      path = `/${node.name}${path}`;
    }
    return undefined;
  }

  /** The path that guests see. '' for the root. */
  path(): ByteString {
    let path = '';
    for (let node: OverlayNode = this.self; node.parentNode !== null; node = node.parentNode)
      path = `/${node.name}${path}`;
    return path;
  }

  /** The entry `name`, with a reference for the caller. May fill `out`. The lock is held. */
  async find(name: ByteString, out?: Attributes): Promise<OverlayNode | Failure> {
    if (this.type !== FileMode.S_IFDIR) return -Errno.ENOTDIR;
    const found = await lookup(this, name);
    if (isFailure(found)) {
      if (found === -Errno.ENOENT) this.child(name)?.detach();
      return found;
    }
    const node = this.childFor(name, found);
    // Of a directory in both layers, or what a copy was made from, the other layer's attributes count.
    if (out !== undefined && (found.upper === undefined) !== (found.lower === undefined)) {
      Object.assign(out, (found.upper ?? found.lower)?.attributes, { filled: true });
    }
    return node;
  }

  /** The node of what was found under `name`: the one there is, or a new one. With a reference for the caller. */
  childFor(name: ByteString, found: Found): OverlayNode {
    const known = this.child(name);
    if (known?.is(found) === true) {
      releaseFound(found);
      known.retain();
      return known;
    }
    known?.detach();
    const node = new OverlayNode(this.context, this, name, found);
    this.adopt(node);
    return node;
  }

  /** The node of a file that has lost its name, which was `name`. Takes over the layers' nodes. */
  adoptRegained(name: ByteString, found: Found): OverlayNode {
    const node = new OverlayNode(this.context, this, name, found);
    this.adoptNameless(node);
    return node;
  }

  is(found: Pick<Found, 'type' | 'inodeLow' | 'inodeHigh'>): boolean {
    return found.inodeLow === this.inodeLow && found.inodeHigh === this.inodeHigh && found.type === this.type;
  }

  override async getattr(out: Attributes): Promise<number> {
    return this.finish(await this.shown.getattr(out), out);
  }

  /** Makes a layer's attributes the overlay's. */
  finish(answer: number, out: Attributes): number {
    if (answer < 0) return answer;
    out.inodeLow = this.inodeLow;
    out.inodeHigh = this.inodeHigh;
    out.device = 0;
    // Nobody has counted the directories in both layers: 1 is how file systems say that they do not.
    if (this.type === FileMode.S_IFDIR && this.upper !== undefined && this.lower !== undefined) out.nlink = 1;
    if (this.detached && this.upper === undefined) out.nlink = Math.max(out.nlink - 1, 0);
    return 0;
  }

  override walk(name: ByteString, out?: Attributes): Promise<OverlayNode | Failure> {
    return this.context.lock.shared(() => this.find(name, out));
  }

  override async setattr(changes: AttributeChanges): Promise<number> {
    const cuts = (changes.valid & SetAttr.P9_ATTR_SIZE) !== 0;
    if (cuts && this.type !== FileMode.S_IFREG)
      return this.type === FileMode.S_IFDIR ? -Errno.EISDIR : -Errno.EINVAL;
    if (cuts && changes.sizeBytes < 0) return -Errno.EINVAL;
    return this.change((upper) => upper.setattr(changes), cuts ? changes.sizeBytes : undefined);
  }

  /**
   * Calls `change` with this file in the upper layer, brought there: a commit could take it from there in between, and the lower
   * layer would be changed. Of a regular file `limitBytes` are copied at most.
   */
  async change<T>(
    change: (upper: FsNode) => MaybePromise<T | Failure>,
    limitBytes?: number,
  ): Promise<T | Failure> {
    for (;;) {
      const error = await copyUp(this, limitBytes);
      if (error < 0) return error;
      const answer = await this.context.lock.shared(async () =>
        this.upper === undefined ? IN_LOWER : change(this.upper),
      );
      if (answer !== IN_LOWER) return answer;
    }
  }

  override async open(flags: number): Promise<OpenFile | Failure> {
    if (this.type === FileMode.S_IFDIR) return this.#openDirectory(flags);
    const changes = (flags & (OpenFlag.O_ACCMODE | OpenFlag.O_TRUNC)) !== 0;
    if (this.type === FileMode.S_IFREG && (flags & OpenFlag.O_DIRECTORY) === 0 && changes) {
      const limitBytes = (flags & OpenFlag.O_TRUNC) === 0 ? undefined : 0;
      return this.change((upper) => this.#openOn(upper, flags), limitBytes);
    }
    return this.context.lock.shared(() => this.#openOn(this.shown, flags));
  }

  /** By the layer's own where it has lost its name there, too; a file of the lower layer has it still. */
  override keep(): Kept | Failure {
    return keepNode(this);
  }

  override regain(name: ByteString, given: Given): Promise<OverlayNode | Failure> {
    return regainNode(this, name, given);
  }

  override async reopen(flags: number, { descriptor, details }: Given): Promise<OpenFile | Failure> {
    if (this.type === FileMode.S_IFDIR) return OverlayDirectory.goingOn(this, details);
    const given = { descriptor, details: innerDetails(details) };
    const reopenOn = (layer: FsNode): Promise<OpenFile | Failure> => this.#openOn(layer, flags, given);
    // What is open to be changed is in the upper layer already.
    if ((flags & OpenFlag.O_ACCMODE) !== OpenFlag.O_RDONLY) return this.change(reopenOn);
    return this.context.lock.shared(() => reopenOn(this.shown));
  }

  override create(name: ByteString, flags: number, mode: number, owner: Owner): Promise<Created | Failure> {
    return create(this, name, flags, mode, owner);
  }

  override mkdir(name: ByteString, mode: number, owner: Owner): Promise<OverlayNode | Failure> {
    return makeEntry(this, name, (upper) => upper.mkdir(name, mode, owner));
  }

  override symlink(name: ByteString, target: ByteString, owner: Owner): Promise<OverlayNode | Failure> {
    return makeEntry(this, name, (upper) => upper.symlink(name, target, owner));
  }

  override mknod(name: ByteString, mode: number, rdev: number, owner: Owner): Promise<OverlayNode | Failure> {
    return makeEntry(this, name, (upper) => upper.mknod(name, mode, rdev, owner));
  }

  override async link(name: ByteString, target: FsNode): Promise<number> {
    return this.#sharesOverlayWith(target) ? link(this, name, target) : -Errno.EXDEV;
  }

  override readlink(): Promise<ByteString | Failure> | ByteString | Failure {
    return this.shown.readlink();
  }

  override unlink(name: ByteString, directory: boolean): Promise<number> {
    return this.context.lock.exclusive(() => unlinkEntry(this, name, directory));
  }

  override async rename(name: ByteString, newDirectory: FsNode, newName: ByteString): Promise<number> {
    return this.#sharesOverlayWith(newDirectory)
      ? rename(this, name, newDirectory, newName, undefined)
      : -Errno.EXDEV;
  }

  override async remove(): Promise<number> {
    if (this.parentNode === null) return -Errno.EBUSY;
    return this.context.lock.exclusive(async () => {
      const directory = this.parentNode;
      const error = await this.checkName();
      return error < 0 || directory === null
        ? error
        : unlinkEntry(directory, this.name, this.type === FileMode.S_IFDIR);
    });
  }

  override async renameTo(newDirectory: FsNode, newName: ByteString): Promise<number> {
    const directory = this.parentNode;
    if (directory === null) return -Errno.EBUSY;
    return this.#sharesOverlayWith(newDirectory)
      ? rename(directory, this.name, newDirectory, newName, this)
      : -Errno.EXDEV;
  }

  /** 0 where the name leads to this file still. The lock is held. */
  async checkName(): Promise<number> {
    if (this.detached || this.parentNode === null) return -Errno.ESTALE;
    const there = await this.parentNode.find(this.name);
    if (isFailure(there)) return there === -Errno.ENOENT ? -Errno.ESTALE : there;
    there.release();
    return there === this.self ? 0 : -Errno.ESTALE;
  }

  /** Where new files go. */
  override statfs(out: FileSystemStatistics): Promise<number> | number {
    return this.context.upperRoot.statfs(out);
  }

  override getxattr(name: ByteString): Promise<Uint8Array | Failure> | Uint8Array | Failure {
    return this.shown.getxattr(name);
  }

  override listxattr(): Promise<Uint8Array | Failure> | Uint8Array | Failure {
    return this.shown.listxattr();
  }

  override async setxattr(name: ByteString, value: Uint8Array, flags: number): Promise<number> {
    return this.change((upper) => upper.setxattr(name, value, flags));
  }

  override async removexattr(name: ByteString): Promise<number> {
    return this.change((upper) => upper.removexattr(name));
  }

  async #openOn(layer: FsNode, flags: number, given?: Given): Promise<OpenFile | Failure> {
    const file = await (given === undefined ? layer.open(flags) : layer.reopen(flags, given));
    return isFailure(file) ? file : new OverlayFile(this, file, flags);
  }

  #openDirectory(flags: number): OpenFile | Failure {
    if ((flags & (OpenFlag.O_ACCMODE | OpenFlag.O_TRUNC)) !== 0) return -Errno.EISDIR;
    return new OverlayDirectory(this);
  }

  #sharesOverlayWith(node: FsNode): node is OverlayNode {
    return node instanceof OverlayNode && node.context === this.context;
  }
}

/** The file is not in the upper layer any more. */
const IN_LOWER = Symbol('in the lower layer');

/** Of a directory that the upper layer does not have. Nothing is ever set in it. */
const NO_MARKS = new Marks(undefined);
