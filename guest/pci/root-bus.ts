/** Bus 0: which functions there are, and which driver has which. */
import type { GuestBus } from '../bus.js';
import { GuestError } from '../errors.js';
import type { DriverServices, PciBinding, PciDriver } from './driver.js';
import { GuestPciFunction } from './function.js';
import { MmioWindow } from './mmio-window.js';
import {
  DEVICES_PER_BUS,
  FUNCTIONS_PER_DEVICE,
  PciCommand,
  PciHeaderType,
  PciRegister,
  PciStatus,
  VENDOR_ID_ABSENT,
} from './registers.js';

export const ROOT_BUS = 0;
/** The smallest I/O BAR. */
const IO_BAR_ALIGNMENT = 4;

/** A function that was found, with the driver that took it. */
export interface FoundFunction {
  readonly fn: GuestPciFunction;
  readonly driver: PciDriver | undefined;
  readonly binding: PciBinding | undefined;
  /** Why the driver that matches could not use the function. */
  readonly error: GuestError | undefined;
}

export interface RootBusEvents {
  added(found: FoundFunction): void;
  removed(found: FoundFunction): void;
}

export class RootBus {
  readonly #bus: GuestBus;
  readonly #window: MmioWindow;
  readonly #ioWindow: MmioWindow | undefined;
  readonly #drivers: readonly PciDriver[];
  readonly #events: RootBusEvents;
  readonly #found: FoundFunction[] = [];

  constructor(bus: GuestBus, drivers: readonly PciDriver[], events: RootBusEvents) {
    this.#bus = bus;
    this.#window = new MmioWindow(bus.mmioWindow);
    this.#ioWindow = bus.io && new MmioWindow(bus.io.window, IO_BAR_ALIGNMENT);
    this.#drivers = drivers;
    this.#events = events;
  }

  /** Every function known, in order of address. */
  functions(): readonly FoundFunction[] {
    return this.#found;
  }

  inSlot(device: number): FoundFunction[] {
    return this.#found.filter(({ fn }) => fn.address.device === device);
  }

  /** Looks at every device number. */
  async scan(services: DriverServices): Promise<void> {
    for (let device = 0; device < DEVICES_PER_BUS; device++) await this.rescan(device, services);
  }

  /** Compares a device number's functions with what is known: removed ones are torn down, new ones probed. */
  async rescan(device: number, services: DriverServices): Promise<void> {
    const present = this.#presentFunctions(device);
    for (const found of this.inSlot(device)) {
      if (!present.includes(found.fn.address.fn) || !found.fn.isSame()) await this.#remove(found, true);
    }
    const known = this.inSlot(device).map(({ fn }) => fn.address.fn);
    for (const fn of present) {
      if (!known.includes(fn)) await this.#add(device, fn, services);
    }
  }

  /** Lets all functions of a device number go. They stay where they are, switched off. */
  async releaseSlot(device: number): Promise<void> {
    for (const found of this.inSlot(device)) await this.#remove(found, false);
  }

  /** Silences the pins of functions that assert theirs, after nobody claimed their interrupts. */
  disableAssertedIntx(): void {
    for (const { fn } of this.#found) {
      if ((fn.readConfig(PciRegister.STATUS, 2) & PciStatus.INTERRUPT) !== 0) {
        fn.setCommand(0, PciCommand.INTX_DISABLE);
      }
    }
  }

  /** Function numbers that answer. Without function 0 there is none, and others are looked for only if it says so. */
  #presentFunctions(device: number): number[] {
    if (!this.#answers(device, 0)) return [];
    const header = this.#bus.readConfig(ROOT_BUS, device, 0, PciRegister.HEADER_TYPE, 1);
    const present = [0];
    if ((header & PciHeaderType.MULTI_FUNCTION) === 0) return present;
    for (let fn = 1; fn < FUNCTIONS_PER_DEVICE; fn++) {
      if (this.#answers(device, fn)) present.push(fn);
    }
    return present;
  }

  #answers(device: number, fn: number): boolean {
    return this.#bus.readConfig(ROOT_BUS, device, fn, PciRegister.VENDOR_ID, 2) !== VENDOR_ID_ABSENT;
  }

  async #add(device: number, fnNumber: number, services: DriverServices): Promise<void> {
    const address = { bus: ROOT_BUS, device, fn: fnNumber };
    const fn = new GuestPciFunction(this.#bus, this.#window, address, this.#ioWindow);
    const driver = this.#drivers.find((candidate) => candidate.matches(fn));
    let binding: PciBinding | undefined;
    let error: GuestError | undefined;
    if (driver !== undefined) {
      fn.enable();
      try {
        binding = await driver.probe(fn, services);
      } catch (failure) {
        if (!(failure instanceof GuestError)) throw failure;
        error = failure;
        fn.disable();
      }
    }
    const found = { fn, driver: binding === undefined ? undefined : driver, binding, error };
    this.#insert(found);
    this.#events.added(found);
  }

  #insert(found: FoundFunction): void {
    const order = ({ fn }: FoundFunction) => fn.address.device * FUNCTIONS_PER_DEVICE + fn.address.fn;
    const index = this.#found.findIndex((other) => order(other) > order(found));
    this.#found.splice(index < 0 ? this.#found.length : index, 0, found);
  }

  async #remove(found: FoundFunction, gone: boolean): Promise<void> {
    await found.binding?.remove(gone);
    if (gone) found.fn.release();
    else found.fn.disable();
    this.#found.splice(this.#found.indexOf(found), 1);
    this.#events.removed(found);
  }
}
