/**
 * Native hot-plug of a whole hierarchy: enumerates it, drives every hot-plug slot there is, and those of extension chassis as they
 * come, and tells its client which functions appear and which go.
 */
import type { PciTree } from './enumeration.js';
import { PciehpSlot, type Board, type PciehpOptions } from './pciehp.js';
import { PortInterrupt, type PortInterrupts } from './port-interrupt.js';
import { SlotRegisters } from './slot-registers.js';
import { functionsBelow, type BusNode, type FunctionNode } from './tree.js';

/**
 * Who uses the functions. Calls about one slot come one after the other; those about different slots may overlap. Of an extension
 * chassis that is empty there are none to tell of. Nothing here rejects.
 */
export interface HotplugClient {
  /** Functions that are no bridges have appeared, with their BARs placed and everything switched off. */
  added(functions: readonly FunctionNode[]): Promise<void>;
  /** Lets functions go for good. With `gone` they were pulled out already and are not touched: what is under way fails. */
  removed(functions: readonly FunctionNode[], gone: boolean): Promise<void>;
  /** True while any of them is used: their slot is not let go before `released` was called. */
  isInUse(functions: readonly FunctionNode[]): boolean;
  /** Their slot is wanted back. */
  ejectRequested(functions: readonly FunctionNode[]): void;
}

export class PcieHotplug {
  readonly tree: PciTree;
  readonly #interrupts: PortInterrupts;
  readonly #client: HotplugClient;
  readonly #options: PciehpOptions;
  /** By the bus below the port. */
  readonly #ports = new Map<BusNode, HotplugPort>();

  constructor(tree: PciTree, interrupts: PortInterrupts, client: HotplugClient, options: PciehpOptions = {}) {
    this.tree = tree;
    this.#interrupts = interrupts;
    this.#client = client;
    this.#options = options;
  }

  /** Looks at what is there, and listens. Resolves once the client has everything. */
  async start(): Promise<void> {
    this.tree.enumerate();
    await this.#takeIntoUse(this.tree.root);
    await this.idle();
  }

  /** Listens no more, and lets everything go. To be called once `start` has resolved. */
  async stop(): Promise<void> {
    await this.#stopPorts(this.tree.root);
    await this.#client.removed(endpointsBelow(this.tree.root), false);
    this.tree.forget(this.tree.root);
  }

  /** The function is no longer in use: slots that wait for it go. */
  released(fn: FunctionNode): void {
    for (const port of this.#portsAbove(fn)) port.slot.released();
  }

  /** True while the function's slot, or one above, is on its way out. */
  isLeaving(fn: FunctionNode): boolean {
    return this.#portsAbove(fn).some(({ slot }) => slot.isLeaving);
  }

  /** Resolves once no slot has anything to do but wait. */
  async idle(): Promise<void> {
    for (;;) {
      const busy = [...this.#ports.values()].find(({ slot }) => slot.isWorking);
      if (busy === undefined) return;
      await busy.slot.idle();
    }
  }

  #portsAbove(fn: FunctionNode): HotplugPort[] {
    const ports: HotplugPort[] = [];
    for (let bus: BusNode | undefined = fn.parent; bus !== undefined; bus = bus.bridge?.parent) {
      const port = this.#ports.get(bus);
      if (port !== undefined) ports.push(port);
    }
    return ports;
  }

  /** Ports listen before anything else can happen: what was just found is watched from then on. */
  async #takeIntoUse(bus: BusNode): Promise<void> {
    const ports = this.#listen(bus);
    await this.#client.added(endpointsBelow(bus));
    for (const { slot } of ports) slot.begin();
  }

  #listen(bus: BusNode): HotplugPort[] {
    const ports: HotplugPort[] = [];
    for (const fn of functionsBelow(bus)) {
      const { bridge, secondary } = fn;
      if (bridge?.isHotPlug !== true || bridge.express === undefined || secondary === undefined) continue;
      const registers = new SlotRegisters(fn.config, bridge.express);
      const slot = new PciehpSlot(registers, this.#board(secondary), this.#options);
      const port = new HotplugPort(fn, slot, this.#interrupts);
      this.#ports.set(secondary, port);
      port.listen(secondary.functions.length > 0);
      ports.push(port);
    }
    return ports;
  }

  async #stopPorts(bus: BusNode): Promise<void> {
    const ports = [...functionsBelow(bus)].flatMap(({ secondary }) => {
      const port = secondary && this.#ports.get(secondary);
      return secondary && port ? [{ secondary, port }] : [];
    });
    await Promise.all(ports.map(({ port }) => port.stop()));
    for (const { secondary } of ports) this.#ports.delete(secondary);
  }

  #board(bus: BusNode): Board {
    const client = this.#client;
    return {
      configure: async () => {
        this.tree.configure(bus);
        if (bus.functions.length === 0) return false;
        await this.#takeIntoUse(bus);
        return true;
      },
      unconfigure: async (gone) => {
        await this.#stopPorts(bus);
        await client.removed(endpointsBelow(bus), gone);
        this.tree.forget(bus);
      },
      get isInUse() {
        return client.isInUse(endpointsBelow(bus));
      },
      ejectRequested: () => client.ejectRequested(endpointsBelow(bus)),
    };
  }
}

/** A port whose slot is driven, and its interrupt. */
class HotplugPort {
  readonly slot: PciehpSlot;
  readonly #interrupt: PortInterrupt;

  constructor(fn: FunctionNode, slot: PciehpSlot, interrupts: PortInterrupts) {
    this.slot = slot;
    this.#interrupt = new PortInterrupt(fn.config, interrupts, () => slot.interrupt());
  }

  listen(isConfigured: boolean): void {
    this.#interrupt.enable();
    this.slot.listen(isConfigured);
  }

  async stop(): Promise<void> {
    await this.slot.stop();
    this.#interrupt.disable();
  }
}

function endpointsBelow(bus: BusNode): FunctionNode[] {
  return [...functionsBelow(bus)].filter(({ bridge }) => bridge === undefined);
}
