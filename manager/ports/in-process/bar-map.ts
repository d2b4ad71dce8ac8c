/** Which function's BAR answers at which address. */
import type { PciFunction } from '../../../devices/pci/function.js';

/** A BAR that decodes: `start` inclusive, `end` exclusive. */
export interface MappedBar<T> {
  readonly space: 'memory' | 'io';
  readonly start: number;
  readonly end: number;
  readonly bar: number;
  readonly owner: T;
}

/** Offsets and bits of the type 0 header (PCI Local Bus 3.0, section 6.2). */
const BASE_ADDRESS_0 = 0x10;
const BAR_MEMORY_FLAGS_MASK = 0xf;
const BAR_IO_FLAGS_MASK = 0x3;

/** Where a function's BARs are, by its own registers. */
export function readBars<T>(pci: PciFunction, owner: T): MappedBar<T>[] {
  return pci.bars.map(({ index, kind, sizeBytes }) => {
    const flags = kind === 'io' ? BAR_IO_FLAGS_MASK : BAR_MEMORY_FLAGS_MASK;
    const low = (pci.readConfig(BASE_ADDRESS_0 + 4 * index, 4) & ~flags) >>> 0;
    const high = kind === 'memory64' ? pci.readConfig(BASE_ADDRESS_0 + 4 * index + 4, 4) : 0;
    const start = high * 2 ** 32 + low;
    const space = kind === 'io' ? 'io' : 'memory';
    return { space, start, end: start + sizeBytes, bar: index, owner };
  });
}

/** A sorted table of BARs. Where the guest placed two over each other, the one that starts first answers. */
export class BarMap<T> {
  #bars: MappedBar<T>[] = [];
  #last: MappedBar<T> | undefined;

  replace(bars: readonly MappedBar<T>[]): void {
    this.#bars = [...bars].sort((a, b) => a.start - b.start);
    this.#last = undefined;
  }

  /** The BAR that holds all of `address … address + width`. */
  find(address: number, width: number): MappedBar<T> | undefined {
    const last = this.#last;
    if (last !== undefined && address >= last.start && address + width <= last.end) return last;
    let low = 0;
    let high = this.#bars.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#bars[middle].end <= address) low = middle + 1;
      else high = middle;
    }
    const bar = this.#bars.at(low);
    if (bar === undefined || address < bar.start || address + width > bar.end) return undefined;
    this.#last = bar;
    return bar;
  }
}
