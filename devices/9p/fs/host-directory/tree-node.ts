/**
 * What ties a node to its file on the host: which inode it is, and a descriptor that is opened when it is needed, may be closed for
 * room and opened again, one component at a time from the nearest open ancestor, to the same inode or not at all.
 *
 * Most nodes never need one: the guest looks at a file and lets it go, and looking works by name, in the parent's directory.
 */
import { closeFd, OpenFlags, StatxMask } from '../../../../host/index.js';
import { Errno, type Failure } from '../../../errno.js';
import { FileMode, type ByteString } from '../file-system.js';
import { NamedNode } from '../named-node.js';
import type { ExportContext } from './export-context.js';
import type { HandleOwner } from './handle-cache.js';
import type { Identity, StatxBuffer } from './statx-buffer.js';

/** What identifies a file. */
export const IDENTITY_MASK = StatxMask.STATX_TYPE | StatxMask.STATX_INO;

/** An open file of a node: its descriptor is as good as the node's own, and lasts for as long as the file is open. */
export interface BorrowedHandle {
  readonly fd: number;
  /** The guest has written to it since somebody last asked. */
  written: boolean;
  /** The node's next open file. */
  nextOfNode: BorrowedHandle | null;
}

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
  #openFile: BorrowedHandle | null = null;

  /** `context.statx` holds what was just found of the file that the node is to stand for. */
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
   * A descriptor of this node, O_PATH or better, opened where there is none, which leaves the node's attributes in `context.statx`; or
   * a negative errno. It is good until some sixteen others' have been asked for, or until the next turn: pin it for longer.
   */
  handle(): number {
    const fd = this.openHandle();
    return fd < 0 ? this.#openFromAncestor() : fd;
  }

  /** A descriptor that is there already, as `handle`; or -1. */
  protected openHandle(): number {
    if (this.fd >= 0) {
      this.context.handles.touch(this);
      return this.fd;
    }
    return this.#openFile === null ? -1 : this.#openFile.fd;
  }

  /** Opens a descriptor and keeps it open until `unpin`, in the same turn. 0 or a negative errno. */
  pin(): number {
    const fd = this.handle();
    if (fd < 0) return fd;
    // An open file of the guest's is not closed in this turn.
    return this.fd < 0 ? 0 : this.context.handles.pin(this);
  }

  unpin(): void {
    if (this.pins > 0) this.context.handles.unpin(this);
  }

  /** Notes a file opened on this node. */
  fileOpened(file: BorrowedHandle): void {
    file.nextOfNode = this.#openFile;
    this.#openFile = file;
  }

  /** True where the guest has written to an open file of this node since this was last asked. */
  takeWritten(): boolean {
    let written = false;
    for (let file = this.#openFile; file !== null; file = file.nextOfNode) {
      written ||= file.written;
      file.written = false;
    }
    return written;
  }

  /** Notes that the file is about to be closed: where it is the last way to a node without a name, another one is kept. */
  fileClosing(file: BorrowedHandle): void {
    this.#forgetFile(file);
    // Whether it is the last fid's cannot be told here: what wraps this file system holds a node once for all of its own fids.
    if (!this.detached || this.#openFile !== null || this.fd >= 0 || !this.isHeld) return;
    const fd = this.context.reopen(file.fd, OpenFlags.O_PATH);
    if (fd < 0) return;
    this.context.handles.add(this, fd);
    this.context.handles.pin(this);
  }

  #forgetFile(file: BorrowedHandle): void {
    if (this.#openFile === file) {
      this.#openFile = file.nextOfNode;
      return;
    }
    for (let before = this.#openFile; before !== null; before = before.nextOfNode)
      if (before.nextOfNode === file) before.nextOfNode = file.nextOfNode;
  }

  /** True where `statx` was filled from this very file. */
  is(statx: StatxBuffer): boolean {
    return statx.isOf(this);
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
    while (above.openHandle() < 0) {
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
    const error = context.statx.load(fd);
    if (error === 0 && this.is(context.statx)) {
      context.handles.add(this, fd);
      return 0;
    }
    closeFd(fd);
    return error < 0 ? error : -Errno.ESTALE;
  }
}

/** True where a look-up failed because there is nothing of that name. */
export function isAbsence(failure: Failure): boolean {
  return failure === -Errno.ENOENT || failure === -Errno.ENOTDIR || failure === -Errno.ELOOP;
}
