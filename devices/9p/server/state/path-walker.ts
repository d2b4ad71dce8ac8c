/** Walks names from a file system's root, each time from what they have in common with the names before: of most fids that is all but one. */
import { isFailure, type Failure } from '../../../errno.js';
import type { Attributes, ByteString, FsNode } from '../../fs/file-system.js';

export class PathWalker {
  /** From the root on: one node more than names. Held. */
  readonly #nodes: FsNode[];
  readonly #names: ByteString[] = [];

  /** Takes over `root`. */
  constructor(root: FsNode) {
    this.#nodes = [root];
  }

  /**
   * Where the names lead, with a reference for the caller; may fill `out` as `FsNode.walk`. Where they do not, `reached` is as far as
   * they went.
   */
  async walk(names: readonly ByteString[], out: Attributes): Promise<FsNode | Failure> {
    this.#goBackTo(this.#sharedWith(names));
    out.filled = false;
    for (let at = this.#names.length; at < names.length; at++) {
      out.filled = false;
      const next = await this.#last.walk(names[at], out);
      if (isFailure(next)) return next;
      this.#nodes.push(next);
      this.#names.push(names[at]);
    }
    this.#last.retain();
    return this.#last;
  }

  /** Where the last walk got to, still the walker's, and how many of the names led there. */
  get reached(): { readonly node: FsNode; readonly names: number } {
    return { node: this.#last, names: this.#names.length };
  }

  release(): void {
    this.#goBackTo(0);
    this.#last.release();
  }

  get #last(): FsNode {
    return this.#nodes[this.#nodes.length - 1];
  }

  #sharedWith(names: readonly ByteString[]): number {
    let shared = 0;
    while (shared < this.#names.length && this.#names[shared] === names[shared]) shared++;
    return shared;
  }

  #goBackTo(depth: number): void {
    this.#names.length = depth;
    while (this.#nodes.length > depth + 1) this.#nodes.pop()?.release();
  }
}
