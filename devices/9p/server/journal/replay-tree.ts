/** The names of a session's files as a journal tells of them, as `NamedNode` has them of a file system's. */
import type { ByteString } from '../../fs/file-system.js';

export class ReplayNode {
  /** Undefined for the root alone. */
  parent: ReplayNode | undefined;
  name: ByteString;
  /** No name leads to it any more. */
  detached = false;
  /** The qid's path, where one was told. */
  isKnown = false;
  pathLow = 0;
  pathHigh = 0;
  #children: Map<ByteString, ReplayNode> | undefined;

  constructor(parent?: ReplayNode, name: ByteString = '') {
    this.parent = parent;
    this.name = name;
  }

  identify(pathLow: number, pathHigh: number): void {
    this.isKnown = true;
    this.pathLow = pathLow;
    this.pathHigh = pathHigh;
  }

  isOf(pathLow: number, pathHigh: number): boolean {
    return this.isKnown && this.pathLow === pathLow && this.pathHigh === pathHigh;
  }

  child(name: ByteString): ReplayNode | undefined {
    return this.#children?.get(name);
  }

  /** The node of this name, made where there is none. */
  reach(name: ByteString): ReplayNode {
    const known = this.child(name);
    if (known !== undefined) return known;
    const node = new ReplayNode(this, name);
    (this.#children ??= new Map<ByteString, ReplayNode>()).set(name, node);
    return node;
  }

  /** The same where the name was seen to lead to this file: one that had it before has it no more. */
  found(name: ByteString, pathLow: number, pathHigh: number): ReplayNode {
    const known = this.child(name);
    if (known !== undefined && known.isKnown && !known.isOf(pathLow, pathHigh)) known.detach();
    const node = this.reach(name);
    node.identify(pathLow, pathHigh);
    return node;
  }

  detach(): void {
    const { parent } = this;
    if (parent !== undefined) parent.#forget(this);
    this.detached = true;
  }

  /** This directory's `name` is `newName` of another one now, and what that was is gone. */
  rename(name: ByteString, to: ReplayNode, newName: ByteString): void {
    const node = this.child(name);
    const replaced = to.child(newName);
    if (node === replaced && node !== undefined) return;
    // Two names of one file: rename(2) does nothing then.
    if (node?.isKnown && replaced?.isOf(node.pathLow, node.pathHigh)) return;
    replaced?.detach();
    if (node === undefined) return;
    if (node.isAbove(to)) return node.detach();
    this.#forget(node);
    node.parent = to;
    node.name = newName;
    (to.#children ??= new Map<ByteString, ReplayNode>()).set(newName, node);
  }

  /** From the root; undefined where no name leads here. */
  names(): ByteString[] | undefined {
    return namesOf(this);
  }

  /** As `names`; those that led here last, where none does any more. */
  lastNames(): ByteString[] {
    return this.parent === undefined ? [] : [...this.parent.lastNames(), this.name];
  }

  private isAbove(node: ReplayNode): boolean {
    for (let above: ReplayNode | undefined = node; above !== undefined; above = above.parent)
      if (above === this) return true;
    return false;
  }

  #forget(node: ReplayNode): void {
    if (this.#children?.get(node.name) === node) this.#children.delete(node.name);
  }
}

function namesOf(leaf: ReplayNode): ByteString[] | undefined {
  const names: ByteString[] = [];
  let node = leaf;
  for (; node.parent !== undefined && !node.detached; node = node.parent) names.push(node.name);
  return node.detached ? undefined : names.reverse();
}
