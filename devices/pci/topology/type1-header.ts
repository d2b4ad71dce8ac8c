/** The type 1 header of a bridge (PCI Express Base 5.0, section 7.5.1.3): one table of registers, and what its windows say. */
import type { ConfigSpace } from '../config-space.js';
import { PciCommand, PciConfig, PciStatus } from '../defs.js';
import type { AccessWidth } from '../function.js';
import { PciBridgeConfig, PciBridgeControl, PciHeaderType, PciRangeType } from './defs.js';

/** What sets one bridge's header apart. */
export interface BridgeIdentity {
  readonly vendorId: number;
  readonly deviceId: number;
  /** True where other functions share the device number. */
  readonly multiFunction: boolean;
}

/** A field: where it is, what it holds at power-on, which bits the guest writes, and which it clears by writing 1. */
interface RegisterRow {
  readonly offset: number;
  readonly width: AccessWidth;
  readonly value?: number;
  readonly writable?: number;
  readonly writeOneToClear?: number;
}

const CLASS_PCI_BRIDGE = 0x060400;
const INTERRUPT_PIN_A = 1;
const MEMORY_WINDOW_WRITABLE = 0xfff0;
const IO_WINDOW_WRITABLE = 0xf0;
const TWO_POW_32 = 0x1_0000_0000;
const MEMORY_GRANULE_BYTES = 0x10_0000;
const IO_GRANULE_BYTES = 0x1000;

const COMMAND_WRITABLE =
  PciCommand.PCI_COMMAND_IO |
  PciCommand.PCI_COMMAND_MEMORY |
  PciCommand.PCI_COMMAND_MASTER |
  PciCommand.PCI_COMMAND_PARITY |
  PciCommand.PCI_COMMAND_SERR |
  PciCommand.PCI_COMMAND_INTX_DISABLE;

const BRIDGE_CONTROL_WRITABLE =
  PciBridgeControl.PCI_BRIDGE_CTL_PARITY |
  PciBridgeControl.PCI_BRIDGE_CTL_SERR |
  PciBridgeControl.PCI_BRIDGE_CTL_BUS_RESET;

/** Every bridge's registers. What is not listed reads 0 and keeps it: BARs, latency timers, ISA and VGA windows are not implemented. */
const TYPE1_REGISTERS: readonly RegisterRow[] = [
  { offset: PciConfig.PCI_COMMAND, width: 2, writable: COMMAND_WRITABLE },
  { offset: PciConfig.PCI_STATUS, width: 2, writeOneToClear: PciStatus.PCI_STATUS_ERROR_BITS },
  { offset: PciConfig.PCI_REVISION_ID, width: 4, value: CLASS_PCI_BRIDGE << 8 },
  { offset: PciConfig.PCI_CACHE_LINE_SIZE, width: 1, writable: 0xff },
  { offset: PciBridgeConfig.PCI_PRIMARY_BUS, width: 1, writable: 0xff },
  { offset: PciBridgeConfig.PCI_SECONDARY_BUS, width: 1, writable: 0xff },
  { offset: PciBridgeConfig.PCI_SUBORDINATE_BUS, width: 1, writable: 0xff },
  ...window(PciBridgeConfig.PCI_IO_BASE, 1, PciRangeType.PCI_IO_RANGE_TYPE_32, IO_WINDOW_WRITABLE),
  { offset: PciBridgeConfig.PCI_SEC_STATUS, width: 2, writeOneToClear: PciStatus.PCI_STATUS_ERROR_BITS },
  ...window(PciBridgeConfig.PCI_MEMORY_BASE, 2, 0, MEMORY_WINDOW_WRITABLE),
  ...window(
    PciBridgeConfig.PCI_PREF_MEMORY_BASE,
    2,
    PciRangeType.PCI_PREF_RANGE_TYPE_64,
    MEMORY_WINDOW_WRITABLE,
  ),
  ...window(PciBridgeConfig.PCI_PREF_BASE_UPPER32, 4, 0, 0xffff_ffff),
  ...window(PciBridgeConfig.PCI_IO_BASE_UPPER16, 2, 0, 0xffff),
  { offset: PciConfig.PCI_INTERRUPT_LINE, width: 1, writable: 0xff },
  { offset: PciConfig.PCI_INTERRUPT_PIN, width: 1, value: INTERRUPT_PIN_A },
  { offset: PciBridgeConfig.PCI_BRIDGE_CONTROL, width: 2, writable: BRIDGE_CONTROL_WRITABLE },
];

/** Base and limit lie side by side and are alike. */
function window(base: number, width: AccessWidth, value: number, writable: number): RegisterRow[] {
  return [base, base + width].map((offset) => ({ offset, width, value, writable }));
}

export function defineType1Header(space: ConfigSpace, identity: BridgeIdentity): void {
  space.define(PciConfig.PCI_VENDOR_ID, 2, identity.vendorId);
  space.define(PciConfig.PCI_DEVICE_ID, 2, identity.deviceId);
  const multiFunction = identity.multiFunction ? PciHeaderType.PCI_HEADER_TYPE_MFD : 0;
  space.define(PciConfig.PCI_HEADER_TYPE, 1, PciHeaderType.PCI_HEADER_TYPE_BRIDGE | multiFunction);
  for (const { offset, width, value = 0, writable = 0, writeOneToClear = 0 } of TYPE1_REGISTERS) {
    space.define(offset, width, value, writable, writeOneToClear);
  }
}

/** Addresses that a bridge forwards: `start` inclusive, `end` exclusive; none where `end` is not above `start`. */
export interface Range {
  readonly start: number;
  readonly end: number;
}

export function memoryWindow(space: ConfigSpace): Range {
  const start = megabytes(space, PciBridgeConfig.PCI_MEMORY_BASE);
  return { start, end: megabytes(space, PciBridgeConfig.PCI_MEMORY_LIMIT) + MEMORY_GRANULE_BYTES };
}

export function prefetchableWindow(space: ConfigSpace): Range {
  const low = megabytes(space, PciBridgeConfig.PCI_PREF_MEMORY_BASE);
  const high = megabytes(space, PciBridgeConfig.PCI_PREF_MEMORY_LIMIT);
  const start = space.get(PciBridgeConfig.PCI_PREF_BASE_UPPER32, 4) * TWO_POW_32 + low;
  const last = space.get(PciBridgeConfig.PCI_PREF_LIMIT_UPPER32, 4) * TWO_POW_32 + high;
  return { start, end: last + MEMORY_GRANULE_BYTES };
}

export function ioWindow(space: ConfigSpace): Range {
  const at = (low: number, upper: number) =>
    space.get(upper, 2) * 0x1_0000 + ((space.get(low, 1) & IO_WINDOW_WRITABLE) << 8);
  const start = at(PciBridgeConfig.PCI_IO_BASE, PciBridgeConfig.PCI_IO_BASE_UPPER16);
  const last = at(PciBridgeConfig.PCI_IO_LIMIT, PciBridgeConfig.PCI_IO_LIMIT_UPPER16);
  return { start, end: last + IO_GRANULE_BYTES };
}

function megabytes(space: ConfigSpace, offset: number): number {
  return (space.get(offset, 2) & MEMORY_WINDOW_WRITABLE) * 0x1_0000;
}
