/** The segments of a discard, write-zeroes or secure-erase request (virtio 1.3, section 5.2.6). */
import type { IoVector } from '../../io-vector.js';
import { RANGE_FLAG_UNMAP, RangeSegment, RequestHeader, SECTOR_BYTES } from '../protocol.js';

/** Segments that one request may have; Linux sends no more than 256. */
export const MAX_RANGE_SEGMENTS = 64;

const TWO_POW_32 = 0x1_0000_0000;

/** What a command allows its segments. */
export interface RangeRules {
  readonly maxBytes: number;
  /** 0 where any sector will do. */
  readonly alignmentBytes: number;
  readonly mayUnmap: boolean;
}

export const RangeProblem = { none: 0, invalid: 1, unsupported: 2 } as const;
export type RangeProblem = (typeof RangeProblem)[keyof typeof RangeProblem];

/** The segments of one request: copied, since the driver may change its own at any time. Segment i is at `index`. */
export class RangeList {
  count = 0;
  index = 0;
  readonly #bytes = new Uint8Array(MAX_RANGE_SEGMENTS * RangeSegment.BYTES);
  readonly #view = new DataView(this.#bytes.buffer);

  /** Takes the segments that follow the request's header, and checks all of them before any is acted on. */
  load(readable: IoVector, diskBytes: number, rules: RangeRules): RangeProblem {
    const lengthBytes = readable.byteLength - RequestHeader.BYTES;
    this.index = 0;
    this.count = lengthBytes / RangeSegment.BYTES;
    if (!Number.isInteger(this.count) || this.count === 0 || this.count > MAX_RANGE_SEGMENTS) {
      return RangeProblem.invalid;
    }
    readable.gather(RequestHeader.BYTES, this.#bytes, 0, lengthBytes);
    for (; this.index < this.count; this.index++) {
      const problem = this.#check(diskBytes, rules);
      if (problem !== RangeProblem.none) return problem;
    }
    this.index = 0;
    return RangeProblem.none;
  }

  /** Exact below 2^53; beyond, where no disk is, it may be rounded, but not to below that. */
  get offsetBytes(): number {
    const at = this.index * RangeSegment.BYTES;
    const low = this.#view.getUint32(at + RangeSegment.SECTOR, true);
    return (this.#view.getUint32(at + RangeSegment.SECTOR_HIGH, true) * TWO_POW_32 + low) * SECTOR_BYTES;
  }

  get lengthBytes(): number {
    const at = this.index * RangeSegment.BYTES + RangeSegment.NUM_SECTORS;
    return this.#view.getUint32(at, true) * SECTOR_BYTES;
  }

  get unmap(): boolean {
    return this.#flags === RANGE_FLAG_UNMAP;
  }

  get #flags(): number {
    return this.#view.getUint32(this.index * RangeSegment.BYTES + RangeSegment.FLAGS, true);
  }

  #check(diskBytes: number, rules: RangeRules): RangeProblem {
    const allowed = rules.mayUnmap ? RANGE_FLAG_UNMAP : 0;
    if ((this.#flags & ~allowed) !== 0) return RangeProblem.unsupported;
    const { offsetBytes, lengthBytes } = this;
    if (lengthBytes > rules.maxBytes || offsetBytes > diskBytes - lengthBytes) return RangeProblem.invalid;
    const alignment = rules.alignmentBytes;
    const aligned = alignment === 0 || (offsetBytes % alignment === 0 && lengthBytes % alignment === 0);
    return aligned ? RangeProblem.none : RangeProblem.invalid;
  }
}
