/** What a driver is to the PCI bus: it is offered functions, and gives a binding for those it takes. */
import type { GuestRam } from '../memory/ram.js';
import type { GuestPciFunction } from './function.js';
import type { InterruptController } from './interrupts.js';

/** What a driver may use of the guest. */
export interface DriverServices {
  readonly ram: GuestRam;
  readonly interrupts: InterruptController;
}

/** A driver at work on a function. */
export interface PciBinding {
  /** True while somebody uses the device: its slot is not let go before that ends. */
  readonly inUse: boolean;
  /**
   * Lets the function go for good; called once. Everything under way fails with ENODEV. With `gone` the function was pulled
   * out already and is not touched.
   */
  remove(gone: boolean): Promise<void>;
}

export interface PciDriver {
  readonly name: string;
  matches(fn: GuestPciFunction): boolean;
  /** Takes the function, whose BARs are placed. Rejects with a GuestError where the function cannot be used. */
  probe(fn: GuestPciFunction, services: DriverServices): Promise<PciBinding>;
}
