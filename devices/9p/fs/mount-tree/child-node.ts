/** A file of a tree's child: the file system's own node, behind the checks that make it one of the tree's. */
import { Errno, isFailure, type Failure } from '../../../errno.js';
import {
  Attributes,
  FsNode,
  isPromise,
  OpenFlag,
  type AttributeChanges,
  type ByteString,
  type Created,
  type FileSystemStatistics,
  type MaybePromise,
  type OpenFile,
  type Owner,
} from '../file-system.js';
import type { Given, Kept } from '../kept.js';
import type { Child } from './child.js';

export class ChildNode extends FsNode {
  readonly #child: Child;
  /** One reference to it, however many there are to this. */
  readonly #inner: FsNode;
  /** Known to be the child's root. Another node may be one as well. */
  readonly #isRoot: boolean;
  #references = 1;

  constructor(child: Child, inner: FsNode, isRoot: boolean) {
    super();
    this.#child = child;
    this.#inner = inner;
    this.#isRoot = isRoot;
    child.nodes.add(this);
    child.fids++;
  }

  override getattr(out: Attributes): MaybePromise<number> {
    const child = this.#child;
    if (child.gone) return -Errno.ESTALE;
    const answer = child.attributes(this.#inner.getattr(out), out);
    if (!this.#isRoot) return answer;
    if (isPromise(answer)) return answer.then((result) => this.#noteRoot(result, out));
    return this.#noteRoot(answer, out);
  }

  #noteRoot(result: number, out: Attributes): number {
    if (result >= 0) this.#child.noteRoot(out);
    return result;
  }

  override walk(name: ByteString, out?: Attributes): MaybePromise<FsNode | Failure> {
    if (this.#child.gone) return -Errno.ESTALE;
    return this.#found(this.#inner.walk(name, out), out);
  }

  override entryName(): ByteString {
    return this.#child.gone ? '' : this.#inner.entryName();
  }

  override names(): readonly ByteString[] | undefined {
    const names = this.#child.gone ? undefined : this.#inner.names();
    return names && [this.#child.name, ...names];
  }

  override lastNames(): readonly ByteString[] {
    return [this.#child.name, ...(this.#child.gone ? [] : this.#inner.lastNames())];
  }

  override keep(): Kept | Failure {
    return this.#child.gone ? -Errno.ESTALE : this.#inner.keep();
  }

  override regain(name: ByteString, given: Given): MaybePromise<FsNode | Failure> {
    if (this.#child.gone) return -Errno.ESTALE;
    return this.#found(this.#inner.regain(name, given), undefined);
  }

  override reopen(flags: number, given: Given): MaybePromise<OpenFile | Failure> {
    const child = this.#child;
    if (child.gone) return -Errno.ESTALE;
    const answer = this.#inner.reopen(flags, given);
    if (isPromise(answer)) return child.track(answer, (file) => child.wrapFile(file));
    return child.wrapFile(answer);
  }

  /** Above the child's root is the tree's. */
  override async parent(): Promise<FsNode | Failure> {
    const isRoot = await this.#isChildRoot();
    if (this.#child.gone) return -Errno.ESTALE;
    return isRoot ? this.#child.above() : this.#found(this.#inner.parent(), undefined);
  }

  override setattr(changes: AttributeChanges): MaybePromise<number> {
    if (this.#child.isPoke(changes)) return 0;
    return this.#child.refusal() || this.#child.run(this.#inner.setattr(changes));
  }

  override open(flags: number, out?: Attributes): MaybePromise<OpenFile | Failure> {
    const child = this.#child;
    const writes = (flags & (OpenFlag.O_ACCMODE | OpenFlag.O_TRUNC)) !== 0;
    const refused = writes ? child.refusal() : child.gone ? -Errno.ESTALE : 0;
    if (refused !== 0) return refused;
    const answer = this.#inner.open(flags, out);
    if (isPromise(answer)) return child.track(answer, (file) => this.#opened(file, out));
    return this.#opened(answer, out);
  }

  #opened(file: OpenFile | Failure, out: Attributes | undefined): MaybePromise<OpenFile | Failure> {
    this.#translate(out);
    return this.#child.wrapFile(file);
  }

  override create(
    name: ByteString,
    flags: number,
    mode: number,
    owner: Owner,
    out?: Attributes,
  ): MaybePromise<Created | Failure> {
    const child = this.#child;
    const refused = child.refusal();
    if (refused !== 0) return refused;
    const answer = this.#inner.create(name, flags, mode, owner, out);
    if (isPromise(answer)) return child.track(answer, (created) => this.#created(created, out));
    return this.#created(answer, out);
  }

  #created(created: Created | Failure, out: Attributes | undefined): MaybePromise<Created | Failure> {
    if (isFailure(created)) return created;
    this.#translate(out);
    const node = this.#child.wrap(created.node);
    const file = this.#child.wrapFile(created.file);
    if (isPromise(file)) return file.then(() => -Errno.ESTALE);
    return isFailure(node) || isFailure(file) ? -Errno.ESTALE : { node, file };
  }

  override mkdir(
    name: ByteString,
    mode: number,
    owner: Owner,
    out?: Attributes,
  ): MaybePromise<FsNode | Failure> {
    return this.#child.refusal() || this.#found(this.#inner.mkdir(name, mode, owner, out), out);
  }

  override symlink(
    name: ByteString,
    target: ByteString,
    owner: Owner,
    out?: Attributes,
  ): MaybePromise<FsNode | Failure> {
    return this.#child.refusal() || this.#found(this.#inner.symlink(name, target, owner, out), out);
  }

  override mknod(
    name: ByteString,
    mode: number,
    rdev: number,
    owner: Owner,
    out?: Attributes,
  ): MaybePromise<FsNode | Failure> {
    return this.#child.refusal() || this.#found(this.#inner.mknod(name, mode, rdev, owner, out), out);
  }

  override link(name: ByteString, target: FsNode): MaybePromise<number> {
    const refused = this.#child.refusal();
    if (refused !== 0) return refused;
    if (!this.#isSibling(target)) return -Errno.EXDEV;
    return this.#child.run(this.#inner.link(name, target.#inner));
  }

  override readlink(): MaybePromise<ByteString | Failure> {
    return this.#ask(() => this.#inner.readlink());
  }

  override unlink(name: ByteString, directory: boolean): MaybePromise<number> {
    return this.#child.refusal() || this.#child.run(this.#inner.unlink(name, directory));
  }

  override rename(name: ByteString, newDirectory: FsNode, newName: ByteString): MaybePromise<number> {
    const refused = this.#child.refusal();
    if (refused !== 0) return refused;
    if (!this.#isSibling(newDirectory)) return -Errno.EXDEV;
    return this.#child.run(this.#inner.rename(name, newDirectory.#inner, newName));
  }

  /** The server protects the root that a client attached to, which is the tree's: the child's own is protected here. */
  override async remove(): Promise<number> {
    if (await this.#isChildRoot()) return -Errno.EBUSY;
    return this.#child.refusal() || this.#child.run(this.#inner.remove());
  }

  override async renameTo(newDirectory: FsNode, newName: ByteString): Promise<number> {
    if (await this.#isChildRoot()) return -Errno.EBUSY;
    const refused = this.#child.refusal();
    if (refused !== 0) return refused;
    if (!this.#isSibling(newDirectory)) return -Errno.EXDEV;
    return this.#child.run(this.#inner.renameTo(newDirectory.#inner, newName));
  }

  override statfs(out: FileSystemStatistics): MaybePromise<number> {
    return this.#ask(() => this.#inner.statfs(out));
  }

  override getxattr(name: ByteString): MaybePromise<Uint8Array | Failure> {
    return this.#ask(() => this.#inner.getxattr(name));
  }

  override listxattr(): MaybePromise<Uint8Array | Failure> {
    return this.#ask(() => this.#inner.listxattr());
  }

  override setxattr(name: ByteString, value: Uint8Array, flags: number): MaybePromise<number> {
    return this.#child.refusal() || this.#child.run(this.#inner.setxattr(name, value, flags));
  }

  override removexattr(name: ByteString): MaybePromise<number> {
    return this.#child.refusal() || this.#child.run(this.#inner.removexattr(name));
  }

  retain(): void {
    this.#references++;
    this.#child.fids++;
  }

  /** Where the child is gone, the file system gets its node back from there, after the files that are open on it. */
  release(): void {
    const child = this.#child;
    child.fids--;
    if (--this.#references > 0 || child.gone) return;
    child.nodes.delete(this);
    this.#inner.release();
  }

  /** The child is gone: gives the file system's node back, while the guest still holds this one. */
  surrender(): void {
    this.#inner.release();
  }

  #ask<T>(call: () => MaybePromise<T | Failure>): MaybePromise<T | Failure> {
    return this.#child.gone ? -Errno.ESTALE : this.#child.run(call());
  }

  #isSibling(node: FsNode): node is ChildNode {
    return node instanceof ChildNode && node.#child === this.#child;
  }

  /** A node that the file system answered, and the attributes that it may have filled in. */
  #found(
    answer: MaybePromise<FsNode | Failure>,
    out: Attributes | undefined,
  ): MaybePromise<FsNode | Failure> {
    if (isPromise(answer)) return this.#child.track(answer, (node) => this.#foundNow(node, out));
    return this.#foundNow(answer, out);
  }

  #foundNow(node: FsNode | Failure, out: Attributes | undefined): FsNode | Failure {
    this.#translate(out);
    return this.#child.wrap(node);
  }

  /** Attributes that cannot be told in the tree's terms are not told: the server asks for them then, and gets the error. */
  #translate(out: Attributes | undefined): void {
    if (out?.filled === true && this.#child.translateDevice(out) < 0) out.filled = false;
  }

  async #isChildRoot(): Promise<boolean> {
    if (this.#isRoot) return true;
    const attributes = new Attributes();
    return (await this.getattr(attributes)) >= 0 && this.#child.isRoot(attributes);
  }
}
