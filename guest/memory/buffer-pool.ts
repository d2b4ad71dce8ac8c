import { PAGE_SIZE, type GuestRam, type RamRange } from './ram.js';

/** Index of the size class with room for `sizeBytes`: class n holds buffers of 2^n pages. */
function sizeClass(sizeBytes: number): number {
  const pages = Math.max(1, Math.ceil(sizeBytes / PAGE_SIZE));
  return Math.ceil(Math.log2(pages));
}

/**
 * Request buffers, in powers of two of a page, kept for the next request when they come back. A driver owns one pool, and
 * frees all of it when it lets its device go.
 */
export class BufferPool {
  readonly #ram: GuestRam;
  readonly #idle: RamRange[][] = [];
  #closed = false;

  constructor(ram: GuestRam) {
    this.#ram = ram;
  }

  /** A buffer of at least `sizeBytes` with old contents; undefined where RAM is short even after idle buffers are freed. */
  take(sizeBytes: number): RamRange | undefined {
    const index = sizeClass(sizeBytes);
    const idle = this.#idle[index]?.pop();
    if (idle !== undefined) return idle;
    const bytes = PAGE_SIZE * 2 ** index;
    return this.#ram.allocate(bytes) ?? (this.#trim() ? this.#ram.allocate(bytes) : undefined);
  }

  /** Takes a buffer of `take` back. The device must be done with it. */
  give(buffer: RamRange): void {
    if (this.#closed) {
      this.#ram.free(buffer);
      return;
    }
    const index = sizeClass(buffer.sizeBytes);
    (this.#idle[index] ??= []).push(buffer);
  }

  /** Frees all buffers that nobody holds; true where there were any. */
  #trim(): boolean {
    let freed = false;
    for (const buffers of this.#idle) {
      for (const buffer of buffers ?? []) this.#ram.free(buffer);
      freed ||= (buffers?.length ?? 0) > 0;
      if (buffers !== undefined) buffers.length = 0;
    }
    return freed;
  }

  /** Gives RAM back what is idle now, and every held buffer as it comes back. */
  close(): void {
    this.#closed = true;
    this.#trim();
  }
}
