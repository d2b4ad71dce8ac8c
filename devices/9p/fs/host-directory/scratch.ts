/**
 * What calls of the host work with until they answer, in the same turn of the event loop: one set for all exports of this process.
 * With a set each, an export that does nothing would take 42 KiB.
 */
import { IOV_MAX, IovecBuffer } from '../../../../host/index.js';
import { NameBuffer } from './name-buffer.js';
import { StatxBuffer } from './statx-buffer.js';

/** Fills of 32 KiB: some 800 entries a system call. */
export const DIRECTORY_BUFFER_BYTES = 32 * 1024;

/** XATTR_SIZE_MAX and XATTR_LIST_MAX. */
export const XATTR_MAX_BYTES = 64 * 1024;

/** Buffers kept for the next user; what is beyond this is left to the garbage collector. */
const POOLED_BUFFERS = 128;

/** What getdents64 fills, with the view that its integers are read by: Buffer's own methods take several times as long. */
export class DirectoryBuffer {
  readonly bytes: Buffer;
  readonly view: DataView;

  constructor(lengthBytes = DIRECTORY_BUFFER_BYTES) {
    this.bytes = Buffer.allocUnsafeSlow(lengthBytes);
    this.view = new DataView(this.bytes.buffer);
  }

  /** Another one with the first bytes of this one, and no room for more. */
  copy(lengthBytes: number): DirectoryBuffer {
    const copy = new DirectoryBuffer(lengthBytes);
    this.bytes.copy(copy.bytes, 0, 0, lengthBytes);
    return copy;
  }
}

export class Scratch {
  readonly name = new NameBuffer();
  /** A second name (rename) or a target (symlink). */
  readonly otherName = new NameBuffer();
  /** For opening nodes again, which may happen while the other two are in use. */
  readonly reopenName = new NameBuffer();
  /** '.' */
  readonly self = new NameBuffer();
  /** For looking at what has changed, which may happen while the others are in use. */
  readonly changeName = new NameBuffer();
  readonly changeStatx = new StatxBuffer();
  readonly statx = new StatxBuffer();
  /** Of a directory, while the other one holds what is new in it. */
  readonly directoryStatx = new StatxBuffer();
  /** For synchronous calls; asynchronous ones take some from the pool. */
  readonly iovecs = new IovecBuffer(IOV_MAX);
  readonly #iovecPool: IovecBuffer[] = [];
  readonly #directoryBuffers: DirectoryBuffer[] = [];
  #attributeValue: Buffer | null = null;

  constructor() {
    this.self.setTarget('.');
  }

  takeIovecs(): IovecBuffer {
    return this.#iovecPool.pop() ?? new IovecBuffer(IOV_MAX);
  }

  giveIovecs(iovecs: IovecBuffer): void {
    if (this.#iovecPool.length < POOLED_BUFFERS) this.#iovecPool.push(iovecs);
  }

  takeDirectoryBuffer(): DirectoryBuffer {
    return this.#directoryBuffers.pop() ?? new DirectoryBuffer();
  }

  giveDirectoryBuffer(buffer: DirectoryBuffer): void {
    if (this.#directoryBuffers.length < POOLED_BUFFERS) this.#directoryBuffers.push(buffer);
  }

  /** Room for any attribute's value or list of names, until the next call. */
  get attributeValue(): Buffer {
    this.#attributeValue ??= Buffer.alloc(XATTR_MAX_BYTES);
    return this.#attributeValue;
  }
}

export const scratch = new Scratch();
