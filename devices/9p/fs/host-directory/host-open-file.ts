/** What open files and open directories of the host have in common: a descriptor of their own, and its count. */
import { closeFd, fdatasyncAsync, fsyncAsync, ftruncate } from '../../../../host/index.js';
import { OpenFile, type AttributeChanges, type Attributes } from '../file-system.js';
import { changeAttributes } from './attribute-changes.js';
import type { ExportContext } from './export-context.js';

export abstract class HostOpenFile extends OpenFile {
  protected readonly context: ExportContext;
  protected readonly fd: number;
  readonly #type: number;

  /** Takes over `fd`, open for what it is to be used for; `type` is its S_IFMT. */
  constructor(context: ExportContext, fd: number, type: number) {
    super();
    this.context = context;
    this.fd = fd;
    this.#type = type;
    context.openFiles++;
  }

  getattr(out: Attributes): number {
    const { statx } = this.context;
    const error = statx.load(this.fd);
    if (error === 0) statx.fill(out);
    return error;
  }

  override setattr(changes: AttributeChanges): number {
    return changeAttributes(this.context, this.fd, this.#type, changes, ftruncate);
  }

  override fsync(dataOnly: boolean): Promise<number> {
    const sync = dataOnly ? fdatasyncAsync : fsyncAsync;
    return new Promise((resolve) => {
      sync(this.fd, resolve);
    });
  }

  close(): void {
    closeFd(this.fd);
    this.context.openFiles--;
  }
}
