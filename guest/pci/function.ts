/** One PCI function as the guest's drivers see it: identity, BARs, capabilities. */
import type { GuestBus } from '../bus.js';
import { GuestError } from '../errors.js';
import { formatAddress, type PciAddress } from './address.js';
import type { MmioRange, MmioWindow } from './mmio-window.js';
import { PciBar, PciCommand, PciHeaderType, PciRegister, PciStatus } from './registers.js';

const BAR_COUNT = 6;
/** Capabilities lie in 0x40–0xff, 4 bytes at least each: a list with more of them has a loop. */
const MAX_CAPABILITIES = 48;
const FIRST_CAPABILITY_OFFSET = 0x40;

/** A memory BAR of a function, and where it was placed. */
interface PlacedBar {
  readonly index: number;
  readonly sizeBytes: number;
  readonly range: MmioRange;
}

/** A capability: its id, and where it starts in config space. */
export interface PciCapability {
  readonly id: number;
  readonly offset: number;
}

export class GuestPciFunction {
  readonly address: PciAddress;
  readonly vendorId: number;
  readonly deviceId: number;
  readonly classCode: number;
  readonly revision: number;
  readonly subsystemId: number;
  readonly #bus: GuestBus;
  readonly #window: MmioWindow;
  readonly #bars = new Map<number, PlacedBar>();

  constructor(bus: GuestBus, window: MmioWindow, address: PciAddress) {
    this.#bus = bus;
    this.#window = window;
    this.address = address;
    this.vendorId = this.readConfig(PciRegister.VENDOR_ID, 2);
    this.deviceId = this.readConfig(PciRegister.DEVICE_ID, 2);
    this.revision = this.readConfig(PciRegister.REVISION_ID, 1);
    this.classCode = this.readConfig(PciRegister.REVISION_ID, 4) >>> 8;
    this.subsystemId = this.readConfig(PciRegister.SUBSYSTEM_ID, 2);
  }

  /** '0000:00:03.1' */
  get name(): string {
    return formatAddress(this.address);
  }

  readConfig(offset: number, width: 1 | 2 | 4): number {
    const { bus, device, fn } = this.address;
    return this.#bus.readConfig(bus, device, fn, offset, width);
  }

  writeConfig(offset: number, width: 1 | 2 | 4, value: number): void {
    const { bus, device, fn } = this.address;
    this.#bus.writeConfig(bus, device, fn, offset, width, value);
  }

  /** Sets the command register's bits in `mask` to those in `bits`. */
  setCommand(mask: number, bits: number): void {
    const command = this.readConfig(PciRegister.COMMAND, 2);
    this.writeConfig(PciRegister.COMMAND, 2, (command & ~mask) | bits);
  }

