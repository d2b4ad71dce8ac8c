/** The root of a mount tree: `ctl`, and a directory for each child. */
import { Errno, isFailure, type Failure } from '../../../errno.js';
import { OpenFlag, type ByteString, type FsNode, type MaybePromise, type OpenFile } from '../file-system.js';
import type { Given } from '../kept.js';
import type { ChildTable } from './child-table.js';
import { CTL_NAME, CtlDirectory, type Ctl } from './ctl-nodes.js';
import {
  DIRECTORY_MODE,
  dots,
  DT_DIR,
  FIRST_CHILD_INODE,
  SyntheticListing,
  SyntheticNode,
  TreeInode,
  type SyntheticAttributes,
  type SyntheticEntry,
} from './synthetic-node.js';

const CTL_COOKIE = 3;
const FIRST_CHILD_COOKIE = 4;

export class RootNode extends SyntheticNode {
  readonly #table: ChildTable;
  readonly #ctl: CtlDirectory;

  constructor(table: ChildTable, ctl: Ctl) {
    super();
    this.#table = table;
    this.#ctl = new CtlDirectory(this, ctl);
  }

  override walk(name: ByteString): MaybePromise<FsNode | Failure> {
    if (name === CTL_NAME) return this.#ctl;
    return this.#table.byName.get(name)?.child.attach() ?? -Errno.ENOENT;
  }

  override names(): readonly ByteString[] {
    return [];
  }

  /** A file that a child's directory has no more. */
  override async regain(name: ByteString, given: Given): Promise<FsNode | Failure> {
    const slash = name.indexOf('/');
    const root = slash < 0 ? -Errno.ESTALE : await this.walk(name.slice(0, slash));
    if (isFailure(root)) return root;
    const node = await root.regain(name.slice(slash + 1), given);
    root.release();
    return node;
  }

  override parent(): FsNode {
    return this;
  }

  override open(flags: number): OpenFile | Failure {
    if ((flags & (OpenFlag.O_ACCMODE | OpenFlag.O_TRUNC)) !== 0) return -Errno.EISDIR;
    return new SyntheticListing(this, () => this.#entries());
  }

  protected override attributes(): SyntheticAttributes {
    const { byName, changedMs } = this.#table;
    return {
      inode: TreeInode.root,
      mode: DIRECTORY_MODE,
      nlink: 3 + byName.size,
      sizeBytes: 0,
      changedMs,
    };
  }

  /** Children that come while it runs are left out: one that is removed and added again would be told twice. */
  *#entries(): Generator<SyntheticEntry> {
    const { byName, lastId } = this.#table;
    yield* dots(TreeInode.root, TreeInode.root);
    yield { name: CTL_NAME, inode: TreeInode.ctl, type: DT_DIR, cookie: CTL_COOKIE };
    for (const { id, name } of byName.values()) {
      if (id > lastId) return;
      yield { name, inode: FIRST_CHILD_INODE + id, type: DT_DIR, cookie: FIRST_CHILD_COOKIE + id };
    }
  }
}
