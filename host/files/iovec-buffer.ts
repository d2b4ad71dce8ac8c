/** struct iovec arrays of raw addresses: how file data moves to and from guest memory without a copy. */
import { NativeBuffer } from '../native-buffer.js';

/** The kernel's limit on iovecs in one call. */
export const IOV_MAX = 1024;

/** struct iovec in 32-bit words: base[2] length[2]. */
const IOVEC_WORDS = 4;

/**
 * A fixed array of iovecs, for calls to reuse. It does not keep the memory that the addresses name alive, and
 * must not be changed while an asynchronous call uses it.
 */
export class IovecBuffer {
  readonly capacity: number;
  /** The address of the first iovec. */
  readonly address: number;
  readonly #words: Uint32Array;

  /** @param capacity 1 to {@link IOV_MAX} */
  constructor(capacity: number) {
    if (!(capacity >= 1 && capacity <= IOV_MAX))
      throw new RangeError(`an iovec array has 1 to ${IOV_MAX} entries, not ${capacity}`);
    this.capacity = capacity;
    const memory = new NativeBuffer(capacity * IOVEC_WORDS * 4);
    this.#words = memory.u32;
    this.address = memory.address;
  }

  /** Sets entry `index` < capacity to `length` < 2^32 bytes at `address`. */
  set(index: number, address: number, length: number): void {
    const words = this.#words;
    const word = index * IOVEC_WORDS;
    words[word] = address;
    words[word + 1] = address / 4294967296;
    words[word + 2] = length;
  }
}
