import { Errno } from '../../errno.js';
import { IoVector, type IoSource } from '../../io-vector.js';
import { ArrayRegion } from './array-region.js';
import type { GuestMemory, MemoryRegion, RingWindow } from './guest-memory.js';

const TWO_POW_32 = 0x1_0000_0000;

/** No span lies across a multiple of this, in guest-physical memory: offsets in it are small integers to V8. */
const SPAN_BOUNDARY_BYTES = 0x8000_0000;

/** A part of a region that one array holds. A region has one of them, unless it is larger than an array can be, or lies across a boundary. */
interface Span extends IoSource {
  readonly region: MemoryRegion;
  readonly start: number;
  readonly end: number;
  /** `start` in two words of 32 bits, signed as an Int32Array reads them, and the size less 1. */
  readonly low: number;
  readonly high: number;
  readonly lastOffset: number;
  readonly readable: boolean;
  readonly writable: boolean;
}

const NOWHERE: Span = {
  region: new ArrayRegion(0, new Uint8Array(0)),
  start: 0,
  end: 0,
  low: 0,
  high: 0,
  lastOffset: 0,
  readable: false,
  writable: false,
  bytes: new Uint8Array(0),
  bytesOffset: 0,
  address: 0,
};

/**
 * Guest memory as a sorted list of regions. Translation finds a region by binary search, after trying the one that the last
 * translation hit, and allocates nothing.
 *
 * Addresses in words of 32 bits are compared as such, unless a range lies across spans. All else is arithmetic in Numbers. A sum past 2^53 may round, but never to or below the end of a region, because those are
 * exact: so an address that overflows is refused like any other that is not memory.
 */
export class RegionMemory implements GuestMemory {
  #generation = 0;
  /** In the order of their addresses; they never overlap. */
  readonly #spans: Span[] = [];
  #last: Span = NOWHERE;
  readonly #parts = new IoVector();

  get generation(): number {
    return this.#generation;
  }

