/** One PCI function as the guest's drivers see it: identity, BARs where the tree placed them, capabilities. */
import type { GuestBus } from '../bus.js';
import { GuestError } from '../errors.js';
import { writeBar } from './bars.js';
import { PciCommand, PciRegister, PciStatus } from './registers.js';
import type { FunctionNode } from './tree.js';

/** Capabilities lie in 0x40–0xff, 4 bytes at least each: a list with more of them has a loop. */
const MAX_CAPABILITIES = 48;
const FIRST_CAPABILITY_OFFSET = 0x40;
const DECODING = PciCommand.MEMORY_SPACE | PciCommand.IO_SPACE;

/** A capability: its id, and where it starts in config space. */
export interface PciCapability {
  readonly id: number;
  readonly offset: number;
}

export class GuestPciFunction {
  /** Where it is in the hierarchy. */
  readonly node: FunctionNode;
  readonly vendorId: number;
  readonly deviceId: number;
  readonly classCode: number;
  readonly revision: number;
  readonly subsystemId: number;
  readonly #bus: GuestBus;

  constructor(bus: GuestBus, node: FunctionNode) {
    this.#bus = bus;
    this.node = node;
    this.vendorId = node.vendorId;
    this.deviceId = node.deviceId;
    this.classCode = node.classCode;
    this.revision = this.readConfig(PciRegister.REVISION_ID, 1);
    this.subsystemId = this.readConfig(PciRegister.SUBSYSTEM_ID, 2);
  }

  /** '0000:00:03.1' */
  get name(): string {
    return this.node.name;
  }

  readConfig(offset: number, width: 1 | 2 | 4): number {
    return this.node.config.read(offset, width);
  }

  writeConfig(offset: number, width: 1 | 2 | 4, value: number): void {
    this.node.config.write(offset, width, value);
  }

  /** Sets the command register's bits in `mask` to those in `bits`. */
  setCommand(mask: number, bits: number): void {
    this.node.config.setCommand(mask, bits);
  }

  /** Switches decoding and bus mastering on, with the BARs where they were placed: a reset of the function forgets that. */
  enable(): void {
    this.setCommand(DECODING | PciCommand.BUS_MASTER, 0);
    for (const bar of this.node.bars) writeBar(this.node.config, bar);
    const hasIo = this.node.bars.some(({ kind, address }) => kind === 'io' && address !== undefined);
    const io = hasIo ? PciCommand.IO_SPACE : 0;
    this.setCommand(0, PciCommand.MEMORY_SPACE | io | PciCommand.BUS_MASTER);
  }

  /** Switches the function off. */
  disable(): void {
    this.setCommand(DECODING | PciCommand.BUS_MASTER, 0);
  }

  /** Takes the function's hands off memory: it can neither read nor write it, nor send messages. */
  disableBusMaster(): void {
    this.setCommand(PciCommand.BUS_MASTER, 0);
  }

  /** Where bytes `offset … offset + lengthBytes` of a memory BAR are; undefined where the BAR has no such bytes. */
  locate(bar: number, offset: number, lengthBytes: number): number | undefined {
    const placed = this.node.bars.find(({ index, kind }) => index === bar && kind !== 'io');
    if (placed?.address === undefined || offset + lengthBytes > placed.sizeBytes) return undefined;
    return placed.address + offset;
  }

  /** The ports of an I/O BAR; undefined where it is none, or there is no room for it. */
  ports(bar: number): { readonly port: number; readonly sizeBytes: number } | undefined {
    const placed = this.node.bars.find(({ index, kind }) => index === bar && kind === 'io');
    if (placed?.address === undefined) return undefined;
    return { port: placed.address, sizeBytes: placed.sizeBytes };
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
}

/** A function that its driver cannot use: it is listed without a driver, and everything else goes on. */
export function unusable(fn: GuestPciFunction, detail: string): GuestError {
  return new GuestError('ENODEV', { syscall: 'probe', path: fn.name, detail });
}
