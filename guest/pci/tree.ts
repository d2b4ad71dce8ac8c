/** The hierarchy as the guest knows it: buses, the functions on them, and the buses behind those that are bridges. */
import { formatAddress, type PciAddress } from './address.js';
import type { Bar, ResourceKind } from './bars.js';
import { GuestBridge, type AddressRange } from './bridges.js';
import { FunctionConfig, type ConfigAccess } from './config.js';
import { PciRegister } from './registers.js';

export class BusNode {
  number: number;
  /** The highest number that a bus below may have. */
  lastNumber: number;
  /** The bridge that the bus is below; none for the root bus. */
  readonly bridge: FunctionNode | undefined;
  functions: readonly FunctionNode[] = [];
  /** What may be placed on the bus and below. */
  readonly windows: Partial<Record<ResourceKind, AddressRange>> = {};

  constructor(number: number, lastNumber: number, bridge?: FunctionNode) {
    this.number = number;
    this.lastNumber = lastNumber;
    this.bridge = bridge;
  }
}

/** A function that was found. Its address changes only while buses are numbered, before anybody hears of it. */
export class FunctionNode implements PciAddress {
  readonly parent: BusNode;
  readonly device: number;
  readonly fn: number;
  readonly config: FunctionConfig;
  readonly vendorId: number;
  readonly deviceId: number;
  /** 24 bits: class, subclass, interface. */
  readonly classCode: number;
  /** Set where the function is a bridge. */
  readonly bridge: GuestBridge | undefined;
  /** The bus behind the bridge; none where numbers ran out. */
  secondary: BusNode | undefined;
  bars: readonly Bar[] = [];

  constructor(access: ConfigAccess, parent: BusNode, device: number, fn: number) {
    this.parent = parent;
    this.device = device;
    this.fn = fn;
    this.config = new FunctionConfig(access, this);
    this.vendorId = this.config.read(PciRegister.VENDOR_ID, 2);
    this.deviceId = this.config.read(PciRegister.DEVICE_ID, 2);
    this.classCode = this.config.read(PciRegister.REVISION_ID, 4) >>> 8;
    this.bridge = GuestBridge.find(this.config);
  }

  get bus(): number {
    return this.parent.number;
  }

  /** '0000:00:03.1' */
  get name(): string {
    return formatAddress(this);
  }

  /** True where cards come and go below, which takes numbers and room to spare. */
  get grows(): boolean {
    if (this.secondary === undefined) return false;
    return this.bridge?.isHotPlug === true || this.secondary.functions.some((fn) => fn.grows);
  }
}

/** Every function on a bus and below, bridges before what is behind them. */
export function* functionsBelow(bus: BusNode): IterableIterator<FunctionNode> {
  for (const fn of bus.functions) {
    yield fn;
    if (fn.secondary !== undefined) yield* functionsBelow(fn.secondary);
  }
}