  /**
   * Adds a region. Answers 0, -EEXIST where it overlaps a region that is there, -EINVAL where it is empty, its bounds are not
   * whole numbers within 2^53, or it has a byte that no array holds.
   */
  addRegion(region: MemoryRegion): number {
    const { guestAddress, sizeBytes } = region;
    if (!Number.isSafeInteger(guestAddress) || !Number.isSafeInteger(sizeBytes)) return -Errno.EINVAL;
    if (guestAddress < 0 || sizeBytes <= 0) return -Errno.EINVAL;
    const end = guestAddress + sizeBytes;
    if (end > Number.MAX_SAFE_INTEGER) return -Errno.EINVAL;
    const at = firstEndingAfter(this.#spans, guestAddress);
    if (at < this.#spans.length && this.#spans[at].start < end) return -Errno.EEXIST;
    const spans = spansOf(region);
    if (spans === undefined) return -Errno.EINVAL;
    this.#spans.splice(at, 0, ...spans);
    this.#changed();
    return 0;
  }

  /** Removes the region with exactly these bounds and answers it, or undefined where there is none. */
  removeRegion(guestAddress: number, sizeBytes: number): MemoryRegion | undefined {
    const at = firstEndingAfter(this.#spans, guestAddress);
    const region = this.#spans.at(at)?.region;
    if (region?.guestAddress !== guestAddress || region.sizeBytes !== sizeBytes) return undefined;
    let count = 1;
    while (this.#spans.at(at + count)?.region === region) count++;
    this.#spans.splice(at, count);
    this.#changed();
    return region;
  }

  /** Removes every region. */
  clear(): void {
    this.#spans.length = 0;
    this.#changed();
  }

  translate(guestAddress: number, lengthBytes: number, writable: boolean, into: IoVector): boolean {
    const { count, byteLength } = into;
    let at = guestAddress;
    let left = lengthBytes;
    while (left > 0) {
      const span = this.#find(at);
      if (span === undefined || !(writable ? span.writable : span.readable)) {
        into.count = count;
        into.byteLength = byteLength;
        return false;
      }
      const take = Math.min(left, span.end - at);
      into.pushPart(span, at - span.start, take);
      at += take;
      left -= take;
    }
    return true;
  }

  translateWords(
    words: Int32Array,
    at: number,
    lengthBytes: number,
    writable: boolean,
    into: IoVector,
  ): boolean {
    const low = words[at];
    const high = words[at + 1];
    // The range nearly always lies in the span of the one before. An address below the span wraps around to an offset far beyond its end,
    // and a length of 0 is the longest there is. Kept this small so that V8 inlines it.
    const span = this.#last;
    const offset = (low - span.low) >>> 0;
    if (
      high === span.high &&
      offset <= span.lastOffset &&
      (lengthBytes - 1) >>> 0 <= span.lastOffset - offset &&
      (writable ? span.writable : span.readable)
    ) {
      into.pushPart(span, offset, lengthBytes);
      return true;
    }
    return this.#translateElsewhere(low, high, lengthBytes, writable, into);
  }

  ringWindow(guestAddress: number, lengthBytes: number): RingWindow | undefined {
    const region = lengthBytes > 0 ? this.#find(guestAddress)?.region : undefined;
    if (region === undefined) return undefined;
    const offset = guestAddress - region.guestAddress;
    if (offset + lengthBytes > region.sizeBytes) return this.#windowAcross(guestAddress, lengthBytes);
    if (!region.readable || !region.writable) return undefined;
    const window = region.window(offset, lengthBytes);
    return window && { view: viewOf(window.bytes), offset: window.offset };
  }

  guestAddressOf(bytes: Uint8Array, offset: number, lengthBytes: number): number {
    for (const span of this.#spans) {
      const at = offset - span.bytesOffset;
      if (span.bytes === bytes && at >= 0 && at + lengthBytes <= span.end - span.start)
        return span.start + at;
    }
    return -1;
  }

  /** Regions side by side are often one mapping cut in pieces, and then a ring may lie across them. */
  #windowAcross(guestAddress: number, lengthBytes: number): RingWindow | undefined {
    const parts = this.#parts;
    parts.clear();
    if (!this.translate(guestAddress, lengthBytes, false, parts)) return undefined;
    const { count } = parts;
    const bytes = parts.bytes[0];
    for (let i = 1; i < count; i++) {
      const contiguous = parts.offsets[i] === parts.offsets[i - 1] + parts.lengths[i - 1];
      if (parts.bytes[i] !== bytes || !contiguous) return undefined;
    }
    if (!this.translate(guestAddress, lengthBytes, true, parts)) return undefined;
    return { view: viewOf(bytes), offset: parts.offsets[0] };
  }

  #find(guestAddress: number): Span | undefined {
    const at = firstEndingAfter(this.#spans, guestAddress);
    if (at === this.#spans.length || this.#spans[at].start > guestAddress) return undefined;
    return (this.#last = this.#spans[at]);
  }

  /** A range in another span than the last; or not in one span, or not in any. */
  #translateElsewhere(
    low: number,
    high: number,
    lengthBytes: number,
    writable: boolean,
    into: IoVector,
  ): boolean {
    const span = this.#search(low, high);
    const offset = (low - span.low) >>> 0;
    if ((lengthBytes - 1) >>> 0 <= span.lastOffset - offset && (writable ? span.writable : span.readable)) {
      this.#last = span;
      into.pushPart(span, offset, lengthBytes);
      return true;
    }
    return this.translate((high >>> 0) * TWO_POW_32 + (low >>> 0), lengthBytes, writable, into);
  }

  /** The span with the address, or `NOWHERE`. As `#find`, without numbers beyond 32 bits. */
  #search(low: number, high: number): Span {
    let from = 0;
    let to = this.#spans.length;
    while (from < to) {
      const middle = (from + to) >>> 1;
      const span = this.#spans[middle];
      const isHigher = high === span.high ? low >>> 0 > span.low >>> 0 : high >>> 0 > span.high >>> 0;
      if (high === span.high && (low - span.low) >>> 0 <= span.lastOffset) return span;
      if (isHigher) from = middle + 1;
      else to = middle;
    }
    return NOWHERE;
  }

  #changed(): void {
    this.#generation++;
    this.#last = NOWHERE;
  }
}

/** The place of the first span that ends above `guestAddress`: the one that holds it, if one does. */
function firstEndingAfter(spans: readonly Span[], guestAddress: number): number {
  let low = 0;
  let high = spans.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (spans[middle].end <= guestAddress) low = middle + 1;
    else high = middle;
  }
  return low;
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** Cuts a region where its arrays end and at boundaries; undefined where no array holds some of it. */
function spansOf(region: MemoryRegion): Span[] | undefined {
  const spans: Span[] = [];
  let offset = 0;
  while (offset < region.sizeBytes) {
    const lengthBytes = longestWindow(region, offset);
    const window = region.window(offset, lengthBytes);
    if (lengthBytes === 0 || window === undefined) return undefined;
    const start = region.guestAddress + offset;
    spans.push({
      region,
      start,
      end: start + lengthBytes,
      low: start | 0,
      high: Math.floor(start / TWO_POW_32) | 0,
      lastOffset: lengthBytes - 1,
      readable: region.readable,
      writable: region.writable,
      bytes: window.bytes,
      bytesOffset: window.offset,
      address: region.address === 0 ? 0 : region.address + offset,
    });
    offset += lengthBytes;
  }
  return spans;
}

/** The most bytes from `offset` on for a span: a window that exists also exists for anything shorter. */
function longestWindow(region: MemoryRegion, offset: number): number {
  const toBoundary = SPAN_BOUNDARY_BYTES - ((region.guestAddress + offset) % SPAN_BOUNDARY_BYTES);
  let fits = 0;
  let fails = Math.min(region.sizeBytes - offset, toBoundary) + 1;
  if (region.window(offset, fails - 1) !== undefined) return fails - 1;
  while (fails - fits > 1) {
    const middle = fits + Math.floor((fails - fits) / 2);
    if (region.window(offset, middle) === undefined) fails = middle;
    else fits = middle;
  }
  return fits;
}
