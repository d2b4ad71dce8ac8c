/**
 * For a daemon that is not root: the guest's owners, modes, links, FIFOs and device nodes live in an extended attribute, and the host
 * has plain files and directories of the daemon's user, which mean nothing to the host's kernel. As QEMU's `mapped-xattr`.
 *
 * Files that the host made show as they are, until the guest changes their owner or mode. Do not export one directory both this
 * way and another: the other guest could write the attribute.
 */
import { isFailure, type Failure } from '../../../errno.js';
import type { GivenDescriptors, StateDestination } from '../../../state-descriptors.js';
import type { FileSystem, FsNode, MaybePromise } from '../file-system.js';
import { restoreStateOf, stateOf } from '../kept.js';
import { PathLock } from '../path-lock.js';
import { MappedNode } from './mapped-node.js';

/** What the nodes of one mount share. */
export class MappedContext {
  /** Exclusive for changes of metadata, each of which reads what there is first. */
  readonly lock = new PathLock();
  /** Grows whenever a set-id bit is set: then open files look again before they write. */
  setIdEpoch = 0;
}

export class MappedFs implements FileSystem {
  readonly #inner: FileSystem;
  readonly #context = new MappedContext();

  /** Takes over `inner`, and closes it when it is closed. */
  constructor(inner: FileSystem) {
    this.#inner = inner;
  }

  /** -EOPNOTSUPP where the file system has no extended attributes. */
  async attach(): Promise<FsNode | Failure> {
    const root = await this.#inner.attach();
    if (isFailure(root)) return root;
    const probe = await root.listxattr();
    if (!isFailure(probe)) return new MappedNode(root, this.#context);
    root.release();
    return probe;
  }

  saveState(to: StateDestination): Uint8Array | string {
    return stateOf(this.#inner, to);
  }

  restoreState(bytes: Uint8Array, descriptors?: GivenDescriptors): MaybePromise<string | undefined> {
    return restoreStateOf(this.#inner, bytes, descriptors);
  }

  async close(): Promise<void> {
    await this.#inner.close();
  }
}
