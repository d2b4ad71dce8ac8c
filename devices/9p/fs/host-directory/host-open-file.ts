/** What open files and open directories of the host have in common: a descriptor of their own, and its count. */
import { closeFd, fdatasyncAsync, fsyncAsync, ftruncate } from '../../../../host/index.js';
import { OpenFile, type AttributeChanges, type Attributes } from '../file-system.js';
import { changeAttributes } from './attribute-changes.js';
import type { ExportContext } from './export-context.js';
import type { BorrowedHandle } from './tree-node.js';

/** The node that a file is opened on. */
export interface OpenedNode {
  /** S_IFMT bits. */
  readonly type: number;
  readonly device: number;
  readonly inodeLow: number;
  readonly inodeHigh: number;
  fileOpened(file: BorrowedHandle): void;
  fileClosing(file: BorrowedHandle): void;
  /** The guest has changed the file, and knows. */
  noteChange(): void;
}

export abstract class HostOpenFile extends OpenFile implements BorrowedHandle {
  /** The node's next open file: the node's own list. */
  nextOfNode: BorrowedHandle | null = null;
  written = false;
  readonly fd: number;
  protected readonly context: ExportContext;
  protected readonly node: OpenedNode;

  /** Takes over `fd`, open for what it is to be used for. */
  constructor(context: ExportContext, fd: number, node: OpenedNode) {
    super();
    this.context = context;
    this.fd = fd;
    this.node = node;
    context.openFiles++;
    node.fileOpened(this);
  }

  getattr(out: Attributes): number {
    const { statx } = this.context;
    const error = statx.load(this.fd);
    if (error === 0) statx.fill(out);
    return error;
  }

  override setattr(changes: AttributeChanges): number {
    const answer = changeAttributes(this.context, this.fd, this.node.type, changes, ftruncate);
    this.node.noteChange();
    return answer;
  }

  override fsync(dataOnly: boolean): Promise<number> {
    const sync = dataOnly ? fdatasyncAsync : fsyncAsync;
    return new Promise((resolve) => {
      sync(this.fd, resolve);
    });
  }

  close(): void {
    this.node.fileClosing(this);
    this.context.openFiles--;
    this.closeDescriptor();
    if (this.written) this.node.noteChange();
  }

  protected closeDescriptor(): void {
    closeFd(this.fd);
  }
}
