/**
 * What a disk stores its bytes in. A backend is written once and serves every device, overlay and program alike; it knows nothing
 * of virtio.
 *
 * Conventions, which hold for each call below:
 * - A call answers 0 where it is done, a negative errno where it failed, or `PENDING`: then `completion.complete` is going
 *   to be called with 0 or a negative errno, once, from the event loop and never from within the call.
 * - Any number of calls may be under way, in any order and on overlapping ranges; a backend keeps no order among them. What two
 *   writes leave that overlap both in time and in place is one or the other, sector by sector.
 * - Offsets and lengths are bytes and whole sectors of 512, and lie within `sizeBytes`: the caller has checked. A length of 0 does
 *   not occur.
 * - The vector and the completion are the caller's. Until the call has ended they stay as they are, and the backend may use the
 *   vector's memory; afterwards it does not touch it any more.
 * - Nothing throws for what the outside world can cause. Hot calls allocate nothing where the host's interfaces allow it.
 * - Durability: a write that has completed is seen by each read that starts later. It is on the medium once a `flush` that started
 *   later has completed, or when it completes itself where it was asked to be durable. A backend that cannot promise this
 *   any more, because it may have lost a write that had completed, fails every flush from then on.
 */
import { Errno } from '../../errno.js';
import type { IoVector } from '../../io-vector.js';
import type { LifetimeEstimate } from './lifetime.js';

/** The answer of a call that goes on: its completion is going to be called. */
export const PENDING = 1;

export interface BlockCompletion {
  /** Must not throw. */
  complete(result: number): void;
}

/** What a range command takes at once. */
export interface RangeLimits {
  /** Longest range in bytes. */
  readonly maxBytes: number;
  /** What ranges should (or, for a secure erase, must) be aligned to, in bytes. */
  readonly alignmentBytes: number;
}

export interface BlockLimits {
  readonly readOnly: boolean;
  /** The smallest block that the medium can address, in bytes; shorter writes cost a read. A power of two from 512 on. */
  readonly logicalBlockBytes: number;
  /** The block that the medium writes at once, in bytes: a multiple of the logical one, by a power of two. */
  readonly physicalBlockBytes: number;
  /** Bytes from the start to the first physical block that starts there. */
  readonly alignmentOffsetBytes: number;
  /** Smallest and best sizes of requests in bytes; 0 where unknown. */
  readonly minimumIoBytes: number;
  readonly optimalIoBytes: number;
  /** Undefined where `discard` does nothing. */
  readonly discard: RangeLimits | undefined;
  /** Undefined where nothing can be written. */
  readonly writeZeroes: (RangeLimits & { readonly mayUnmap: boolean }) | undefined;
  /** Undefined where the medium cannot erase for good. */
  readonly secureErase: RangeLimits | undefined;
  /** Whether the medium tells how worn it is. */
  readonly hasLifetime: boolean;
}

export abstract class BlockBackend {
  abstract readonly limits: BlockLimits;
  /** Size in bytes: whole sectors. Changes with `resize`, `refreshSize`, and by itself where `sizeChanged` is called. */
  abstract readonly sizeBytes: number;
  /** Called when the size has changed without being asked. Whoever uses the backend sets it. */
  sizeChanged: () => void = () => {};

  /** What is wrong with what the bytes are stored in, for the operator, looked at anew; undefined as a rule. */
  get trouble(): string | undefined {
    return undefined;
  }

  /** Called with `trouble` when that has come up in the course of a request. Whoever uses the backend sets it. */
  troubled: (trouble: string) => void = () => {};

  /** Fills the vector with the bytes from `offsetBytes` on. Where it fails, the vector's memory holds anything. */
  abstract read(offsetBytes: number, into: IoVector, completion: BlockCompletion): number;

  /** Writes the vector's bytes from `offsetBytes` on; where it fails, any of its sectors may have been written. */
  abstract write(offsetBytes: number, from: IoVector, durable: boolean, completion: BlockCompletion): number;

  /** Brings every write that has completed before this call to the medium. */
  abstract flush(completion: BlockCompletion): number;

  /** Makes the range read as zeroes. Only with `mayUnmap` may it give up the range's space. */
  abstract writeZeroes(
    offsetBytes: number,
    lengthBytes: number,
    mayUnmap: boolean,
    completion: BlockCompletion,
  ): number;

  /** The range's contents are not needed any more: gives its space back where it can. What it then reads as is not defined. */
  discard(_offsetBytes: number, _lengthBytes: number, _completion: BlockCompletion): number {
    return -Errno.EOPNOTSUPP;
  }

  /** Erases the range so that nothing brings its contents back. */
  secureErase(_offsetBytes: number, _lengthBytes: number, _completion: BlockCompletion): number {
    return -Errno.EOPNOTSUPP;
  }

  /** How worn the medium is. Rarely called: it may allocate. */
  lifetime(): Promise<LifetimeEstimate | undefined> {
    return Promise.resolve(undefined);
  }

  /** Grows or shrinks what is stored in. The caller sees to it that nothing is under way beyond the new end. 0 or a negative errno. */
  resize(_sizeBytes: number): Promise<number> {
    return Promise.resolve(-Errno.EOPNOTSUPP);
  }

  /** Looks how large it is now: somebody else may have resized it. 0 or a negative errno. */
  refreshSize(): Promise<number> {
    return Promise.resolve(0);
  }

  /** A guest is about to use it. Answers why it must not: it is somebody else's meanwhile. */
  engage(): string | undefined {
    return undefined;
  }

  /**
   * No guest uses it, and nothing is under way: who has waited for it may have it, until `engage`. With whether that guest flushes what is to last
   * (write-back), or counts on every write.
   */
  rest(_writeBack: boolean): void {}

  /** What whoever had it said so by `rest`, when `engage` got it from them; undefined where nobody did. */
  get writeBackBefore(): boolean | undefined {
    return undefined;
  }

  /** Nobody waits for what is under way any more: calls that have not started may end at once, with -ECANCELED. */
  abandon(): void {}

  /** Ends what is under way, flushes nothing, and releases what is held. Nothing may be called afterwards. */
  abstract close(): Promise<void>;
}
