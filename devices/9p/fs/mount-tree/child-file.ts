/** An open file or directory of a tree's child: the file system's own, behind the checks that make it one of the tree's. */
import { Errno } from '../../../errno.js';
import type { IoVector } from '../../../io-vector.js';
import type { GivenDescriptor } from '../../../state-descriptors.js';
import {
  OpenFile,
  type AttributeChanges,
  type Attributes,
  type DirectorySink,
  type HeldLock,
  type Interruptible,
  type Lock,
  type MaybePromise,
} from '../file-system.js';
import type { Kept } from '../kept.js';
import type { Child } from './child.js';

export class ChildFile extends OpenFile {
  readonly #child: Child;
  readonly #inner: OpenFile;

  constructor(child: Child, inner: OpenFile) {
    super();
    this.#child = child;
    this.#inner = inner;
    child.files.add(this);
  }

  override read(offset: number, into: IoVector): MaybePromise<number> {
    if (this.#child.gone) return -Errno.ESTALE;
    return this.#child.runInterruptible(this.#inner.read(offset, into), into, this.#inner);
  }

  /** A file that was opened for reading alone is not written to by the server: read-only children need no check here. */
  override write(offset: number, from: IoVector): MaybePromise<number> {
    if (this.#child.gone) return -Errno.ESTALE;
    return this.#child.runInterruptible(this.#inner.write(offset, from), from, this.#inner);
  }

  override readdir(cookie: number, sink: DirectorySink): MaybePromise<number> {
    if (this.#child.gone) return -Errno.ESTALE;
    return this.#child.run(this.#inner.readdir(cookie, sink));
  }

  override getattr(out: Attributes): MaybePromise<number> {
    if (this.#child.gone) return -Errno.ESTALE;
    return this.#child.attributes(this.#inner.getattr(out), out);
  }

  override setattr(changes: AttributeChanges): MaybePromise<number> {
    if (this.#child.isPoke(changes)) return 0;
    return this.#child.refusal() || this.#child.run(this.#inner.setattr(changes));
  }

  override interrupt(operation: Interruptible): void {
    if (this.#child.files.has(this)) this.#inner.interrupt(operation);
  }

  override fsync(dataOnly: boolean): MaybePromise<number> {
    return this.#child.gone ? -Errno.ESTALE : this.#child.run(this.#inner.fsync(dataOnly));
  }

  override lock(lock: Lock): MaybePromise<number> {
    if (this.#child.gone) return -Errno.ESTALE;
    lock.readOnly ||= this.#child.readOnly;
    return this.#child.runInterruptible(this.#inner.lock(lock), lock, this.#inner);
  }

  override locks(): readonly HeldLock[] | undefined {
    return this.#inner.locks();
  }

  override relock(lock: Lock, descriptor: GivenDescriptor | undefined): MaybePromise<number> {
    if (this.#child.gone) return -Errno.ESTALE;
    return this.#child.run(this.#inner.relock(lock, descriptor));
  }

  override keep(): Kept {
    return this.#inner.keep();
  }

  override getlock(lock: Lock): MaybePromise<number> {
    return this.#child.gone ? -Errno.ESTALE : this.#child.run(this.#inner.getlock(lock));
  }

  /** Where the child is gone, its file has been closed, or is about to be. */
  override close(): MaybePromise<void> {
    if (this.#child.gone || !this.#child.files.delete(this)) return;
    return this.#child.run(this.#inner.close());
  }

  /** The child is gone: the file system's file, to be closed, while the guest still holds this one. */
  surrender(): OpenFile {
    return this.#inner;
  }
}
