/**
 * An open directory of a node:fs-compatible object: a snapshot of its names, taken whenever reading starts at cookie 0, so that
 * each is given once whatever changes meanwhile. A cookie is a position in it.
 */
import { Errno, isFailure } from '../../../errno.js';
import {
  FileMode,
  OpenFile,
  type AttributeChanges,
  type Attributes,
  type DirectorySink,
} from '../file-system.js';
import type { Kept } from '../kept.js';
import { encodeText, isEntryName } from './names.js';
import { numbered } from './kept-number.js';
import type { NodeFsContext } from './node-fs-context.js';
import type { NodeFsNode } from './node-fs-node.js';
import { typeOf } from './stats.js';

const SELF_AND_PARENT: readonly string[] = ['.', '..'];
/** `d_type` is the file type's bits of the mode. */
const DIRENT_TYPE_SHIFT = 12;

/** Open directories are numbered, for whoever is told of them. */
let lastNumber = 0;

export class NodeFsDirectory extends OpenFile {
  readonly #context: NodeFsContext;
  readonly #node: NodeFsNode;
  /** `.`, `..` and the names; null before the first read. */
  #names: readonly string[] | null = null;
  readonly #number = ++lastNumber;

  /** Takes over one reference to `node`. */
  constructor(context: NodeFsContext, node: NodeFsNode) {
    super();
    this.#context = context;
    this.#node = node;
  }

  override async readdir(cookie: number, sink: DirectorySink): Promise<number> {
    if (cookie === 0 || this.#names === null) {
      const error = await this.#takeSnapshot();
      if (error < 0) return error;
    }
    const names = this.#names ?? SELF_AND_PARENT;
    for (let at = cookie; at < names.length; at++) {
      const taken =
        at < SELF_AND_PARENT.length ? this.#giveOwn(at, sink) : await this.#give(names[at], at + 1, sink);
      if (!taken) break;
    }
    return 0;
  }

  override getattr(out: Attributes): Promise<number> {
    return this.#node.getattr(out);
  }

  override setattr(changes: AttributeChanges): Promise<number> {
    return this.#node.setattr(changes);
  }

  override keep(): Kept {
    return numbered(this.#number);
  }

  /** With these names of another process, if that had read any. */
  goOn(names: readonly string[] | undefined): void {
    if (names !== undefined) this.#has(names);
  }

  override close(): void {
    this.#context.listings.delete(this.#number);
    this.#node.release();
  }

  #has(names: readonly string[]): void {
    this.#names = names;
    this.#context.listings.set(this.#number, names);
  }

  async #takeSnapshot(): Promise<number> {
    const names = await this.#context.lock.shared(async () => {
      const path = this.#node.path();
      return path === undefined ? [] : this.#context.list(path);
    });
    if (isFailure(names)) {
      if (names !== -Errno.ENOENT) return names;
      this.#has(SELF_AND_PARENT);
    } else {
      this.#has(SELF_AND_PARENT.concat(names.filter(isEntryName)));
    }
    return 0;
  }

  #giveOwn(at: number, sink: DirectorySink): boolean {
    const node = at === 0 ? this.#node : (this.#node.parentNode ?? this.#node);
    const type = FileMode.S_IFDIR >> DIRENT_TYPE_SHIFT;
    return sink.entry(SELF_AND_PARENT[at], node.inodeLow, node.inodeHigh, type, at + 1);
  }

  /** False where the sink is full. An entry that is gone by now is passed over. */
  async #give(name: string, cookie: number, sink: DirectorySink): Promise<boolean> {
    const bytes = encodeText(name);
    const found = await this.#context.lock.shared(async () => {
      const path = this.#node.pathOf(bytes);
      if (isFailure(path)) return path;
      const stats = await this.#context.lstat(path);
      return isFailure(stats) ? stats : { path, stats };
    });
    if (isFailure(found)) return true;
    const known = this.#node.child(bytes);
    const inode =
      known?.is(found.stats) === true
        ? { low: known.inodeLow, high: known.inodeHigh }
        : this.#context.inodes.numberOf(found.path, found.stats);
    return sink.entry(bytes, inode.low, inode.high, typeOf(found.stats) >> DIRENT_TYPE_SHIFT, cookie);
  }
}
