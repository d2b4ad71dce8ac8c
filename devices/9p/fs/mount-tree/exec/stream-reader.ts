/**
 * An open file that is a stream to the guest: a read with nothing to tell waits, whatever its offset, until there is something or the
 * stream has ended.
 */
import { Errno } from '../../../../errno.js';
import type { IoVector } from '../../../../io-vector.js';
import { StateReader } from '../../../../state-reader.js';
import { StateWriter } from '../../../../state-writer.js';
import {
  OpenFile,
  type Attributes,
  type FsNode,
  type Interruptible,
  type MaybePromise,
} from '../../file-system.js';
import { NOTHING_KEPT, type Kept } from '../../kept.js';

/** What a reader reads. */
export interface ReadableStream {
  /** Fills up to `maxBytes` of `into`, from its start; answers how many there were, 0 where there is nothing now. */
  give(into: IoVector, maxBytes: number): number;
  /** Nothing more will come. */
  readonly hasEnded: boolean;
  /** The reader was closed, or its guest is gone. */
  closed(): void;
}

const NOWHERE = -1;
const KEPT_FIELDS = { hasEnd: 1, endOffset: 8 } as const;
/** No request is smaller than what fits the smallest message of Linux. */
const WHOLE_MAX_BYTES = 4000;

interface Wait {
  readonly offset: number;
  readonly into: IoVector;
  readonly resolve: (answer: number) => void;
}

export class StreamReader extends OpenFile {
  readonly #node: FsNode;
  readonly #stream: ReadableStream;
  #wait: Wait | undefined;
  /** Where a short answer ended: Linux reads on from there before its caller gets anything, and is answered with nothing, once. */
  #endOffset = NOWHERE;

  constructor(node: FsNode, stream: ReadableStream) {
    super();
    this.#node = node;
    this.#stream = stream;
  }

  /** There is something to give, or the stream has ended. */
  wake(): void {
    if (this.#wait === undefined) return;
    const { offset, into } = this.#wait;
    const given = this.#give(offset, into);
    if (given > 0 || this.#stream.hasEnded) this.#endWait(given);
  }

  override read(offset: number, into: IoVector): MaybePromise<number> {
    if (this.#wait !== undefined) return -Errno.EBUSY;
    const goesOn = offset === this.#endOffset;
    this.#endOffset = NOWHERE;
    if (goesOn || into.byteLength === 0) return 0;
    const given = this.#give(offset, into);
    if (given > 0 || this.#stream.hasEnded) return given;
    return new Promise((resolve) => (this.#wait = { offset, into, resolve }));
  }

  override interrupt(operation: Interruptible): void {
    if (this.#wait?.into === operation) this.#endWait(-Errno.EINTR);
  }

  override getattr(out: Attributes): MaybePromise<number> {
    return this.#node.getattr(out);
  }

  override keep(): Kept {
    const writer = new StateWriter();
    const hasEnd = this.#endOffset === NOWHERE ? 0 : 1;
    writer.record(KEPT_FIELDS, { hasEnd, endOffset: Math.max(this.#endOffset, 0) });
    return { ...NOTHING_KEPT, details: writer.bytes };
  }

  /** Goes on from what `keep` told elsewhere; false where it told nothing. */
  resume(details: Uint8Array): boolean {
    const reader = new StateReader(details);
    const { hasEnd, endOffset } = reader.record(KEPT_FIELDS);
    if (!reader.overrun && hasEnd !== 0) this.#endOffset = endOffset;
    return !reader.overrun;
  }

  override close(): void {
    if (this.#wait !== undefined) this.#endWait(-Errno.EIO);
    this.#stream.closed();
  }

  /**
   * Large requests never get all that they ask for: Linux would go on with what does not fit a message, and wait, while its caller has yet
   * to see what has come.
   */
  #give(offset: number, into: IoVector): number {
    const { byteLength } = into;
    const given = this.#stream.give(into, byteLength > WHOLE_MAX_BYTES ? byteLength - 1 : byteLength);
    if (given > 0 && given < byteLength) this.#endOffset = offset + given;
    return given;
  }

  #endWait(answer: number): void {
    const wait = this.#wait;
    this.#wait = undefined;
    wait?.resolve(answer);
  }
}
