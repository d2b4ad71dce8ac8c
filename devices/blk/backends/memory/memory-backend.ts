/** A disk in memory: for generated disks, throw-away data and tests. Its memory is taken as it is written, and given back. */
import { Errno } from '../../../errno.js';
import type { IoVector } from '../../../io-vector.js';
import { SECTOR_BYTES } from '../../protocol.js';
import { BlockBackend, type BlockLimits } from '../block-backend.js';
import { checkDiskSize } from '../errors.js';

/** Memory is taken and given back in pages of this many bytes. */
const PAGE_BYTES = 16 * 1024;
const MAX_RANGE_BYTES = 64 * 2 ** 20;

export interface MemoryBackendOptions {
  /** Size in bytes: whole sectors. */
  readonly sizeBytes: number;
  /** Most bytes that pages may take; writes beyond fail with ENOSPC. Default: no limit but the disk's size. */
  readonly maxBytes?: number;
  readonly readOnly?: boolean;
}

export class MemoryBackend extends BlockBackend {
  readonly limits: BlockLimits;
  readonly #maxPages: number;
  /** Pages that were written, by their number. What is not there reads as zeroes. */
  readonly #pages = new Map<number, Uint8Array>();
  #sizeBytes: number;

  /** @throws BlockBackendError SIZE_INVALID */
  constructor(options: MemoryBackendOptions) {
    super();
    checkDiskSize('the disk', options.sizeBytes);
    this.#sizeBytes = options.sizeBytes;
    this.#maxPages = Math.floor((options.maxBytes ?? Infinity) / PAGE_BYTES);
    const readOnly = options.readOnly ?? false;
    const ranges = { maxBytes: MAX_RANGE_BYTES, alignmentBytes: PAGE_BYTES };
    this.limits = {
      readOnly,
      logicalBlockBytes: SECTOR_BYTES,
      physicalBlockBytes: SECTOR_BYTES,
      alignmentOffsetBytes: 0,
      minimumIoBytes: 0,
      optimalIoBytes: 0,
      discard: readOnly ? undefined : ranges,
      writeZeroes: readOnly ? undefined : { ...ranges, mayUnmap: true },
      secureErase: readOnly ? undefined : { ...ranges, alignmentBytes: SECTOR_BYTES },
      hasLifetime: false,
    };
  }

  /** A disk of these bytes, filled up with zeroes to a whole sector. The bytes are copied. */
  static of(bytes: Uint8Array, options: { readonly readOnly?: boolean } = {}): MemoryBackend {
    const sizeBytes = Math.ceil(bytes.length / SECTOR_BYTES) * SECTOR_BYTES;
    const disk = new MemoryBackend({ ...options, sizeBytes });
    for (let at = 0; at < bytes.length; at += PAGE_BYTES) {
      const page = new Uint8Array(PAGE_BYTES);
      page.set(bytes.subarray(at, at + PAGE_BYTES));
      disk.#pages.set(at / PAGE_BYTES, page);
    }
    return disk;
  }

  get sizeBytes(): number {
    return this.#sizeBytes;
  }

  /** Bytes that its pages take now. */
  get allocatedBytes(): number {
    return this.#pages.size * PAGE_BYTES;
  }

  read(offsetBytes: number, into: IoVector): number {
    let at = offsetBytes;
    for (let i = 0; i < into.count; i++) {
      const target = into.bytes[i];
      let to = into.offsets[i];
      for (const end = to + into.lengths[i]; to < end;) {
        const inPage = at % PAGE_BYTES;
        const take = Math.min(PAGE_BYTES - inPage, end - to);
        const page = this.#pages.get(Math.floor(at / PAGE_BYTES));
        if (page === undefined) target.fill(0, to, to + take);
        else target.set(page.subarray(inPage, inPage + take), to);
        at += take;
        to += take;
      }
    }
    return 0;
  }

  write(offsetBytes: number, from: IoVector): number {
    if (this.limits.readOnly) return -Errno.EROFS;
    let at = offsetBytes;
    for (let i = 0; i < from.count; i++) {
      const source = from.bytes[i];
      let next = from.offsets[i];
      for (const end = next + from.lengths[i]; next < end;) {
        const inPage = at % PAGE_BYTES;
        const take = Math.min(PAGE_BYTES - inPage, end - next);
        const page = this.#pageFor(Math.floor(at / PAGE_BYTES));
        if (page === undefined) return -Errno.ENOSPC;
        page.set(source.subarray(next, next + take), inPage);
        at += take;
        next += take;
      }
    }
    return 0;
  }

  flush(): number {
    return 0;
  }

  writeZeroes(offsetBytes: number, lengthBytes: number, mayUnmap: boolean): number {
    if (this.limits.readOnly) return -Errno.EROFS;
    return this.#clear(offsetBytes, lengthBytes, mayUnmap);
  }

  override discard(offsetBytes: number, lengthBytes: number): number {
    if (this.limits.readOnly) return -Errno.EROFS;
    return this.#clear(offsetBytes, lengthBytes, true);
  }

  /** Memory that is overwritten is gone: pages are zeroed where they are before they are let go of. */
  override secureErase(offsetBytes: number, lengthBytes: number): number {
    if (this.limits.readOnly) return -Errno.EROFS;
    this.#eachPage(offsetBytes, lengthBytes, (number, from, to) =>
      this.#pages.get(number)?.fill(0, from, to),
    );
    return this.#clear(offsetBytes, lengthBytes, true);
  }

  override resize(sizeBytes: number): Promise<number> {
    if (this.limits.readOnly) return Promise.resolve(-Errno.EROFS);
    if (sizeBytes < this.#sizeBytes) this.#clear(sizeBytes, this.#sizeBytes - sizeBytes, true);
    this.#sizeBytes = sizeBytes;
    return Promise.resolve(0);
  }

  close(): Promise<void> {
    this.#pages.clear();
    return Promise.resolve();
  }

  #pageFor(number: number): Uint8Array | undefined {
    const page = this.#pages.get(number);
    if (page !== undefined) return page;
    if (this.#pages.size >= this.#maxPages) return undefined;
    try {
      const made = new Uint8Array(PAGE_BYTES);
      this.#pages.set(number, made);
      return made;
    } catch {
      // No memory is left for it.
      return undefined;
    }
  }

  /** Zeroes a range, and with `mayUnmap` gives back the pages that it covers. */
  #clear(offsetBytes: number, lengthBytes: number, mayUnmap: boolean): number {
    let result = 0;
    this.#eachPage(offsetBytes, lengthBytes, (number, from, to) => {
      if (mayUnmap && from === 0 && to === PAGE_BYTES) this.#pages.delete(number);
      else if (mayUnmap) this.#pages.get(number)?.fill(0, from, to);
      // Without unmapping, what is zeroed keeps (or takes) its space.
      else if (this.#pageFor(number)?.fill(0, from, to) === undefined) result = -Errno.ENOSPC;
    });
    return result;
  }

  #eachPage(
    offsetBytes: number,
    lengthBytes: number,
    visit: (number: number, from: number, to: number) => void,
  ): void {
    const end = offsetBytes + lengthBytes;
    for (let at = offsetBytes; at < end;) {
      const from = at % PAGE_BYTES;
      const to = Math.min(PAGE_BYTES, from + end - at);
      visit(Math.floor(at / PAGE_BYTES), from, to);
      at += to - from;
    }
  }
}
