import {
  IovecBuffer,
  preadvAsync,
  pwritev2Async,
  pwritevAsync,
  RwfFlags,
  type Completion,
} from '../../../../host/index.js';
import { Errno } from '../../../errno.js';
import { IoVector } from '../../../io-vector.js';
import type { BlockCompletion } from '../block-backend.js';
import { fillIovecs } from './iovecs.js';

/** Segments of one call; what has more takes several. */
const IOVECS_PER_CALL = 256;

export const TransferKind = { read: 0, write: 1, durableWrite: 2 } as const;
export type TransferKind = (typeof TransferKind)[keyof typeof TransferKind];

const NOTHING = new IoVector();
const NOBODY: BlockCompletion = { complete: () => {} };

/** One transfer on libuv's threads, in as many calls as it takes. Pooled. */
export class FileTransfer {
  kind: TransferKind = TransferKind.read;
  completion: BlockCompletion = NOBODY;
  readonly #fd: number;
  readonly #ended: (transfer: FileTransfer, result: number) => void;
  readonly #iovecs = new IovecBuffer(IOVECS_PER_CALL);
  #vector = NOTHING;
  #offsetBytes = 0;
  #movedBytes = 0;

  constructor(fd: number, ended: (transfer: FileTransfer, result: number) => void) {
    this.#fd = fd;
    this.#ended = ended;
  }

  /** Moves the vector's bytes from `movedBytes` on, which belong at `offsetBytes + movedBytes`. The vector stays as it is until the end. */
  start(
    kind: TransferKind,
    offsetBytes: number,
    vector: IoVector,
    movedBytes: number,
    completion: BlockCompletion,
  ): void {
    this.kind = kind;
    this.completion = completion;
    this.#vector = vector;
    this.#offsetBytes = offsetBytes;
    this.#movedBytes = movedBytes;
    this.#issue();
  }

  /** Calls, and the callbacks that the host keeps for them, hold this object, and with it the vector and its memory. */
  #issue(): void {
    const iovecs = this.#iovecs;
    const count = fillIovecs(iovecs, this.#vector, this.#movedBytes);
    const at = this.#offsetBytes + this.#movedBytes;
    if (this.kind === TransferKind.read) preadvAsync(this.#fd, iovecs, count, at, this.#moved);
    else if (this.kind === TransferKind.write) pwritevAsync(this.#fd, iovecs, count, at, this.#moved);
    else pwritev2Async(this.#fd, iovecs, count, at, RwfFlags.RWF_DSYNC, this.#moved);
  }

  readonly #moved: Completion = (value) => {
    if (value === -Errno.EINTR) return this.#issue();
    // Nothing moved: a read has come to the end of a file that is shorter than it was.
    if (value <= 0) return this.#end(value === 0 ? -Errno.EIO : value);
    this.#movedBytes += value;
    if (this.#movedBytes < this.#vector.byteLength) this.#issue();
    else this.#end(0);
  };

  #end(result: number): void {
    this.#vector = NOTHING;
    this.#ended(this, result);
  }
}
