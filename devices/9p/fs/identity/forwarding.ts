/** Nodes and files that pass all on to those of another file system: what changes something on the way extends them. */
import { Errno, isFailure, type Failure } from '../../../errno.js';
import type { IoVector } from '../../../io-vector.js';
import type { GivenDescriptor } from '../../../state-descriptors.js';
import {
  FsNode,
  mapAnswer,
  OpenFile,
  type AttributeChanges,
  type Attributes,
  type ByteString,
  type DirectorySink,
  type FileSystemStatistics,
  type HeldLock,
  type Interruptible,
  type Lock,
  type MaybePromise,
} from '../file-system.js';
import type { Given, Kept } from '../kept.js';

export abstract class ForwardingNode extends FsNode {
  readonly inner: FsNode;
  #references = 1;

  /** Takes over `inner`. */
  constructor(inner: FsNode) {
    super();
    this.inner = inner;
  }

  /** A node like this one; takes over `inner`. */
  protected abstract wrap(inner: FsNode): ForwardingNode;
  /** True where the other node is of the same file system. */
  protected abstract isSibling(node: FsNode): node is ForwardingNode;

  protected wrapped(inner: FsNode | Failure): ForwardingNode | Failure {
    return isFailure(inner) ? inner : this.wrap(inner);
  }

  override getattr(out: Attributes): MaybePromise<number> {
    return this.inner.getattr(out);
  }
  override walk(name: ByteString, out?: Attributes): MaybePromise<FsNode | Failure> {
    return mapAnswer(this.inner.walk(name, out), (inner) => this.wrapped(inner));
  }
  override entryName(): ByteString {
    return this.inner.entryName();
  }
  override names(): readonly ByteString[] | undefined {
    return this.inner.names();
  }
  override lastNames(): readonly ByteString[] {
    return this.inner.lastNames();
  }
  override keep(): Kept | Failure {
    return this.inner.keep();
  }
  override regain(name: ByteString, given: Given): MaybePromise<FsNode | Failure> {
    return mapAnswer(this.inner.regain(name, given), (inner) => this.wrapped(inner));
  }
  override parent(): MaybePromise<FsNode | Failure> {
    return mapAnswer(this.inner.parent(), (inner) => this.wrapped(inner));
  }
  override link(name: ByteString, target: FsNode): MaybePromise<number> {
    return this.isSibling(target) ? this.inner.link(name, target.inner) : -Errno.EXDEV;
  }
  override readlink(): MaybePromise<ByteString | Failure> {
    return this.inner.readlink();
  }
  override unlink(name: ByteString, directory: boolean): MaybePromise<number> {
    return this.inner.unlink(name, directory);
  }
  override rename(name: ByteString, newDirectory: FsNode, newName: ByteString): MaybePromise<number> {
    return this.isSibling(newDirectory) ? this.inner.rename(name, newDirectory.inner, newName) : -Errno.EXDEV;
  }
  override remove(): MaybePromise<number> {
    return this.inner.remove();
  }
  override renameTo(newDirectory: FsNode, newName: ByteString): MaybePromise<number> {
    return this.isSibling(newDirectory) ? this.inner.renameTo(newDirectory.inner, newName) : -Errno.EXDEV;
  }
  override statfs(out: FileSystemStatistics): MaybePromise<number> {
    return this.inner.statfs(out);
  }
  override getxattr(name: ByteString): MaybePromise<Uint8Array | Failure> {
    return this.inner.getxattr(name);
  }
  override listxattr(): MaybePromise<Uint8Array | Failure> {
    return this.inner.listxattr();
  }
  override setxattr(name: ByteString, value: Uint8Array, flags: number): MaybePromise<number> {
    return this.inner.setxattr(name, value, flags);
  }
  override removexattr(name: ByteString): MaybePromise<number> {
    return this.inner.removexattr(name);
  }
  override retain(): void {
    this.#references++;
  }
  override release(): void {
    if (--this.#references === 0) this.inner.release();
  }
}

export abstract class ForwardingFile extends OpenFile {
  readonly inner: OpenFile;

  /** Takes over `inner`. */
  constructor(inner: OpenFile) {
    super();
    this.inner = inner;
  }

  override read(offset: number, into: IoVector): MaybePromise<number> {
    return this.inner.read(offset, into);
  }
  override write(offset: number, from: IoVector): MaybePromise<number> {
    return this.inner.write(offset, from);
  }
  override readdir(cookie: number, sink: DirectorySink): MaybePromise<number> {
    return this.inner.readdir(cookie, sink);
  }
  override getattr(out: Attributes): MaybePromise<number> {
    return this.inner.getattr(out);
  }
  override setattr(changes: AttributeChanges): MaybePromise<number> {
    return this.inner.setattr(changes);
  }
  override interrupt(operation: Interruptible): void {
    this.inner.interrupt(operation);
  }
  override fsync(dataOnly: boolean): MaybePromise<number> {
    return this.inner.fsync(dataOnly);
  }
  override lock(lock: Lock): MaybePromise<number> {
    return this.inner.lock(lock);
  }
  override getlock(lock: Lock): MaybePromise<number> {
    return this.inner.getlock(lock);
  }
  override locks(): readonly HeldLock[] | undefined {
    return this.inner.locks();
  }
  override relock(lock: Lock, descriptor: GivenDescriptor | undefined): MaybePromise<number> {
    return this.inner.relock(lock, descriptor);
  }
  override keep(): Kept {
    return this.inner.keep();
  }
  override close(): MaybePromise<void> {
    return this.inner.close();
  }
}
