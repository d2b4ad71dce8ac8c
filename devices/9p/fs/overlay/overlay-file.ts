/**
 * An open regular file of an overlay. One that is open for reading moves to the copy when its file is copied up, and so sees what is
 * written from then on, as on any file system.
 */
import type { IoVector } from '../../../io-vector.js';
import type { GivenDescriptor } from '../../../state-descriptors.js';
import {
  LockType,
  OpenFile,
  OpenFlag,
  type AttributeChanges,
  type Attributes,
  type HeldLock,
  type Interruptible,
  type Lock,
  type MaybePromise,
} from '../file-system.js';
import type { Kept } from '../kept.js';
import { keptOf } from './kept-nodes.js';
import type { OverlayNode } from './overlay-node.js';

export class OverlayFile extends OpenFile {
  readonly node: OverlayNode;
  /** OpenFlag bits to open the file's copy with. */
  readonly flags: number;
  #inner: OpenFile;
  #isLocked = false;
  /** Files of other layers that were here before: calls on them may be under way until this file is closed. */
  readonly #replaced: OpenFile[] = [];

  /** Takes over `inner`, opened on the node's layer with `flags`. */
  constructor(node: OverlayNode, inner: OpenFile, flags: number) {
    super();
    this.node = node;
    this.flags = flags & ~OpenFlag.O_TRUNC;
    this.#inner = inner;
    node.retain();
    node.files.add(this);
  }

  /** The file must stay where it is: it may be written through this, or was locked. */
  get isPinned(): boolean {
    return this.#isLocked || (this.flags & OpenFlag.O_ACCMODE) !== OpenFlag.O_RDONLY;
  }

  /** Takes over `inner`, of the copy in the upper layer or, after a commit, in the lower one. */
  replace(inner: OpenFile): void {
    this.#replaced.push(this.#inner);
    this.#inner = inner;
  }

  override read(offset: number, into: IoVector): MaybePromise<number> {
    return this.#inner.read(offset, into);
  }

  override write(offset: number, from: IoVector): MaybePromise<number> {
    return this.#inner.write(offset, from);
  }

  override async getattr(out: Attributes): Promise<number> {
    return this.node.finish(await this.#inner.getattr(out), out);
  }

  override setattr(changes: AttributeChanges): Promise<number> {
    return this.node.change(() => this.#inner.setattr(changes));
  }

  override fsync(dataOnly: boolean): MaybePromise<number> {
    return this.#inner.fsync(dataOnly);
  }

  /** Locks are the upper layer's: one on a file below would be on another file once that is changed. */
  override lock(lock: Lock): MaybePromise<number> {
    if (this.#isLocked || lock.type === LockType.P9_LOCK_TYPE_UNLCK) return this.#inner.lock(lock);
    return this.#lockFirst(lock);
  }

  override locks(): readonly HeldLock[] | undefined {
    return this.#inner.locks();
  }

  override async relock(lock: Lock, descriptor: GivenDescriptor | undefined): Promise<number> {
    const error = await this.#pin();
    return error < 0 ? error : this.#inner.relock(lock, descriptor);
  }

  /** Of a file that is in the upper layer, all open files are there. */
  override keep(): Kept {
    return keptOf(this.node, this.#inner.keep());
  }

  override getlock(lock: Lock): MaybePromise<number> {
    return this.#inner.getlock(lock);
  }

  override interrupt(operation: Interruptible): void {
    this.#inner.interrupt(operation);
    for (const file of this.#replaced) file.interrupt(operation);
  }

  override async close(): Promise<void> {
    this.node.files.delete(this);
    for (const file of this.#replaced) await file.close();
    await this.#inner.close();
    this.node.release();
  }

  /** The wait for a lock must not hold up others: it is asked for once the file is pinned. */
  async #lockFirst(lock: Lock): Promise<number> {
    const error = await this.#pin();
    return error < 0 ? error : this.#inner.lock(lock);
  }

  #pin(): Promise<number> {
    return this.node.change(() => {
      this.#isLocked = true;
      return 0;
    });
  }
}
