/**
 * The tree of nodes that a guest holds, for file systems that find their files by name: each node knows its parent and its name
 * there, and follows the guest's renames. Nodes are shared: two fids of one name have one node.
 */
import { FsNode, type ByteString } from './file-system.js';

export abstract class NamedNode<Self extends NamedNode<Self>> extends FsNode {
  /** Null for the root alone. A detached node still knows where it was, for `..`. */
  #parent: Self | null;
  /** Of a node that was regained without a name, all those from its parent on, with '/'. */
  #name: ByteString;
  #detached = false;
  #children: Map<ByteString, Self> | null = null;
  /** Fids, and nodes whose parent this is. */
  #references = 1;

  /** Makes the node with one reference. `parent.adopt` takes it into the tree. */
  constructor(parent: Self | null, name: ByteString) {
    super();
    this.#parent = parent;
    this.#name = name;
  }

  /** `this`, as what it is. */
  protected abstract get self(): Self;
  /** The node has been detached. */
  protected abstract onDetach(): void;
  /** The last reference is gone. */
  protected abstract onRelease(): void;

  get parentNode(): Self | null {
    return this.#parent;
  }

  get name(): ByteString {
    return this.#name;
  }

  /** True once the name leads elsewhere or nowhere. */
  get detached(): boolean {
    return this.#detached;
  }

  override entryName(): ByteString {
    return this.#name.slice(this.#name.lastIndexOf('/') + 1);
  }

  /** True while somebody has the node. */
  protected get isHeld(): boolean {
    return this.#references > 0;
  }

  override names(): readonly ByteString[] | undefined {
    const names: ByteString[] = [];
    for (let node: Self = this.self; node.#parent !== null; node = node.#parent) {
      if (node.#detached) return undefined;
      names.push(node.#name);
    }
    return names.reverse();
  }

  override lastNames(): readonly ByteString[] {
    const names: ByteString[] = [];
    for (let node: Self = this.self; node.#parent !== null; node = node.#parent) names.push(node.#name);
    return names.reverse();
  }

  override parent(): Self {
    const parent = this.#parent ?? this.self;
    parent.retain();
    return parent;
  }

  retain(): void {
    this.#references++;
  }

  /** Without any reference left, the node goes, and with it its claim on its parent: a loop, as paths can be deep. */
  release(): void {
    for (let node: Self | null = this.self; node !== null && node.#dropReference();) {
      const parent: Self | null = node.#parent;
      if (parent !== null) parent.#forget(node);
      node.onRelease();
      node = parent;
    }
  }

  child(name: ByteString): Self | undefined {
    return this.#children?.get(name);
  }

  /** Takes `node`, made with this parent and its name, into the tree, in place of one that had this name. */
  adopt(node: Self): void {
    this.child(node.#name)?.detach();
    this.#children ??= new Map();
    this.#children.set(node.#name, node);
    this.retain();
  }

  /** Takes `node`, made with this parent and the names that it had below, as one without a name. */
  adoptNameless(node: Self): void {
    this.retain();
    node.#detached = true;
    node.onDetach();
  }

  /** Notes that the name does not lead here any more. The claim on the parent stays until the node goes. */
  detach(): void {
    if (this.#detached || this.#parent === null) return;
    this.#parent.#forget(this.self);
    this.#detached = true;
    this.onDetach();
  }

  /** Notes that the file is now called `name` in `directory`. */
  moveTo(directory: Self, name: ByteString): void {
    // Should others move directories meanwhile, a rename of the guest's could close our picture of the tree into a ring.
    if (this.#detached || this.isAbove(directory)) {
      this.detach();
      return;
    }
    const before = this.#parent;
    if (before !== null) before.#forget(this.self);
    this.#parent = directory;
    this.#name = name;
    directory.adopt(this.self);
    before?.release();
  }

  /** True where `node` is this node or below it. */
  isAbove(node: Self): boolean {
    for (let above: Self | null = node; above !== null; above = above.#parent) {
      if (above === this.self) return true;
    }
    return false;
  }

  #forget(node: Self): void {
    if (this.#children?.get(node.#name) === node) this.#children.delete(node.#name);
  }

  #dropReference(): boolean {
    return --this.#references === 0;
  }
}
