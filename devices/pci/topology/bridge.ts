/**
 * A PCI-to-PCI bridge, which every port of a root complex or switch is: bus numbers, windows, bus mastering and the reset of what
 * is below, all as the guest writes them (PCI Express Base 5.0, section 7.5.1.3). What is below, subclasses know.
 */
import { CapabilityList } from '../capabilities.js';
import { ConfigSpace } from '../config-space.js';
import { PciCommand, PciConfig, PciStatus } from '../defs.js';
import type { AccessWidth } from '../function.js';
import { Bus, type AddressSpace, type BusFunction } from './bus.js';
import type { ClaimMap } from './claims.js';
import { PciBridgeConfig, PciBridgeControl } from './defs.js';
import { addExpressPort, type ExpressPortOptions } from './express-port.js';
import { MsiCapability } from './msi.js';
import {
  defineType1Header,
  ioWindow,
  memoryWindow,
  prefetchableWindow,
  type BridgeIdentity,
} from './type1-header.js';

export interface BridgeOptions {
  /** Device × 8 + function, on the bus that the bridge sits on. */
  readonly devfn: number;
  readonly identity: BridgeIdentity;
  readonly express: ExpressPortOptions;
}

export abstract class Bridge implements BusFunction {
  readonly devfn: number;
  readonly bridge: Bridge = this;
  /** The bus below. */
  readonly secondary = new Bus(this);
  /** The secondary and subordinate bus numbers as the guest wrote them. */
  secondaryBus = 0;
  subordinateBus = 0;
  protected readonly space = new ConfigSpace();
  /** Where the PCI Express capability is. */
  protected readonly express: number;
  readonly #msi: MsiCapability;
  #bus: Bus | undefined;
  #command = 0;
  #heldInReset = false;
  /** The port has something to say, by whatever kind of interrupt is enabled. */
  #interruptPending = false;
  #messageSent = false;

  protected constructor(options: BridgeOptions) {
    this.devfn = options.devfn;
    defineType1Header(this.space, options.identity);
    const list = new CapabilityList(this.space);
    this.#msi = new MsiCapability(this.space, list, () => this.#signal());
    this.express = addExpressPort(this.space, list, options.express);
    this.#hookHeader();
    this.space.seal();
  }

  /** True where config requests reach device 0 of the secondary bus only: a link, without ARI forwarding. */
  abstract get reachesDevice0Only(): boolean;
  /** Brings what is below up, as at power-on. */
  protected abstract startBelow(): void;
  /** Takes what is below out of reach. */
  protected abstract stopBelow(): void;
  /** What is below goes into reset (`held`) or comes out of it. */
  protected abstract resetBelow(held: boolean): void;

  readConfig(offset: number, width: AccessWidth): number {
    return this.space.read(offset, width);
  }

  writeConfig(offset: number, width: AccessWidth, value: number): void {
    this.space.write(offset, width, value);
  }

