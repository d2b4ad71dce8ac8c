/**
 * `ctl/exec/requests`: lines for the helper that runs commands. While a helper has it open, the guest runs commands; there is one at a time. Each
 * read gets one line or a part of it, so that a shell which reads ahead finds nothing to put back.
 */
import { Errno, type Failure } from '../../../../errno.js';
import type { IoVector } from '../../../../io-vector.js';
import type { FsNode, OpenFile } from '../../file-system.js';
import { ByteQueue } from './byte-queue.js';
import { StreamReader } from './stream-reader.js';

/** Signals that a helper is behind with; later ones are dropped. */
const LINES_MAX = 256;
const encoder = new TextEncoder();
/** Ends what its reader may have read of a line from a process that was killed, and makes it one that asks for nothing. */
const VOID = encoder.encode('x\n');

export class RequestQueue {
  readonly #lines: Uint8Array[] = [];
  /** What is left of the line that is being read. */
  readonly #line = new ByteQueue(1);
  #reader: StreamReader | undefined;
  #ended = false;

  get hasReader(): boolean {
    return this.#reader !== undefined;
  }

  /** `details` are those of the reader elsewhere that this one goes on for. */
  open(node: FsNode, details?: Uint8Array): OpenFile | Failure {
    if (this.#reader !== undefined) return -Errno.EBUSY;
    if (this.#ended) return -Errno.EIO;
    const stream = { give: (into: IoVector, maxBytes: number) => this.#give(into, maxBytes) };
    const hasEnded = () => this.#ended;
    const reader = new StreamReader(node, {
      ...stream,
      get hasEnded() {
        return hasEnded();
      },
      closed: () => this.#closed(),
    });
    if (details !== undefined && !reader.resume(details)) this.#line.put(VOID);
    return (this.#reader = reader);
  }

  add(line: string): void {
    if (this.#lines.length >= LINES_MAX) return;
    this.#lines.push(encoder.encode(line));
    this.#reader?.wake();
  }

  end(): void {
    this.#ended = true;
    this.#lines.length = 0;
    this.#reader?.wake();
  }

  #give(into: IoVector, maxBytes: number): number {
    if (this.#line.lengthBytes === 0) this.#line.put(this.#lines.shift() ?? new Uint8Array(0));
    return this.#line.takeInto(into, maxBytes);
  }

  /** The next helper is told anew what has to be run; a signal was for processes of this one. */
  #closed(): void {
    this.#reader = undefined;
    this.#line.clear();
    this.#lines.length = 0;
  }
}
