/** An open regular file of a node:fs-compatible object. */
import { Errno, isFailure } from '../../../errno.js';
import type { IoVector } from '../../../io-vector.js';
import { OpenFile, OpenFlag, type AttributeChanges, type Attributes } from '../file-system.js';
import { changeAttributes, dropSetId, type Subject } from './attribute-changes.js';
import { call, callFor } from './calls.js';
import { descriptorTarget } from './change-target.js';
import type { FileAccount, Measure } from '../file-account.js';
import type { NodeFsContext } from './node-fs-context.js';
import type { NodeFsNode } from './node-fs-node.js';

export class NodeFsFile extends OpenFile {
  readonly fd: number;
  readonly #context: NodeFsContext;
  /** The node that was opened, for the inode number and for what it holds once it has lost its name. */
  readonly #node: NodeFsNode;
  readonly #access: number;
  readonly #appends: boolean;
  readonly #account: FileAccount | undefined;
  readonly #measure: Measure;
  #checkedEpoch = -1;

  /** Takes over `fd`, opened with the guest's `flags`, and one hold of `account`. */
  constructor(
    context: NodeFsContext,
    node: NodeFsNode,
    fd: number,
    flags: number,
    account: FileAccount | undefined,
  ) {
    super();
    this.#context = context;
    this.#node = node;
    this.fd = fd;
    this.#access = flags & OpenFlag.O_ACCMODE;
    this.#appends = (flags & OpenFlag.O_APPEND) !== 0;
    this.#account = account;
    this.#measure = () => context.sizeOf(fd);
  }

  override async read(offset: number, into: IoVector): Promise<number> {
    // Not all objects hold opens to their access mode.
    if (this.#access === OpenFlag.O_WRONLY) return -Errno.EBADF;
    if (into.byteLength === 0) return 0;
    if (into.count === 1) return this.#readInto(into.bytes[0], into.offsets[0], into.byteLength, offset);
    // One call and a copy beat a call for each of a hundred pages.
    const bytes = new Uint8Array(into.byteLength);
    const length = await this.#readInto(bytes, 0, bytes.length, offset);
    return length < 0 ? length : into.scatter(0, bytes, 0, length);
  }

  override async write(offset: number, from: IoVector): Promise<number> {
    if (this.#access === OpenFlag.O_RDONLY) return -Errno.EBADF;
    if (from.byteLength === 0) return 0;
    const refused = this.#checkEnd(offset, from.byteLength);
    if (refused < 0) return refused;
    const error = await this.#dropSetId();
    if (error < 0) return error;
    if (this.#account === undefined) return this.#writeVector(offset, from, from.byteLength);
    return this.#account.write(
      this.#appends ? 'end' : offset,
      from.byteLength,
      this.#measure,
      (lengthBytes) => this.#writeVector(offset, from, lengthBytes),
    );
  }

  override async getattr(out: Attributes): Promise<number> {
    const stats = await this.#context.fstat(this.fd);
    if (isFailure(stats)) return stats;
    this.#context.fill(out, stats, this.#node.ownKept);
    out.inodeLow = this.#node.inodeLow;
    out.inodeHigh = this.#node.inodeHigh;
    return 0;
  }

  override async setattr(changes: AttributeChanges): Promise<number> {
    const subject = await this.#subject();
    if (isFailure(subject)) return subject;
    const sized = { ...subject, account: this.#account, measure: this.#measure };
    return changeAttributes(this.#context, sized, changes);
  }

  override fsync(dataOnly: boolean): Promise<number> | number {
    const { fs } = this.#context;
    if (dataOnly && fs.fdatasync !== undefined) return call((done) => fs.fdatasync?.(this.fd, done));
    return fs.fsync === undefined ? 0 : call((done) => fs.fsync?.(this.fd, done));
  }

  override async close(): Promise<void> {
    this.#node.closed(this);
    await call((done) => this.#context.fs.close(this.fd, done));
    this.#account?.release();
  }

  async #subject(): Promise<Subject | number> {
    const stats = await this.#context.fstat(this.fd);
    if (isFailure(stats)) return stats;
    const kept = this.#node.ownKept ?? this.#context.keep(stats);
    return { target: descriptorTarget(this.#context.fs, this.fd), stats, kept };
  }

  async #dropSetId(): Promise<number> {
    const { setIdEpoch } = this.#context;
    if (this.#checkedEpoch === setIdEpoch) return 0;
    const subject = await this.#subject();
    const error = isFailure(subject) ? subject : await dropSetId(subject);
    if (error === 0) this.#checkedEpoch = setIdEpoch;
    return error;
  }

  /** Bytes read, all unless the file ends, or a negative errno. */
  async #readInto(bytes: Uint8Array, start: number, lengthBytes: number, offset: number): Promise<number> {
    const { fs } = this.#context;
    let read = 0;
    while (read < lengthBytes) {
      const [at, left, position] = [start + read, lengthBytes - read, offset + read];
      const length = await callFor<number>((done) => fs.read(this.fd, bytes, at, left, position, done));
      if (length < 0) return read > 0 ? read : length;
      if (length === 0) break;
      read += length;
    }
    return read;
  }

  /** With a quota, what fits is written before the rest is refused. */
  #checkEnd(offset: number, lengthBytes: number): number {
    if (this.#account === undefined) return this.#context.checkSize(offset + lengthBytes);
    return this.#appends ? 0 : this.#context.checkSize(offset);
  }

  #writeVector(offset: number, from: IoVector, lengthBytes: number): Promise<number> {
    if (from.count === 1) return this.#writeFrom(from.bytes[0], from.offsets[0], lengthBytes, offset);
    const bytes = new Uint8Array(lengthBytes);
    from.gather(0, bytes, 0, lengthBytes);
    return this.#writeFrom(bytes, 0, lengthBytes, offset);
  }

  /** Bytes written, or a negative errno. */
  async #writeFrom(bytes: Uint8Array, start: number, lengthBytes: number, offset: number): Promise<number> {
    const { fs } = this.#context;
    if (fs.write === undefined) return -Errno.EROFS;
    return callFor<number>((done) => fs.write?.(this.fd, bytes, start, lengthBytes, offset, done));
  }
}
