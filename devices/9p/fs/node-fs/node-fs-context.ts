/** What the nodes and files of one NodeFs share. */
import { Errno, isFailure, type Failure } from '../../../errno.js';
import { FileMode, type Attributes, type Owner } from '../file-system.js';
import { callFor } from './calls.js';
import type { FileAccount } from '../file-account.js';
import { InodeNumbers, inodeKey } from './inode-numbers.js';
import { applyKept, type KeptAttributes } from './kept-attributes.js';
import type { NodeFsContents } from './node-fs-contents.js';
import type { NodeFsLike, NodeFsStats } from './node-fs-like.js';
import type { NodeFsNode } from './node-fs-node.js';
import { PathLock } from '../path-lock.js';
import { depthOf, MAX_DEPTH } from './depth.js';
import type { Quota } from '../quota.js';
import { fillAttributes, number, typeOf, whole } from './stats.js';

/** Whose files are: see NodeFsOptions. */
export type Ownership = 'object' | 'kept' | Owner;

export class NodeFsContext {
  readonly fs: NodeFsLike;
  readonly ownership: Ownership;
  /** What the object may be filled with, where that is limited. */
  readonly quota: Quota | undefined;
  readonly lock = new PathLock();
  readonly inodes = new InodeNumbers();
  /** By inode key, of files that have names; a node that has lost its name holds its own. */
  readonly kept = new Map<string, KeptAttributes>();
  /** Nodes that no name leads to and that are open, and what open directories had in them when they were read last, by a number. */
  readonly namelessNodes = new Set<NodeFsNode>();
  readonly listings = new Map<number, readonly string[]>();
  /** Where another process may go on. */
  contents: NodeFsContents | undefined;
  /** Grows whenever a set-id bit is set: then open files look again before they write. */
  setIdEpoch = 0;

  constructor(fs: NodeFsLike, ownership: Ownership, quota: Quota | undefined) {
    this.fs = fs;
    this.ownership = ownership;
    this.quota = quota;
  }

  lstat(path: string): Promise<NodeFsStats | Failure> {
    return callFor<NodeFsStats>((done) => this.fs.lstat(path, done));
  }

  fstat(fd: number): Promise<NodeFsStats | Failure> {
    return callFor<NodeFsStats>((done) => this.fs.fstat(fd, done));
  }

  async sizeAt(path: string): Promise<number> {
    const stats = await this.lstat(path);
    return isFailure(stats) ? stats : whole(stats.size);
  }

  async sizeOf(fd: number): Promise<number> {
    const stats = await this.fstat(fd);
    return isFailure(stats) ? stats : whole(stats.size);
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

  /** -EFBIG where a file can never have that size. */
  checkSize(sizeBytes: number): number {
    const most = this.quota?.maxTotalBytes ?? Number.MAX_SAFE_INTEGER;
    return sizeBytes > most || !Number.isSafeInteger(sizeBytes) ? -Errno.EFBIG : 0;
  }

  /** Counts the name `path`, about to be given to a file of S_IFMT `type`: 0, -ENOSPC, -ENAMETOOLONG, or -EEXIST, which comes first. */
  async takeName(path: string, type: number): Promise<number> {
    if (this.quota === undefined) return 0;
    const error = depthOf(path) > MAX_DEPTH ? -Errno.ENAMETOOLONG : this.quota.takeName(type);
    return error < 0 && !isFailure(await this.lstat(path)) ? -Errno.EEXIST : error;
  }

  /** The account of the file with these attributes. Undefined where nothing is counted, of any but regular files too. */
  account(stats: NodeFsStats): FileAccount | undefined {
    const key = typeOf(stats) === FileMode.S_IFREG ? inodeKey(stats) : undefined;
    return key === undefined ? undefined : this.quota?.hold(key);
  }
}
