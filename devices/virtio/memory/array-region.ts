import type { MemoryRegion } from './guest-memory.js';

/** Guest memory in an array of this process: for an in-process guest, and for tests. */
export class ArrayRegion implements MemoryRegion {
  readonly guestAddress: number;
  readonly sizeBytes: number;
  readonly readable = true;
  readonly writable: boolean;
  readonly address: number;
  readonly #bytes: Uint8Array;

  /** `address` is where `bytes` lies in this process, for bytes that never move; 0 where that is not known. */
  constructor(
    guestAddress: number,
    bytes: Uint8Array,
    options: { writable?: boolean; address?: number } = {},
  ) {
    this.guestAddress = guestAddress;
    this.sizeBytes = bytes.length;
    this.writable = options.writable ?? true;
    this.address = options.address ?? 0;
    this.#bytes = bytes;
  }

  window(offset: number, lengthBytes: number): { bytes: Uint8Array; offset: number } | undefined {
    return offset >= 0 && offset + lengthBytes <= this.sizeBytes ? { bytes: this.#bytes, offset } : undefined;
  }
}