  /** Sizes and places every memory BAR, and switches memory decoding and bus mastering on. I/O BARs stay unused. */
  enable(): void {
    this.setCommand(PciCommand.MEMORY_SPACE | PciCommand.BUS_MASTER, 0);
    for (let index = 0; index < this.#barCount(); index++) {
      if (this.#placeBar(index)) index++;
    }
    this.setCommand(0, PciCommand.MEMORY_SPACE | PciCommand.BUS_MASTER);
  }

  /** Switches the function off and gives its BARs' room back. */
  disable(): void {
    this.setCommand(PciCommand.MEMORY_SPACE | PciCommand.BUS_MASTER, 0);
    this.release();
  }

  /** Gives the BARs' room back without touching the function: it is gone, and another may sit at its address. */
  release(): void {
    for (const bar of this.#bars.values()) this.#window.free(bar.range);
    this.#bars.clear();
  }

  /** Takes the function's hands off memory: it can neither read nor write it, nor send messages. */
  disableBusMaster(): void {
    this.setCommand(PciCommand.BUS_MASTER, 0);
  }

  /** Where bytes `offset … offset + lengthBytes` of a memory BAR are; undefined where the BAR has no such bytes. */
  locate(bar: number, offset: number, lengthBytes: number): number | undefined {
    const placed = this.#bars.get(bar);
    if (placed === undefined || offset + lengthBytes > placed.sizeBytes) return undefined;
    return placed.range.address + offset;
  }

  /**
   * True where the function that this object was made for is still there, as it was left: another of the same kind that took
   * its place has none of the addresses that were assigned to this one.
   */
  isSame(): boolean {
    if (this.readConfig(PciRegister.VENDOR_ID, 2) !== this.vendorId) return false;
    if (this.readConfig(PciRegister.DEVICE_ID, 2) !== this.deviceId) return false;
    if (this.readConfig(PciRegister.SUBSYSTEM_ID, 2) !== this.subsystemId) return false;
    for (const bar of this.#bars.values()) {
      const low = this.readConfig(PciRegister.BASE_ADDRESS_0 + 4 * bar.index, 4);
      if ((low & ~PciBar.MEMORY_FLAGS_MASK) >>> 0 !== bar.range.address % 2 ** 32) return false;
    }
    return true;
  }

  /** The capability list, cut short where it loops or leaves the space that capabilities live in. */
  capabilities(): PciCapability[] {
    const found: PciCapability[] = [];
    if ((this.readConfig(PciRegister.STATUS, 2) & PciStatus.CAPABILITIES_LIST) === 0) return found;
    let offset = this.readConfig(PciRegister.CAPABILITIES_POINTER, 1) & 0xfc;
    while (offset >= FIRST_CAPABILITY_OFFSET && found.length < MAX_CAPABILITIES) {
      if (found.some((capability) => capability.offset === offset)) break;
      found.push({ id: this.readConfig(offset, 1), offset });
      offset = this.readConfig(offset + 1, 1) & 0xfc;
    }
    return found;
  }

  readMemory(address: number, width: 1 | 2 | 4): number {
    return this.#bus.readMemory(address, width);
  }

  writeMemory(address: number, width: 1 | 2 | 4, value: number): void {
    this.#bus.writeMemory(address, width, value);
  }

  #barCount(): number {
    const layout = this.readConfig(PciRegister.HEADER_TYPE, 1) & PciHeaderType.LAYOUT_MASK;
    return layout === 0 ? BAR_COUNT : 0;
  }

  /** Places BAR `index` if it is a memory BAR; true where it took the next register as its upper half. */
  #placeBar(index: number): boolean {
    const register = PciRegister.BASE_ADDRESS_0 + 4 * index;
    this.writeConfig(register, 4, 0xffff_ffff);
    const low = this.readConfig(register, 4);
    if (low === 0 || (low & PciBar.IO_SPACE) !== 0) return false;
    const is64Bit = (low & PciBar.MEMORY_TYPE_MASK) === PciBar.MEMORY_TYPE_64 && index + 1 < BAR_COUNT;
    let high = 0xffff_ffff;
    if (is64Bit) {
      this.writeConfig(register + 4, 4, 0xffff_ffff);
      high = this.readConfig(register + 4, 4);
    }
    const sizeBytes = barSize((low & ~PciBar.MEMORY_FLAGS_MASK) >>> 0, high);
    const range = sizeBytes === 0 ? undefined : this.#window.allocate(sizeBytes);
    const address = range?.address ?? 0;
    this.writeConfig(register, 4, address % 2 ** 32);
    if (is64Bit) this.writeConfig(register + 4, 4, Math.floor(address / 2 ** 32));
    if (range !== undefined) this.#bars.set(index, { index, sizeBytes, range });
    return is64Bit;
  }
}

/** The size that a BAR's writable bits stand for: its lowest address bit that can be set; 0 where none can. */
function barSize(low: number, high: number): number {
  if (low !== 0) return (low & -low) >>> 0;
  return high === 0 ? 0 : ((high & -high) >>> 0) * 2 ** 32;
}

/** A function that its driver cannot use: it is listed without a driver, and everything else goes on. */
export function unusable(fn: GuestPciFunction, detail: string): GuestError {
  return new GuestError('ENODEV', { syscall: 'probe', path: fn.name, detail });
}
