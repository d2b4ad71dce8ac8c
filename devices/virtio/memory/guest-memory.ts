import type { IoVector } from '../../io-vector.js';

/** A guest-physical range and the bytes behind it in this process. */
export interface MemoryRegion {
  /** First guest-physical address. Numbers are exact to 2^53, and x86 and arm64 stop at 2^52. */
  readonly guestAddress: number;
  readonly sizeBytes: number;
  readonly readable: boolean;
  readonly writable: boolean;
  /** Where the region starts in this process, for preadv/pwritev and rings; 0 where it has no native address. */
  readonly address: number;
  /**
   * The array that holds `offset … offset + lengthBytes` of the region, and where that starts in the array.
   * Undefined where no one array holds all of it. The same array is answered for the same place: callers may keep views.
   */
  window(offset: number, lengthBytes: number): { bytes: Uint8Array; offset: number } | undefined;
}

/** Bytes that a ring reads and writes directly: one DataView, made once. */
export interface RingWindow {
  readonly view: DataView;
  /** Where the asked-for range starts in `view`. */
  readonly offset: number;
}

/**
 * A guest's physical memory as a device sees it: many regions, added and removed while the guest runs.
 * Everything that a guest names by address is translated here, and only here.
 */
export interface GuestMemory {
  /** Grows by one whenever the regions change; who keeps a window compares it before use and asks anew. */
  readonly generation: number;
  /**
   * Appends the range to `into` as one segment per region crossed. False, with `into` as it was, where a byte of it is not
   * memory, or may not be written (`writable`) or read.
   */
  translate(guestAddress: number, lengthBytes: number, writable: boolean, into: IoVector): boolean;
  /**
   * The same for an address that a guest wrote, `le64`: the two words from `at` on, each of which is read once. This is what hot paths use:
   * it needs no number beyond 32 bits, and those are objects on the heap wherever they leave a function that V8 compiled.
   */
  translateWords(
    words: Int32Array,
    at: number,
    lengthBytes: number,
    writable: boolean,
    into: IoVector,
  ): boolean;
  /**
   * The guest-physical address of a segment that `translate` made: where a guest sees it. -1 where the memory has changed so that no region
   * holds all of it. Takes time in proportion to the regions: not for a hot path.
   */
  guestAddressOf(bytes: Uint8Array, offset: number, lengthBytes: number): number;
  /** A window on a range that must be contiguous in this process, both readable and writable; undefined where it is not. */
  ringWindow(guestAddress: number, lengthBytes: number): RingWindow | undefined;
}
