/** BARs are placed in pages of their own, as they would be to be mapped into processes. */
const MIN_ALIGNMENT = 4096;

/** A placed BAR: sizes are powers of two, and addresses multiples of them. */
export interface MmioRange {
  readonly address: number;
  readonly sizeBytes: number;
}

/** Places BARs in the machine's MMIO window: first fit, naturally aligned, and the room comes back when a function leaves. */
export class MmioWindow {
  readonly #start: number;
  readonly #end: number;
  /** Sorted by address. */
  readonly #taken: MmioRange[] = [];

  constructor(window: { readonly start: number; readonly sizeBytes: number }) {
    this.#start = window.start;
    this.#end = window.start + window.sizeBytes;
  }

  /** Room for a BAR of `sizeBytes` (a power of two); undefined where the window has none. */
  allocate(sizeBytes: number): MmioRange | undefined {
    const size = Math.max(sizeBytes, MIN_ALIGNMENT);
    const align = (address: number) => Math.ceil(address / size) * size;
    let address = align(this.#start);
    let index = 0;
    for (; index < this.#taken.length; index++) {
      const next = this.#taken[index];
      if (address + size <= next.address) break;
      address = Math.max(address, align(next.address + next.sizeBytes));
    }
    if (address + size > this.#end) return undefined;
    const range = { address, sizeBytes: size };
    this.#taken.splice(index, 0, range);
    return range;
  }

  /** Takes back a range of `allocate`. */
  free(range: MmioRange): void {
    const index = this.#taken.indexOf(range);
    if (index < 0) throw new RangeError(`no BAR at ${range.address.toString(16)}`);
    this.#taken.splice(index, 1);
  }
}
