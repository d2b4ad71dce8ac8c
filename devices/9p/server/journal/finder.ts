/** Finds the files of a journal again, each name looked at once. */
import { Errno, isFailure, type Failure } from '../../../errno.js';
import { Attributes, isPromise, type FileSystem, type FsNode } from '../../fs/file-system.js';
import { checkEntryName } from '../names.js';
import type { ReplayNode } from './replay-tree.js';

/** A file that was found. */
export interface Found {
  /** The finder's. */
  readonly node: FsNode;
  readonly attributes: Attributes;
}

export class Finder {
  readonly #fs: FileSystem;
  readonly #found = new Map<ReplayNode, Found | Failure>();

  constructor(fs: FileSystem) {
    this.#fs = fs;
  }

  /** What the names lead to now; -ESTALE where there are none, or the errno of the first that leads nowhere. */
  async find(node: ReplayNode): Promise<Found | Failure> {
    const path: ReplayNode[] = [];
    let above = node;
    let found = this.#found.get(above);
    while (found === undefined) {
      if (above.detached) return -Errno.ESTALE;
      path.push(above);
      if (above.parent === undefined) break;
      above = above.parent;
      found = this.#found.get(above);
    }
    for (let next = path.pop(); next !== undefined; next = path.pop()) {
      const looked: Found | Failure = await this.#look(next, found);
      this.#found.set(next, (found = looked));
    }
    return found ?? -Errno.ESTALE;
  }

  /** Lets go of what was found. */
  release(): void {
    for (const found of this.#found.values()) if (!isFailure(found)) found.node.release();
    this.#found.clear();
  }

  async #look(node: ReplayNode, parent: Found | Failure | undefined): Promise<Found | Failure> {
    if (parent === undefined) return lookAt(await this.#fs.attach());
    if (typeof parent === 'number') return parent;
    return lookUp(parent.node, node.name);
  }
}

/** The entry of a directory. */
export async function lookUp(directory: FsNode, name: string): Promise<Found | Failure> {
  // What is in a journal has not been checked.
  const refused = checkEntryName(name);
  if (refused !== 0) return refused;
  const attributes = new Attributes();
  const answer = directory.walk(name, attributes);
  return lookAt(isPromise(answer) ? await answer : answer, attributes);
}

async function lookAt(node: FsNode | Failure, attributes = new Attributes()): Promise<Found | Failure> {
  if (isFailure(node)) return node;
  const failure = attributes.filled ? 0 : await node.getattr(attributes);
  if (failure === 0) return { node, attributes };
  node.release();
  return failure;
}
