/**
 * Any `node:fs`-compatible object as a file system for guests: memfs volumes, unions of them, Node's own module, or what one
 * writes with the same functions.
 *
 * The object only sees absolute paths below the root, made of names that were looked at one by one: never `..`, and no symbolic link
 * on the way. Links that others put into a directory's place while guests work in it are outside this promise: export
 * directories of the host by HostDirectory.
 */
import { Errno, isFailure, type Failure } from '../../../errno.js';
import { FileMode, type FileSystem } from '../file-system.js';
import { NodeFsContext, type Ownership } from './node-fs-context.js';
import type { NodeFsLike } from './node-fs-like.js';
import { NodeFsNode } from './node-fs-node.js';
import { typeOf } from './stats.js';

export type { NodeFsConstants, NodeFsLike, NodeFsStatistics, NodeFsStats } from './node-fs-like.js';
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
  /** Larger files are EFBIG. Give it for objects in memory, where one write far out would take all there is. Default: no limit. */
  readonly maxFileSizeBytes?: number;
}

export class NodeFs implements FileSystem {
  readonly #context: NodeFsContext;
  readonly #rootPath: string;
  #root: NodeFsNode | undefined;

  constructor(fs: NodeFsLike, options: NodeFsOptions = {}) {
    const { root = '/', ownership = 'object', maxFileSizeBytes = Number.MAX_SAFE_INTEGER } = options;
    if (!root.startsWith('/'))
      throw new RangeError(`the root of a file system is an absolute path, not '${root}'`);
    this.#context = new NodeFsContext(fs, ownership, maxFileSizeBytes);
    this.#rootPath = root;
  }

  /** -ENOENT and -ENOTDIR where the root is not there, or not a directory. */
  async attach(): Promise<NodeFsNode | Failure> {
    const stats = await this.#context.lstat(this.#rootPath);
    if (isFailure(stats)) return stats;
    if (typeOf(stats) !== FileMode.S_IFDIR) return -Errno.ENOTDIR;
    if (this.#root?.is(stats) !== true) {
      this.#root?.release();
      this.#root = new NodeFsNode(this.#context, null, '', this.#rootPath, stats);
    }
    this.#root.retain();
    return this.#root;
  }

  close(): void {
    this.#root?.release();
    this.#root = undefined;
  }
}
