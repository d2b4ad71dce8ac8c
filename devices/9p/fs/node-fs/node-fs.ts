/**
 * Any `node:fs`-compatible object, with callbacks or promises, as a file system for guests: memfs volumes, unions of them, Node's own module, or what one
 * writes with the same functions.
 *
 * The object only sees absolute paths below the root, made of names that were looked at one by one: never `..`, and no symbolic link
 * on the way. Links that others put into a directory's place while guests work in it are outside this promise: export
 * directories of the host by HostDirectory.
 */
import type { Volume } from 'memfs';
import { Errno, isFailure, type Failure } from '../../../errno.js';
import type { StateDestination } from '../../../state-descriptors.js';
import { FileMode, type FileSystem } from '../file-system.js';
import { NodeFsContents } from './node-fs-contents.js';
import { NodeFsContext, type Ownership } from './node-fs-context.js';
import type { NodeFsLike } from './node-fs-like.js';
import { NodeFsNode } from './node-fs-node.js';
import { callbacksOf, hasCallbacks, type NodeFsPromises } from './promised.js';
import { Quota } from '../quota.js';
import { typeOf } from './stats.js';
import { countTree } from './tree-walk.js';

export type { NodeFsConstants, NodeFsLike, NodeFsStatistics, NodeFsStats } from './node-fs-like.js';
export type { NodeFsHandle, NodeFsPromises } from './promised.js';
export type { Ownership } from './node-fs-context.js';

export interface NodeFsOptions {
  /** The directory of the object that guests see as the root: an absolute path. Default: '/'. */
  readonly root?: string;
  /**
   * Whose files are. 'object' (the default): as the object says, and new files are given to the guest's users as far as it lets us.
   * 'kept': owners and permissions are kept in this process, for objects that would apply them to us, as memfs does; they are
   * lost with it. An owner: everything is theirs.
   */
  readonly ownership?: Ownership;
  /**
   * All content together, in blocks of 4,096 bytes; what is in the object at the first attach counts, what the embedding program
   * adds later does not. Guests get ENOSPC beyond it, and EFBIG for one file that is larger. Give it, and `maxFiles`, for
   * objects in memory, where a guest would take all there is. Default: no limit.
   */
  readonly maxTotalBytes?: number;
  /** Names of files, directories and links together; with a quota, these nest 256 deep at most. Default: no limit. */
  readonly maxFiles?: number;
  /** The memfs volume that the functions are of, where all of it is to be moved to another process (`contents`). */
  readonly volume?: Volume;
}

export class NodeFs implements FileSystem {
  readonly #context: NodeFsContext;
  readonly #rootPath: string;
  #root: NodeFsNode | undefined;
  /** Whether what the object held at the start is counted: 0, or what was in the way. */
  #counted: Promise<number> | undefined;

  /** @param fs functions that call back, as `node:fs` has them, or that answer with promises, as `node:fs/promises` has them */
  constructor(fs: NodeFsLike | NodeFsPromises, options: NodeFsOptions = {}) {
    const { root = '/', ownership = 'object' } = options;
    if (!root.startsWith('/'))
      throw new RangeError(`the root of a file system is an absolute path, not '${root}'`);
    this.#context = new NodeFsContext(hasCallbacks(fs) ? fs : callbacksOf(fs), ownership, quotaOf(options));
    this.#rootPath = root;
    if (options.volume !== undefined)
      this.#context.contents = new NodeFsContents(this.#context, options.volume);
  }

  /** -ENOENT and -ENOTDIR where the root is not there, or not a directory; -EOPNOTSUPP where a quota needs inode numbers. */
  async attach(): Promise<NodeFsNode | Failure> {
    const stats = await this.#context.lstat(this.#rootPath);
    if (isFailure(stats)) return stats;
    if (typeOf(stats) !== FileMode.S_IFDIR) return -Errno.ENOTDIR;
    this.#counted ??= this.#countContent();
    const error = await this.#counted;
    if (error < 0) return error;
    if (this.#root?.is(stats) !== true) {
      this.#root?.release();
      this.#root = new NodeFsNode(this.#context, null, '', this.#rootPath, stats);
    }
    this.#root.retain();
    return this.#root;
  }

  /** There is nothing to tell where the object is, and no way to it elsewhere but for one whose contents go along. */
  saveState({ leavesProcess, descriptors }: StateDestination): Uint8Array | string {
    const isMoved = this.contents !== undefined && descriptors !== undefined;
    if (leavesProcess && !isMoved) return 'its files are in the memory of one process: detach it first';
    return new Uint8Array(0);
  }

  /** How another process of this machine goes on with what is in memory; undefined for what is not a volume of its own. */
  get contents(): NodeFsContents | undefined {
    return this.#context.contents;
  }

  close(): void {
    this.#root?.release();
    this.#root = undefined;
  }

  async #countContent(): Promise<number> {
    const { quota, lock } = this.#context;
    if (quota === undefined) return 0;
    const error = await lock.exclusive(() => countTree(this.#context, quota, this.#rootPath));
    if (error < 0) this.#counted = undefined;
    return error;
  }
}

function quotaOf({ maxTotalBytes, maxFiles }: NodeFsOptions): Quota | undefined {
  if (maxTotalBytes === undefined && maxFiles === undefined) return undefined;
  return new Quota(maxTotalBytes ?? Number.MAX_SAFE_INTEGER, maxFiles ?? Number.MAX_SAFE_INTEGER);
}
