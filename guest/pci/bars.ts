/** Base address registers: how much room each asks for, and where it was placed (PCI Express Base 5.0, section 7.5.1.2.1). */
import { HeaderLayout } from './express-registers.js';
import type { FunctionConfig } from './config.js';
import { PciBar, PciCommand, PciHeaderType, PciRegister } from './registers.js';

/** What is handed down through bridges: each has a window for each. */
export type ResourceKind = 'memory' | 'prefetchable' | 'io';

export interface Bar {
  /** 0–5. A 64-bit BAR takes the next register too. */
  readonly index: number;
  /** Only BARs that are prefetchable and have 64 bits may lie in prefetchable windows, which may be anywhere. */
  readonly kind: ResourceKind;
  readonly is64Bit: boolean;
  /** A power of two. */
  readonly sizeBytes: number;
  /** Where it was placed; undefined where there was no room. */
  readonly address: number | undefined;
}

const PREFETCHABLE = 1 << 3;
const ALL_ONES = 0xffff_ffff;
const REGISTERS_OF_LAYOUT: Readonly<Record<number, number>> = {
  [HeaderLayout.ENDPOINT]: 6,
  [HeaderLayout.BRIDGE]: 2,
};

/** Finds a function's BARs by writing all ones into them. It decodes nothing meanwhile, and afterwards not either. */
export function sizeBars(config: FunctionConfig): Bar[] {
  config.setCommand(PciCommand.IO_SPACE | PciCommand.MEMORY_SPACE, 0);
  const layout = config.read(PciRegister.HEADER_TYPE, 1) & PciHeaderType.LAYOUT_MASK;
  const registers = REGISTERS_OF_LAYOUT[layout] ?? 0;
  const bars: Bar[] = [];
  for (let index = 0; index < registers; index++) {
    const bar = sizeBar(config, index, index + 1 < registers);
    if (bar === undefined) continue;
    bars.push(bar);
    if (bar.is64Bit) index++;
  }
  return bars;
}

/** Tells the function where its BAR is; one that was not placed is left at 0, where nothing decodes it. */
export function writeBar(config: FunctionConfig, bar: Bar): void {
  const register = PciRegister.BASE_ADDRESS_0 + 4 * bar.index;
  const address = bar.address ?? 0;
  config.write(register, 4, address % 2 ** 32);
  if (bar.is64Bit) config.write(register + 4, 4, Math.floor(address / 2 ** 32));
}

function sizeBar(config: FunctionConfig, index: number, hasNext: boolean): Bar | undefined {
  const register = PciRegister.BASE_ADDRESS_0 + 4 * index;
  const low = writableBits(config, register);
  if (low === 0) return undefined;
  if ((low & PciBar.IO_SPACE) !== 0) {
    const sizeBytes = lowestBit(low & ~PciBar.IO_FLAGS_MASK);
    return sizeBytes === 0 ? undefined : { index, kind: 'io', is64Bit: false, sizeBytes, address: undefined };
  }
  const is64Bit = (low & PciBar.MEMORY_TYPE_MASK) === PciBar.MEMORY_TYPE_64 && hasNext;
  const high = is64Bit ? writableBits(config, register + 4) : 0;
  const sizeBytes = lowestBit(low & ~PciBar.MEMORY_FLAGS_MASK) || lowestBit(high) * 2 ** 32;
  if (sizeBytes === 0) return undefined;
  const kind = is64Bit && (low & PREFETCHABLE) !== 0 ? 'prefetchable' : 'memory';
  return { index, kind, is64Bit, sizeBytes, address: undefined };
}

/** The bits that a register has after all ones were written to it. It is left at 0. */
function writableBits(config: FunctionConfig, register: number): number {
  config.write(register, 4, ALL_ONES);
  const bits = config.read(register, 4);
  config.write(register, 4, 0);
  return bits;
}

function lowestBit(bits: number): number {
  return (bits & -bits) >>> 0;
}
