import { IoVector } from '../../io-vector.js';
import type { Chain } from '../../virtio/device.js';
import { PENDING, type BlockCompletion } from '../backends/block-backend.js';
import { RangeList } from './range-list.js';

/** Where a request's answer goes: one queue of the driver's. */
export interface ReplySink {
  /** The chain may go back. `writtenBytes` from its start on have been written. */
  done(chain: Chain, writtenBytes: number): void;
  /** The driver sent what cannot be answered. */
  fault(reason: string): void;
}

/** What follows when the backend has done its part: the next result, or PENDING. */
export type Step = (request: BlockRequest) => number;

/** One request, from its chain to its answer. Requests are pooled: nothing of the last one is left but memory. */
export class BlockRequest implements BlockCompletion {
  /** The driver's data, without header and status. */
  readonly data = new IoVector();
  chain!: Chain;
  sink!: ReplySink;
  active = false;
  /** When it began, where it is one of those that are timed; otherwise 0. */
  begunMs = 0;
  /** Grows with each request that starts: those under way at some moment are the ones up to a number. */
  serial = 0;
  /** What the backend is asked for, as a verb; empty while it has not been. */
  operation = '';
  offsetBytes = 0;
  /** Bytes of data from the start of the writable part on that hold the answer, once it has succeeded. */
  answeredBytes = 0;
  /** What follows when the backend succeeds. */
  next: Step | undefined;
  /** What is done to ranges (a VIRTIO_BLK_T_ type); 0 where the request has none. */
  command = 0;
  #ranges: RangeList | undefined;
  readonly #end: (request: BlockRequest, result: number) => void;

  constructor(end: (request: BlockRequest, result: number) => void) {
    this.#end = end;
  }

  start(chain: Chain, sink: ReplySink, serial: number): void {
    this.chain = chain;
    this.sink = sink;
    this.serial = serial;
    this.active = true;
    this.operation = '';
    this.offsetBytes = 0;
    this.answeredBytes = 0;
    this.next = undefined;
    this.command = 0;
  }

  get ranges(): RangeList {
    return (this.#ranges ??= new RangeList());
  }

  complete(result: number): void {
    const step = this.next;
    this.next = undefined;
    const outcome = result < 0 || step === undefined ? result : step(this);
    if (outcome !== PENDING) this.#end(this, outcome);
  }
}
