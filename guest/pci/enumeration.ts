/**
 * Enumerates a PCI Express hierarchy as an operating system does: finds functions, numbers buses depth first, sizes BARs, places
 * them behind bridges, and leaves room for what is plugged in later. All of it is config accesses, and done when a call returns.
 */
import type { AddressRange } from './bridges.js';
import { numberBuses } from './bus-numbers.js';
import type { ConfigAccess } from './config.js';
import { placeResources } from './resources.js';
import { BusNode, functionsBelow, type FunctionNode } from './tree.js';

const LAST_BUS = 255;

/** Where the machine lets BARs be placed. */
export interface HostWindows {
  /** Below 4 GiB. */
  readonly memory: AddressRange;
  /** Anywhere; prefetchable 64-bit BARs lie in `memory` too where there is none. */
  readonly prefetchable?: AddressRange;
  /** I/O ports; I/O BARs are not placed where there are none. */
  readonly io?: AddressRange;
}

export class PciTree {
  readonly root: BusNode;
  readonly #access: ConfigAccess;

  constructor(access: ConfigAccess, windows: HostWindows) {
    this.#access = access;
    this.root = new BusNode(0, LAST_BUS);
    Object.assign(this.root.windows, windows);
  }

  /** Looks at everything there is. */
  enumerate(): void {
    this.configure(this.root);
  }

  /**
   * Looks at a bus that something was plugged into, and places what it finds within the numbers and windows that the bus has.
   * What was known of it is forgotten.
   */
  configure(bus: BusNode): void {
    numberBuses(this.#access, bus);
    placeResources(bus);
  }

  /** Everything on the bus is gone, and its numbers and room are free. */
  forget(bus: BusNode): void {
    bus.functions = [];
  }

  /** Every function known, depth first: what is behind a bridge follows it. */
  functions(): FunctionNode[] {
    return [...functionsBelow(this.root)];
  }
}
