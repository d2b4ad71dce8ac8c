/** All of a guest's PCI: the hierarchy, hot-plug, and the drivers that functions are offered to. */
import type { AddressWindow, GuestBus } from '../bus.js';
import { GuestRam } from '../memory/ram.js';
import type { AddressRange } from './bridges.js';
import type { DriverServices, PciDriver } from './driver.js';
import { PciTree, type HostWindows } from './enumeration.js';
import type { GuestPciFunction } from './function.js';
import { FunctionDrivers, type FoundFunction, type FunctionEvents } from './function-drivers.js';
import { InterruptController } from './interrupts.js';
import { PcieHotplug } from './pcie-hotplug.js';
import type { PciehpOptions } from './pciehp.js';

export interface GuestPciOptions {
  /** A function gets the first that takes it. */
  readonly drivers: readonly PciDriver[];
  readonly events?: FunctionEvents;
  /** By default the slots' driver waits for nobody: nothing blinks, and power is gone at once. */
  readonly hotplug?: PciehpOptions | undefined;
}

/** Nobody stands in front of the slots who could press the button a second time, and no capacitor runs empty. */
const WITHOUT_WAITING: PciehpOptions = { blinkMs: 0, powerOffMs: 0 };

export class GuestPci {
  readonly services: DriverServices;
  readonly #drivers: FunctionDrivers;
  readonly #hotplug: PcieHotplug;

  constructor(bus: GuestBus, { drivers, events, hotplug }: GuestPciOptions) {
    const interrupts = new InterruptController(bus, () => this.#drivers.disableAssertedIntx());
    this.services = { ram: new GuestRam(bus.ram), interrupts };
    this.#drivers = new FunctionDrivers(bus, this.services, drivers, events);
    const tree = new PciTree(bus, windowsOf(bus));
    this.#hotplug = new PcieHotplug(tree, interrupts, this.#drivers, { ...WITHOUT_WAITING, ...hotplug });
  }

  /** Resolves once everything that is there has been looked at. */
  start(): Promise<void> {
    return this.#hotplug.start();
  }

  /** Lets everything go, for a shutdown. */
  stop(): Promise<void> {
    return this.#hotplug.stop();
  }

  /** Every function that is no bridge, in no order. */
  functions(): IterableIterator<FoundFunction> {
    return this.#drivers.functions();
  }

  /** The function is no longer in use: its slot goes, if it was waited for. */
  released(fn: GuestPciFunction): void {
    this.#hotplug.released(fn.node);
  }

  /** True where the machine has asked for the function's slot back: it is not taken into use any more. */
  isLeaving(fn: GuestPciFunction): boolean {
    return this.#hotplug.isLeaving(fn.node);
  }

  /** Resolves once what ports have told of so far has been seen to. */
  idle(): Promise<void> {
    return this.#hotplug.idle();
  }
}

function windowsOf({ mmioWindow, prefetchableWindow, io }: GuestBus): HostWindows {
  return {
    memory: rangeOf(mmioWindow),
    ...(prefetchableWindow && { prefetchable: rangeOf(prefetchableWindow) }),
    ...(io && { io: rangeOf(io.window) }),
  };
}

function rangeOf({ start, sizeBytes }: AddressWindow): AddressRange {
  return { start, end: start + sizeBytes };
}
