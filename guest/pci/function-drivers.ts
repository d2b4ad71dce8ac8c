/** Which driver has which function: what hot-plug finds is offered to the drivers, and taken from them when it goes. */
import type { GuestBus } from '../bus.js';
import { GuestError } from '../errors.js';
import type { DriverServices, PciBinding, PciDriver } from './driver.js';
import { GuestPciFunction } from './function.js';
import type { HotplugClient } from './pcie-hotplug.js';
import { PciCommand, PciRegister, PciStatus } from './registers.js';
import type { FunctionNode } from './tree.js';

/** Bridges and what else belongs to the machine itself, the host bridge for one. */
const BASE_CLASS_BRIDGE = 0x06;

/** A function that was found, with the driver that took it. */
export interface FoundFunction {
  readonly fn: GuestPciFunction;
  readonly driver: PciDriver | undefined;
  readonly binding: PciBinding | undefined;
  /** Why the driver that matches could not use the function. */
  readonly error: GuestError | undefined;
}

export interface FunctionEvents {
  added?(found: FoundFunction): void;
  removed?(found: FoundFunction): void;
  /** The machine wants a slot back in which something is in use: it waits until that ends. */
  ejectRequested?(functions: readonly FoundFunction[]): void;
}

export class FunctionDrivers implements HotplugClient {
  readonly #bus: GuestBus;
  readonly #services: DriverServices;
  readonly #drivers: readonly PciDriver[];
  readonly #events: FunctionEvents;
  readonly #found = new Map<FunctionNode, FoundFunction>();

  constructor(
    bus: GuestBus,
    services: DriverServices,
    drivers: readonly PciDriver[],
    events: FunctionEvents = {},
  ) {
    this.#bus = bus;
    this.#services = services;
    this.#drivers = drivers;
    this.#events = events;
  }

  /** Every function known, in no order. */
  functions(): IterableIterator<FoundFunction> {
    return this.#found.values();
  }

  async added(nodes: readonly FunctionNode[]): Promise<void> {
    for (const node of nodes) {
      if (node.classCode >>> 16 !== BASE_CLASS_BRIDGE) await this.#add(node);
    }
  }

  async removed(nodes: readonly FunctionNode[], gone: boolean): Promise<void> {
    for (const found of this.#known(nodes)) {
      await found.binding?.remove(gone);
      if (!gone) found.fn.disable();
      this.#found.delete(found.fn.node);
      this.#events.removed?.(found);
    }
  }

  isInUse(nodes: readonly FunctionNode[]): boolean {
    return this.#known(nodes).some(({ binding }) => binding?.inUse);
  }

  ejectRequested(nodes: readonly FunctionNode[]): void {
    if (this.isInUse(nodes)) this.#events.ejectRequested?.(this.#known(nodes));
  }

  /** Silences the pins of functions that assert theirs, after nobody claimed their interrupts. */
  disableAssertedIntx(): void {
    for (const { fn } of this.#found.values()) {
      if ((fn.readConfig(PciRegister.STATUS, 2) & PciStatus.INTERRUPT) !== 0) {
        fn.setCommand(0, PciCommand.INTX_DISABLE);
      }
    }
  }

  #known(nodes: readonly FunctionNode[]): FoundFunction[] {
    return nodes.flatMap((node) => this.#found.get(node) ?? []);
  }

  async #add(node: FunctionNode): Promise<void> {
    const fn = new GuestPciFunction(this.#bus, node);
    const driver = this.#drivers.find((candidate) => candidate.matches(fn));
    let binding: PciBinding | undefined;
    let error: GuestError | undefined;
    if (driver !== undefined) {
      fn.enable();
      try {
        binding = await driver.probe(fn, this.#services);
      } catch (failure) {
        error = asGuestError(failure, fn);
        fn.disable();
      }
    }
    const found = { fn, driver: binding === undefined ? undefined : driver, binding, error };
    this.#found.set(node, found);
    this.#events.added?.(found);
  }
}

/** A driver that fails by a bug of its own takes nothing else down: its slot has others to see to. */
function asGuestError(failure: unknown, fn: GuestPciFunction): GuestError {
  if (failure instanceof GuestError) return failure;
  return new GuestError('EIO', { syscall: 'probe', path: fn.name, detail: String(failure) });
}