  claim(space: AddressSpace, claims: ClaimMap): void {
    if (space === 'io') {
      if (this.#allows(PciCommand.PCI_COMMAND_IO)) addWindow(claims, ioWindow(this.space), this);
    } else if (this.#allows(PciCommand.PCI_COMMAND_MEMORY)) {
      addWindow(claims, memoryWindow(this.space), this);
      addWindow(claims, prefetchableWindow(this.space), this);
    }
  }

  powerUp(bus: Bus): void {
    this.#bus = bus;
    this.secondary.fabric = bus.fabric;
    this.space.reset();
    this.#heldInReset = false;
    this.#messageSent = false;
    this.#readBusNumbers();
    this.#readCommand();
    this.startBelow();
  }

  powerDown(): void {
    this.stopBelow();
    this.setInterrupt(false);
    this.secondary.setMastering(false);
    this.secondary.fabric = undefined;
    this.#bus = undefined;
  }

  masteringChanged(): void {
    this.secondary.setMastering(this.#isMaster);
    this.#signal();
  }

  /** The port wants attention, or no longer does. A message goes out each time this becomes true. */
  protected setInterrupt(pending: boolean): void {
    if (pending === this.#interruptPending) return;
    this.#interruptPending = pending;
    this.#signal();
  }

  #hookHeader(): void {
    this.space.hook(PciConfig.PCI_COMMAND, { afterWrite: () => this.#readCommand() });
    this.space.hook(PciBridgeConfig.PCI_PRIMARY_BUS, { afterWrite: () => this.#readBusNumbers() });
    const memory = { afterWrite: () => this.#bus?.claimsChanged('memory') };
    for (const offset of MEMORY_WINDOW_REGISTERS) this.space.hook(offset, memory);
    const io = { afterWrite: () => this.#bus?.claimsChanged('io') };
    for (const offset of IO_WINDOW_REGISTERS) this.space.hook(offset, io);
    this.space.hook(PciConfig.PCI_INTERRUPT_LINE, { afterWrite: () => this.#readBridgeControl() });
  }

  #readBusNumbers(): void {
    this.secondaryBus = this.space.get(PciBridgeConfig.PCI_SECONDARY_BUS, 1);
    this.subordinateBus = this.space.get(PciBridgeConfig.PCI_SUBORDINATE_BUS, 1);
    this.#bus?.fabric?.routesChanged();
  }

  #readCommand(): void {
    this.#command = this.space.get(PciConfig.PCI_COMMAND, 2);
    this.#bus?.claimsChanged('memory');
    this.#bus?.claimsChanged('io');
    this.masteringChanged();
  }

  /** A secondary bus reset holds what is below in reset for as long as the bit is set. */
  #readBridgeControl(): void {
    const control = this.space.get(PciBridgeConfig.PCI_BRIDGE_CONTROL, 2);
    const held = (control & PciBridgeControl.PCI_BRIDGE_CTL_BUS_RESET) !== 0;
    if (held === this.#heldInReset) return;
    this.#heldInReset = held;
    this.resetBelow(held);
  }

  /** Requests from here and from below get through to memory. */
  get #isMaster(): boolean {
    return this.#bus?.mastering === true && this.#allows(PciCommand.PCI_COMMAND_MASTER);
  }

  #allows(commandBit: number): boolean {
    return (this.#command & commandBit) !== 0;
  }

  /**
   * Messages are sent as the condition becomes true, never while it stays so (section 6.7.3.4): the guest has to clear every event
   * before it hears of another. The pin is a level.
   */
  #signal(): void {
    const fabric = this.#bus?.fabric;
    const byMessage = this.#msi.enabled;
    const send = this.#interruptPending && byMessage && this.#isMaster;
    if (send && !this.#messageSent) fabric?.message(this.#msi.address, this.#msi.data);
    this.#messageSent = send;
    const pin = this.#interruptPending && !byMessage;
    const status = this.space.get(PciConfig.PCI_STATUS, 2) & ~PciStatus.PCI_STATUS_INTERRUPT;
    this.space.set(PciConfig.PCI_STATUS, 2, pin ? status | PciStatus.PCI_STATUS_INTERRUPT : status);
    fabric?.setIntx(this, pin && !this.#allows(PciCommand.PCI_COMMAND_INTX_DISABLE));
  }
}

/** One hook covers a 32-bit register: the I/O window shares its own with secondary status, bridge control with the interrupt line. */
const MEMORY_WINDOW_REGISTERS = [
  PciBridgeConfig.PCI_MEMORY_BASE,
  PciBridgeConfig.PCI_PREF_MEMORY_BASE,
  PciBridgeConfig.PCI_PREF_BASE_UPPER32,
  PciBridgeConfig.PCI_PREF_LIMIT_UPPER32,
] as const;
const IO_WINDOW_REGISTERS = [PciBridgeConfig.PCI_IO_BASE, PciBridgeConfig.PCI_IO_BASE_UPPER16] as const;

function addWindow(
  claims: ClaimMap,
  window: { readonly start: number; readonly end: number },
  bridge: Bridge,
): void {
  claims.add(window.start, window.end, 0, bridge);
}
