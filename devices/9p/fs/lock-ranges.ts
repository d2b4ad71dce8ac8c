/** The ranges of one file that one owner has locked: what the kernel knows of a lock, and does not tell. */
import { LockType, type Lock } from './file-system.js';

/** Bytes from `start` up to `end`, which is Infinity for a lock to the end of the file, wherever that is. */
interface Range {
  readonly start: number;
  readonly end: number;
  readonly type: number;
}

/** Whoever locks a file byte by byte is not followed further. */
const MAX_RANGES = 4096;

export class LockRanges {
  /** By their start, none touching another of its type. Undefined once they were too many. */
  #ranges: Range[] | undefined = [];

  /** A lock of the owner was set, changed or, with P9_LOCK_TYPE_UNLCK, given up: the last word on its bytes. */
  note({ type, startBytes: start, lengthBytes }: Lock): void {
    if (this.#ranges === undefined) return;
    const end = lengthBytes === 0 ? Infinity : start + lengthBytes;
    const next = this.#ranges.flatMap((range) => without(range, start, end));
    if (type !== LockType.P9_LOCK_TYPE_UNLCK) next.push({ start, end, type });
    next.sort((a, b) => a.start - b.start);
    this.#ranges = next.length > MAX_RANGES ? undefined : joined(next);
  }

  /** As locks of `owner`, which say all that is held; undefined where they were too many at some time. */
  locks(owner: Pick<Lock, 'processId' | 'clientId'>): Lock[] | undefined {
    return this.#ranges?.map(({ start, end, type }) => {
      const lengthBytes = end === Infinity ? 0 : end - start;
      return { type, startBytes: start, lengthBytes, ...owner };
    });
  }
}

/** What is left of a range where another one takes the bytes from `start` up to `end`. */
function without(range: Range, start: number, end: number): Range[] {
  if (range.end <= start || range.start >= end) return [range];
  const left: Range[] = [];
  if (range.start < start) left.push({ ...range, end: start });
  if (range.end > end) left.push({ ...range, start: end });
  return left;
}

function joined(ranges: readonly Range[]): Range[] {
  const result: Range[] = [];
  for (const range of ranges) {
    const last = result.at(-1);
    if (last?.end === range.start && last.type === range.type)
      result[result.length - 1] = { ...last, end: range.end };
    else result.push(range);
  }
  return result;
}
