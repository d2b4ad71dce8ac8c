/** Calls that run on a thread of libuv's pool, and how their results come back. */
import { result } from '../errors.js';
import type { IovecBuffer } from './iovec-buffer.js';

/** Receives what the synchronous call would have returned, from Node's event loop. */
export type Completion = (value: number) => void;
export type Settle = (error: unknown, value: number) => void;

/**
 * koffi runs asynchronous calls on libuv's threads and refuses more than a number at once; running the call
 * here instead holds back whoever submits faster than the disk works.
 */
export function submit(
  start: (settle: Settle) => void,
  settle: Settle,
  inline: () => number,
  done: Completion,
): void {
  try {
    start(settle);
  } catch {
    setImmediate(done, inline());
  }
}

/**
 * koffi keeps this callback until the call is over, and the callback keeps the iovecs, which a thread reads
 * meanwhile.
 */
export function settleVectored(iovecs: IovecBuffer, done: Completion): Settle {
  return (_error, value) => {
    void iovecs;
    done(result(value));
  };
}

export function settleSync(done: Completion): Settle {
  return (_error, value) => {
    done(result(value));
  };
}
