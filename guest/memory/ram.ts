/** Guest-physical memory is handed out in pages of this many bytes. */
export const PAGE_SIZE = 4096;

/** Pages that belong to whoever allocated them, contiguous in guest-physical memory. */
export interface RamRange {
  /** Guest-physical address. */
  readonly address: number;
  readonly sizeBytes: number;
  /** The range's bytes, and one long-lived view over them: little-endian accessors cost least on a DataView. */
  readonly bytes: Uint8Array;
  readonly view: DataView;
}

/** Page runs that are free, `start` and `count` in pages. */
interface FreeRun {
  start: number;
  count: number;
}

/**
 * The guest's page allocator: first fit over a sorted list of free runs. Rings live as long as their driver and request
 * buffers are pooled above it, so it is rarely asked and stays simple.
 */
export class GuestRam {
  readonly #ram: Uint8Array;
  readonly #free: FreeRun[];
  readonly #allocated = new Map<number, number>();

  constructor(ram: Uint8Array) {
    this.#ram = ram;
    // Page 0 stays unused: an address of 0 is what a forgotten register holds.
    this.#free = [{ start: 1, count: Math.max(0, Math.floor(ram.byteLength / PAGE_SIZE) - 1) }];
  }

  get sizeBytes(): number {
    return this.#ram.byteLength;
  }

  get freeBytes(): number {
    return this.#free.reduce((pages, run) => pages + run.count, 0) * PAGE_SIZE;
  }

  /** Zeroed pages with room for `sizeBytes`; undefined where no run is long enough. */
  allocate(sizeBytes: number): RamRange | undefined {
    const pages = Math.max(1, Math.ceil(sizeBytes / PAGE_SIZE));
    const index = this.#free.findIndex((run) => run.count >= pages);
    if (index < 0) return undefined;
    const run = this.#free[index];
    const start = run.start;
    run.start += pages;
    run.count -= pages;
    if (run.count === 0) this.#free.splice(index, 1);
    this.#allocated.set(start, pages);
    return this.#range(start, pages);
  }

  /** Gives pages back. Freeing what is not allocated is a bug of the caller's, and throws. */
  free(range: RamRange): void {
    const start = range.address / PAGE_SIZE;
    const count = this.#allocated.get(start);
    if (count === undefined) throw new RangeError(`no allocation at ${range.address.toString(16)}`);
    this.#allocated.delete(start);
    const found = this.#free.findIndex((run) => run.start > start);
    const index = found < 0 ? this.#free.length : found;
    this.#free.splice(index, 0, { start, count });
    this.#merge(index);
    if (index > 0) this.#merge(index - 1);
  }

  #range(startPage: number, pages: number): RamRange {
    const address = startPage * PAGE_SIZE;
    const sizeBytes = pages * PAGE_SIZE;
    const offset = this.#ram.byteOffset + address;
    const bytes = new Uint8Array(this.#ram.buffer, offset, sizeBytes).fill(0);
    return { address, sizeBytes, bytes, view: new DataView(this.#ram.buffer, offset, sizeBytes) };
  }

  /** Joins free run `index` with the next where they touch. */
  #merge(index: number): void {
    const run = this.#free[index];
    const next = this.#free[index + 1];
    if (next === undefined || run.start + run.count !== next.start) return;
    run.count += next.count;
    this.#free.splice(index + 1, 1);
  }
}
