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
const DECODING = PciCommand.MEMORY_SPACE | PciCommand.IO_SPACE;

/** A BAR of a function, and where it was placed. */
interface PlacedBar {
  readonly index: number;
  readonly isIo: boolean;
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
  readonly #ioWindow: MmioWindow | undefined;
  readonly #bars = new Map<number, PlacedBar>();

  /** Without an `ioWindow`, I/O BARs stay unused. */
  constructor(bus: GuestBus, window: MmioWindow, address: PciAddress, ioWindow?: MmioWindow) {
    this.#bus = bus;
    this.#window = window;
    this.#ioWindow = ioWindow;
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

  /** Sizes and places every BAR that there is room for, and switches decoding and bus mastering on. */
  enable(): void {
    this.setCommand(DECODING | PciCommand.BUS_MASTER, 0);
    for (let index = 0; index < this.#barCount(); index++) {
      if (this.#placeBar(index)) index++;
    }
    const hasIo = [...this.#bars.values()].some(({ isIo }) => isIo);
    const io = hasIo ? PciCommand.IO_SPACE : 0;
    this.setCommand(0, PciCommand.MEMORY_SPACE | io | PciCommand.BUS_MASTER);
  }

  /** Switches the function off and gives its BARs' room back. */
  disable(): void {
    this.setCommand(DECODING | PciCommand.BUS_MASTER, 0);
    this.release();
  }

  /** Gives the BARs' room back without touching the function: it is gone, and another may sit at its address. */
  release(): void {
    for (const { isIo, range } of this.#bars.values()) this.#windowOf(isIo)?.free(range);
    this.#bars.clear();
  }

  /** Takes the function's hands off memory: it can neither read nor write it, nor send messages. */
  disableBusMaster(): void {
    this.setCommand(PciCommand.BUS_MASTER, 0);
  }

  /** Where bytes `offset … offset + lengthBytes` of a memory BAR are; undefined where the BAR has no such bytes. */
  locate(bar: number, offset: number, lengthBytes: number): number | undefined {
    const placed = this.#bars.get(bar);
    if (placed === undefined || placed.isIo || offset + lengthBytes > placed.sizeBytes) return undefined;
    return placed.range.address + offset;
  }

  /** The ports of an I/O BAR; undefined where it is none, or there is no room for it. */
  ports(bar: number): { readonly port: number; readonly sizeBytes: number } | undefined {
    const placed = this.#bars.get(bar);
    if (placed?.isIo !== true) return undefined;
    return { port: placed.range.address, sizeBytes: placed.sizeBytes };
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
      const flags = bar.isIo ? PciBar.IO_FLAGS_MASK : PciBar.MEMORY_FLAGS_MASK;
      if ((low & ~flags) >>> 0 !== bar.range.address % 2 ** 32) return false;
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

  readPort(port: number, width: 1 | 2 | 4): number {
    return this.#bus.io?.read(port, width) ?? 2 ** (8 * width) - 1;
  }

  writePort(port: number, width: 1 | 2 | 4, value: number): void {
    this.#bus.io?.write(port, width, value);
  }

  #barCount(): number {
    const layout = this.readConfig(PciRegister.HEADER_TYPE, 1) & PciHeaderType.LAYOUT_MASK;
    return layout === 0 ? BAR_COUNT : 0;
  }

  /** Places BAR `index`; true where it took the next register as its upper half. */
  #placeBar(index: number): boolean {
    const register = PciRegister.BASE_ADDRESS_0 + 4 * index;
    this.writeConfig(register, 4, 0xffff_ffff);
    const low = this.readConfig(register, 4);
    if (low === 0) return false;
    if ((low & PciBar.IO_SPACE) !== 0) {
      // The upper half may be hard-wired to 0: there are 64 KiB of ports.
      this.#assign(index, true, barSize((low & ~PciBar.IO_FLAGS_MASK & 0xffff) >>> 0, 0));
      return false;
    }
    const is64Bit = (low & PciBar.MEMORY_TYPE_MASK) === PciBar.MEMORY_TYPE_64 && index + 1 < BAR_COUNT;
    let high = 0xffff_ffff;
    if (is64Bit) {
      this.writeConfig(register + 4, 4, 0xffff_ffff);
      high = this.readConfig(register + 4, 4);
    }
    const address = this.#assign(index, false, barSize((low & ~PciBar.MEMORY_FLAGS_MASK) >>> 0, high));
    if (is64Bit) this.writeConfig(register + 4, 4, Math.floor(address / 2 ** 32));
    return is64Bit;
  }

  /** Finds room for a BAR and writes its register's lower half; answers the address, 0 where there is no room. */
  #assign(index: number, isIo: boolean, sizeBytes: number): number {
    const range = sizeBytes === 0 ? undefined : this.#windowOf(isIo)?.allocate(sizeBytes);
    const address = range?.address ?? 0;
    this.writeConfig(PciRegister.BASE_ADDRESS_0 + 4 * index, 4, address % 2 ** 32);
    if (range !== undefined) this.#bars.set(index, { index, isIo, sizeBytes, range });
    return address;
  }

  #windowOf(isIo: boolean): MmioWindow | undefined {
    return isIo ? this.#ioWindow : this.#window;
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
