/** A machine whose PCI is a hierarchy in software, as a guest sees it, and a guest's hot-plug on it. */
import { RootComplex, type RootPortSpec } from '../../../devices/pci/topology/root-complex.js';
import type { GuestBus } from '../../../guest/bus.js';
import { PciTree, type HostWindows } from '../../../guest/pci/enumeration.js';
import { InterruptController } from '../../../guest/pci/interrupts.js';
import { PcieHotplug, type HotplugClient } from '../../../guest/pci/pcie-hotplug.js';
import type { PciehpOptions } from '../../../guest/pci/pciehp.js';
import type { PortInterrupts } from '../../../guest/pci/port-interrupt.js';
import type { FunctionNode } from '../../../guest/pci/tree.js';
import { ManualTimers } from './manual-timers.js';

export const WINDOWS: HostWindows = {
  memory: { start: 0xc000_0000, end: 0xfec0_0000 },
  prefetchable: { start: 0x10_0000_0000, end: 0x20_0000_0000 },
  io: { start: 0x1000, end: 0x1_0000 },
};

/** Root ports in slots 1 to `count`: one a device number, or eight where there are not enough of those. */
export function rootPorts(count: number): RootPortSpec[] {
  const perDevice = count > 31 ? 8 : 1;
  return Array.from({ length: count }, (_, i) => ({
    device: 1 + Math.floor(i / perDevice),
    function: i % perDevice,
    physicalSlotNumber: i + 1,
  }));
}

/** The machine as one guest has it, until it is cut off: what such a guest goes on doing reaches nothing. */
class Processor implements GuestBus {
  readonly mmioWindow = { start: WINDOWS.memory.start, sizeBytes: WINDOWS.memory.end - WINDOWS.memory.start };
  readonly ram = new Uint8Array(0);
  readonly ramAddress = 0;
  message: (address: number, data: number) => void = () => {};
  intx: (asserted: boolean) => void = () => {};
  #complex: RootComplex | undefined;

  constructor(complex: RootComplex) {
    this.#complex = complex;
  }

  readConfig(bus: number, device: number, fn: number, offset: number, width: 1 | 2 | 4): number {
    return this.#complex?.readConfig(bus, device, fn, offset, width) ?? 2 ** (8 * width) - 1;
  }

  writeConfig(
    bus: number,
    device: number,
    fn: number,
    offset: number,
    width: 1 | 2 | 4,
    value: number,
  ): void {
    this.#complex?.writeConfig(bus, device, fn, offset, width, value);
  }

  readMemory(address: number, width: 1 | 2 | 4): number {
    return this.#complex?.readMemory(address, width) ?? 2 ** (8 * width) - 1;
  }

  writeMemory(address: number, width: 1 | 2 | 4, value: number): void {
    this.#complex?.writeMemory(address, width, value);
  }

  onMessage(handler: (address: number, data: number) => void): void {
    this.message = handler;
  }

  onIntx(handler: (asserted: boolean) => void): void {
    this.intx = handler;
  }

  powerOff(): void {
    this.#complex = undefined;
    this.message = () => {};
    this.intx = () => {};
  }
}

export class PcieMachine {
  readonly complex: RootComplex;
  /** Interrupt messages that were sent. */
  messages = 0;
  line = false;
  #processor: Processor;

  constructor(ports: readonly RootPortSpec[]) {
    this.complex = new RootComplex(
      {
        message: (address, data) => {
          this.messages++;
          const { message } = this.#processor;
          queueMicrotask(() => message(address, data));
        },
        intx: (asserted) => {
          this.line = asserted;
          if (asserted) queueMicrotask(() => this.#deliverLine());
        },
        workPending: () => queueMicrotask(() => this.complex.runWork()),
      },
      { rootPorts: ports },
    );
    this.#processor = new Processor(this.complex);
  }

  /** What a guest runs on. */
  get bus(): GuestBus {
    return this.#processor;
  }

  /** Cuts the guest off, whatever it is doing, and resets the machine for another. */
  reset(): void {
    this.#processor.powerOff();
    this.#processor = new Processor(this.complex);
    this.complex.reset();
  }

  #deliverLine(): void {
    this.#processor.intx(this.line);
    if (this.line) queueMicrotask(() => this.#deliverLine());
  }
}

/** Notes what it is told, and keeps things in use if asked to. */
export class RecordingClient implements HotplugClient {
  readonly present = new Set<FunctionNode>();
  readonly log: string[] = [];
  readonly inUse = new Set<FunctionNode>();

  async added(functions: readonly FunctionNode[]): Promise<void> {
    for (const fn of functions) {
      if (this.present.has(fn)) throw new Error(`${fn.name} was added twice`);
      this.present.add(fn);
    }
    if (functions.length > 0) this.log.push(`added ${names(functions)}`);
  }

  async removed(functions: readonly FunctionNode[], gone: boolean): Promise<void> {
    for (const fn of functions) {
      if (!this.present.delete(fn)) throw new Error(`${fn.name} was not there`);
      this.inUse.delete(fn);
    }
    if (functions.length > 0) this.log.push(`${gone ? 'gone' : 'released'} ${names(functions)}`);
  }

  isInUse(functions: readonly FunctionNode[]): boolean {
    return functions.some((fn) => this.inUse.has(fn));
  }

  ejectRequested(functions: readonly FunctionNode[]): void {
    if (functions.length > 0) this.log.push(`wanted ${names(functions)}`);
  }

  /** Functions by device id. */
  find(deviceId: number): FunctionNode {
    const found = [...this.present].find((fn) => fn.deviceId === deviceId);
    if (found === undefined) throw new Error(`no function ${deviceId}`);
    return found;
  }
}

function names(functions: readonly FunctionNode[]): string {
  return functions.map(({ deviceId }) => deviceId).join(' ');
}

export interface Booted {
  readonly machine: PcieMachine;
  readonly client: RecordingClient;
  readonly hotplug: PcieHotplug;
  readonly timers: ManualTimers;
}

export interface BootOptions {
  readonly windows?: HostWindows;
  readonly interrupts?: (controller: InterruptController) => PortInterrupts;
  readonly pciehp?: PciehpOptions;
}

/** Boots a guest on the machine. By default it blinks for no time at all, and power is gone at once. */
export async function boot(machine: PcieMachine, options: BootOptions = {}): Promise<Booted> {
  const timers = new ManualTimers();
  const client = new RecordingClient();
  const controller = new InterruptController(machine.bus, () => {});
  const interrupts = options.interrupts?.(controller) ?? controller;
  const tree = new PciTree(machine.bus, options.windows ?? WINDOWS);
  const hotplug = new PcieHotplug(tree, interrupts, client, { powerOffMs: 0, timers, ...options.pciehp });
  let isUp = false;
  const started = hotplug.start().then(() => (isUp = true));
  // A link that is broken is waited for in vain, and time passes meanwhile.
  for (await turn(); !isUp; await turn()) timers.pass(1000);
  await started;
  return { machine, client, hotplug, timers };
}

/** Everything that waits among microtasks has been done. */
export function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
