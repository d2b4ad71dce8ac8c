/**
 * What ties a node to its file on the host: which inode it is, and an O_PATH descriptor that may be closed for room and
 * opened again, one component at a time from the nearest open ancestor, to the same inode or not at all.
 */
import { closeFd, StatxMask } from '../../../../host/index.js';
import { Errno, type Failure } from '../../../errno.js';
import { FileMode, type ByteString } from '../file-system.js';
import { NamedNode } from '../named-node.js';
import type { ExportContext } from './export-context.js';
import type { HandleOwner } from './handle-cache.js';
import type { Identity, StatxBuffer } from './statx-buffer.js';

/** What identifies a file. */
export const IDENTITY_MASK = StatxMask.STATX_TYPE | StatxMask.STATX_INO;

export abstract class TreeNode<Self extends TreeNode<Self>>
  extends NamedNode<Self>
  implements HandleOwner, Identity
{
  // The handle cache's:
  fd = -1;
  pins = 0;
  newer: HandleOwner | null = null;
  older: HandleOwner | null = null;

  readonly type: number;
  readonly device: number;
  readonly inodeLow: number;
  readonly inodeHigh: number;
  protected readonly context: ExportContext;

  /** `context.statx` holds what was just found behind the descriptor that the node is to get. */
  constructor(context: ExportContext, parent: Self | null, name: ByteString) {
    super(parent, name);
    this.context = context;
    const { statx } = context;
    this.type = statx.mode & FileMode.S_IFMT;
    this.device = statx.device;
    this.inodeLow = statx.inodeLow;
    this.inodeHigh = statx.inodeHigh;
  }

  /**
   * The descriptor of this node, opened where it is closed; or a negative errno. It is good until some sixteen others' have been asked
   * for: pin it for longer.
   */
  handle(): number {
    if (this.fd < 0) return this.#openFromAncestor();
    this.context.handles.touch(this);
    return this.fd;
  }

  /** Opens the descriptor and keeps it open until `unpin`. 0 or a negative errno. */
  pin(): number {
    const fd = this.handle();
    return fd < 0 ? fd : this.context.handles.pin(this);
  }

  unpin(): void {
    this.context.handles.unpin(this);
  }

  /** True where `statx` was filled from this very file. */
  is(statx: StatxBuffer): boolean {
    return (
      statx.inodeLow === this.inodeLow &&
      statx.inodeHigh === this.inodeHigh &&
      statx.device === this.device &&
      (statx.mode & FileMode.S_IFMT) === this.type
    );
  }

  /**
   * The descriptor, if it is open, is the last way to the file, and pinned. Where too many are, the node becomes stale once its
   * descriptor is closed for room.
   */
  protected override onDetach(): void {
    if (this.fd >= 0) this.context.handles.pin(this);
  }

  protected override onRelease(): void {
    this.context.handles.drop(this);
  }

  /** Walks down from the nearest ancestor that is open. A file that is gone, or another one by now, is -ESTALE. */
  #openFromAncestor(): number {
    const path: Self[] = [];
    let above: Self = this.self;
    while (above.fd < 0) {
      const parent = above.parentNode;
      if (above.detached || parent === null) return -Errno.ESTALE;
      path.push(above);
      above = parent;
    }
    for (let node = path.pop(); node !== undefined; node = path.pop()) {
      const error = node.#open(above);
      if (error < 0) return error;
      above = node;
    }
    return this.fd;
  }

  /** Opens this node below its parent, which is open. */
  #open(parent: Self): number {
    const { context } = this;
    const refused = context.reopenName.setName(this.name);
    if (refused < 0) return refused;
    const fd = context.openEntry(parent.handle(), context.reopenName.address);
    if (fd < 0) return isAbsence(fd) ? -Errno.ESTALE : fd;
    const error = context.statx.load(fd, IDENTITY_MASK);
    if (error === 0 && this.is(context.statx)) {
      context.handles.add(this, fd);
      return 0;
    }
    closeFd(fd);
    return error < 0 ? error : -Errno.ESTALE;
  }
}

function isAbsence(failure: Failure): boolean {
  return failure === -Errno.ENOENT || failure === -Errno.ENOTDIR || failure === -Errno.ELOOP;
}
