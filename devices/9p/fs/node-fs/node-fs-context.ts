/** What the nodes and files of one NodeFs share. */
import { Errno, type Failure } from '../../../errno.js';
import type { Attributes, Owner } from '../file-system.js';
import { callFor } from './calls.js';
import { InodeNumbers, inodeKey } from './inode-numbers.js';
import { applyKept, type KeptAttributes } from './kept-attributes.js';
import type { NodeFsLike, NodeFsStats } from './node-fs-like.js';
import { PathLock } from './path-lock.js';
import { fillAttributes, number } from './stats.js';

/** Whose files are: see NodeFsOptions. */
export type Ownership = 'object' | 'kept' | Owner;

export class NodeFsContext {
  readonly fs: NodeFsLike;
  readonly ownership: Ownership;
  readonly maxFileSizeBytes: number;
  readonly lock = new PathLock();
  readonly inodes = new InodeNumbers();
  /** By inode key, of files that have names; a node that has lost its name holds its own. */
  readonly kept = new Map<string, KeptAttributes>();
  /** Grows whenever a set-id bit is set: then open files look again before they write. */
  setIdEpoch = 0;

  constructor(fs: NodeFsLike, ownership: Ownership, maxFileSizeBytes: number) {
    this.fs = fs;
    this.ownership = ownership;
    this.maxFileSizeBytes = maxFileSizeBytes;
  }

  lstat(path: string): Promise<NodeFsStats | Failure> {
    return callFor<NodeFsStats>((done) => this.fs.lstat(path, done));
  }

  fstat(fd: number): Promise<NodeFsStats | Failure> {
    return callFor<NodeFsStats>((done) => this.fs.fstat(fd, done));
  }

  /** The names in a directory, as far as they are strings. */
  async list(path: string): Promise<string[] | Failure> {
    const names = await callFor<readonly unknown[]>((done) => this.fs.readdir(path, done));
    return typeof names === 'number' ? names : names.filter((name) => typeof name === 'string');
  }

  keptOf(stats: NodeFsStats): KeptAttributes | undefined {
    const key = this.kept.size === 0 ? undefined : inodeKey(stats);
    return key === undefined ? undefined : this.kept.get(key);
  }

  /** Fills all but the inode number; `kept` are attributes that a node without a name holds itself. */
  fill(out: Attributes, stats: NodeFsStats, kept: KeptAttributes | undefined): void {
    fillAttributes(out, stats);
    applyKept(kept ?? this.keptOf(stats), out);
    if (typeof this.ownership === 'string') return;
    out.uid = this.ownership.uid;
    out.gid = this.ownership.gid;
  }

  /** What is kept of this file, made from what the object says where there is nothing yet. Undefined where nothing is kept. */
  keep(stats: NodeFsStats): KeptAttributes | undefined {
    const key = inodeKey(stats);
    if (this.ownership !== 'kept' || key === undefined) return undefined;
    let kept = this.kept.get(key);
    if (kept === undefined) {
      kept = { permissions: number(stats.mode) & 0o7777, uid: number(stats.uid), gid: number(stats.gid) };
      this.kept.set(key, kept);
    }
    return kept;
  }

  /** -EFBIG where a file must not grow to that size. */
  checkSize(sizeBytes: number): number {
    return sizeBytes > this.maxFileSizeBytes || !Number.isSafeInteger(sizeBytes) ? -Errno.EFBIG : 0;
  }
}
