/** Memory BARs are placed in pages of their own, as they would be to be mapped into processes. */
const MEMORY_ALIGNMENT = 4096;

/** A placed BAR: sizes are powers of two, and addresses multiples of them. */
export interface MmioRange {
  readonly address: number;
  readonly sizeBytes: number;
}

/** Places BARs in one of the machine's windows, memory or I/O: first fit, naturally aligned, and the room comes back when a function leaves. */
export class MmioWindow {
  readonly #alignment: number;
  readonly #start: number;
  readonly #end: number;
  /** Sorted by address. */
  readonly #taken: MmioRange[] = [];

  /** `alignment` is the least that a BAR gets. */
  constructor(
    window: { readonly start: number; readonly sizeBytes: number },
    alignment: number = MEMORY_ALIGNMENT,
  ) {
    this.#alignment = alignment;
    this.#start = window.start;
    this.#end = window.start + window.sizeBytes;
  }

  /** Room for a BAR of `sizeBytes` (a power of two); undefined where the window has none. */
  allocate(sizeBytes: number): MmioRange | undefined {
    const size = Math.max(sizeBytes, this.#alignment);
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
