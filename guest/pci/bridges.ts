/** A PCI-to-PCI bridge, as the operating system programs it: bus numbers, windows and ARI forwarding. */
import type { ResourceKind } from './bars.js';
import type { FunctionConfig } from './config.js';
import {
  ARI_FORWARDING,
  BridgeRegister,
  CapabilityId,
  ExpressRegister,
  HeaderLayout,
  PortType,
  SLOT_IMPLEMENTED,
  SlotCapability,
  WindowType,
} from './express-registers.js';
import { PciCommand, PciHeaderType, PciRegister } from './registers.js';

/** Addresses `start` inclusive to `end` exclusive. */
export interface AddressRange {
  readonly start: number;
  readonly end: number;
}

/** Windows start and end at multiples of this. */
export const WINDOW_GRANULE_BYTES: Readonly<Record<ResourceKind, number>> = {
  memory: 0x10_0000,
  prefetchable: 0x10_0000,
  io: 0x1000,
};

/** What a closed window says: a base above its limit. */
const CLOSED: AddressRange = { start: 0xfff0_0000, end: 0x10_0000 };
const CLOSED_IO: AddressRange = { start: 0xf000, end: 0x1000 };

export class GuestBridge {
  readonly #config: FunctionConfig;
  /** Where the PCI Express capability is; a bridge to conventional PCI may have none. */
  readonly express: number | undefined;
  /** True where the secondary bus is a link, which has one device. */
  readonly isAboveLink: boolean;
  /** True where cards come and go below the bridge while the machine runs. */
  readonly isHotPlug: boolean;
  readonly canForwardAri: boolean;
  readonly hasIoWindow: boolean;
  readonly hasPrefetchableWindow: boolean;

  private constructor(config: FunctionConfig) {
    this.#config = config;
    this.express = config.capability(CapabilityId.EXPRESS);
    const capabilities = this.#express(ExpressRegister.CAPABILITIES, 2);
    const type = (capabilities >>> 4) & 0xf;
    this.isAboveLink = type === PortType.ROOT_PORT || type === PortType.DOWNSTREAM;
    const hasSlot = (capabilities & SLOT_IMPLEMENTED) !== 0;
    const slot = hasSlot ? this.#express(ExpressRegister.SLOT_CAPABILITIES, 4) : 0;
    this.isHotPlug = (slot & SlotCapability.HOT_PLUG) !== 0;
    this.canForwardAri = (this.#express(ExpressRegister.DEVICE_CAPABILITIES_2, 4) & ARI_FORWARDING) !== 0;
    // A window that does not exist reads 0, whatever is written.
    config.write(BridgeRegister.IO_BASE, 1, CLOSED_IO.start >> 8);
    this.hasIoWindow = config.read(BridgeRegister.IO_BASE, 1) !== 0;
    const prefetchable = config.read(BridgeRegister.PREFETCHABLE_BASE, 2) & WindowType.MASK;
    this.hasPrefetchableWindow = prefetchable === WindowType.PREFETCHABLE_64_BIT;
  }

  /** The function as a bridge; undefined where it is none. */
  static find(config: FunctionConfig): GuestBridge | undefined {
    const layout = config.read(PciRegister.HEADER_TYPE, 1) & PciHeaderType.LAYOUT_MASK;
    return layout === HeaderLayout.BRIDGE ? new GuestBridge(config) : undefined;
  }

  /** Has the bridge reach functions above 7, by taking the device number for a part of the function's. */
  setAriForwarding(enabled: boolean): void {
    if (this.express === undefined || !this.canForwardAri) return;
    const register = this.express + ExpressRegister.DEVICE_CONTROL_2;
    const others = this.#config.read(register, 2) & ~ARI_FORWARDING;
    this.#config.write(register, 2, enabled ? others | ARI_FORWARDING : others);
  }

  /** Zeros close the bridge to config requests. */
  setBusNumbers(primary: number, secondary: number, subordinate: number): void {
    this.#config.write(BridgeRegister.PRIMARY_BUS, 1, primary);
    this.#config.write(BridgeRegister.SECONDARY_BUS, 1, secondary);
    this.#config.write(BridgeRegister.SUBORDINATE_BUS, 1, subordinate);
  }

  /** Opens a window over `range`, whose ends are multiples of the granule; closes it where there is none. */
  setWindow(kind: ResourceKind, range: AddressRange | undefined): void {
    if (kind === 'io') this.#setIoWindow(range ?? CLOSED_IO);
    else if (kind === 'memory') this.#setMemoryWindow(range ?? CLOSED);
    else this.#setPrefetchableWindow(range ?? CLOSED);
  }

  /** Lets requests through, both ways. */
  forward(): void {
    const io = this.hasIoWindow ? PciCommand.IO_SPACE : 0;
    this.#config.setCommand(0, io | PciCommand.MEMORY_SPACE | PciCommand.BUS_MASTER);
  }

  /** A register of the PCI Express capability; 0 where there is none. */
  #express(offset: number, width: 2 | 4): number {
    return this.express === undefined ? 0 : this.#config.read(this.express + offset, width);
  }

  #setIoWindow({ start, end }: AddressRange): void {
    if (!this.hasIoWindow) return;
    const last = end - 1;
    this.#config.write(BridgeRegister.IO_BASE, 1, (start >>> 8) & 0xf0);
    this.#config.write(BridgeRegister.IO_LIMIT, 1, (last >>> 8) & 0xf0);
    this.#config.write(BridgeRegister.IO_BASE_UPPER, 2, start >>> 16);
    this.#config.write(BridgeRegister.IO_LIMIT_UPPER, 2, last >>> 16);
  }

  #setMemoryWindow({ start, end }: AddressRange): void {
    this.#config.write(BridgeRegister.MEMORY_BASE, 2, (start >>> 16) & 0xfff0);
    this.#config.write(BridgeRegister.MEMORY_LIMIT, 2, ((end - 1) >>> 16) & 0xfff0);
  }

  #setPrefetchableWindow({ start, end }: AddressRange): void {
    if (!this.hasPrefetchableWindow) return;
    const last = end - 1;
    this.#config.write(BridgeRegister.PREFETCHABLE_BASE, 2, (start >>> 16) & 0xfff0);
    this.#config.write(BridgeRegister.PREFETCHABLE_LIMIT, 2, (last >>> 16) & 0xfff0);
    this.#config.write(BridgeRegister.PREFETCHABLE_BASE_UPPER, 4, Math.floor(start / 2 ** 32));
    this.#config.write(BridgeRegister.PREFETCHABLE_LIMIT_UPPER, 4, Math.floor(last / 2 ** 32));
  }
}
