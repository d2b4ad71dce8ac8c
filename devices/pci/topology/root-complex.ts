/**
 * The root of a PCI Express hierarchy in software: the host bridge, root ports with a slot each, and everything that is put into
 * those. It routes config requests by the bus numbers, and memory and I/O requests by the BARs and windows, that the guest wrote;
 * what nobody claims reads all ones. Neither looks at more than the path from the root to the function.
 */
import type { AccessWidth } from '../function.js';
import { allOnes } from './all-ones.js';
import { Bus, type BusFunction, type Fabric } from './bus.js';
import { BUSES, DEVICES, FUNCTIONS } from './defs.js';
import type { Bridge } from './bridge.js';
import { CONFIG_DATA, ConfigAddress, PCI_CONFIG_ADDRESS } from './config-address.js';
import type { Endpoint } from './endpoint.js';
import { HostBridge } from './host-bridge.js';
import { SlotPort } from './ports.js';
import { Router } from './router.js';
import type { Slot } from './slot.js';
import { Switch } from './switch.js';

/** A megabyte of config space a bus: bus[27:20] device[19:15] function[14:12] offset[11:0] (section 7.2.2). */
export const ECAM_BYTES = BUSES * 2 ** 20;

/** What the hierarchy asks of the machine it is in. None of it may call back before it has returned. */
export interface RootComplexHost {
  /** A function or port sends an interrupt message: a write of `data` (32 bits) to a physical address, of the guest's choice. */
  message(address: number, data: number): void;
  /** The level of the line that all interrupt pins share has changed. */
  intx(asserted: boolean): void;
  /** Functions were written to and have work to do: call `runWork` soon. Not repeated before that was called. */
  workPending(): void;
}

/** A root port: its place on bus 0, and its slot. Device 0 is the host bridge's. */
export interface RootPortSpec {
  /** 1–31. */
  readonly device: number;
  /** 0–7. A device number has a function 0. */
  readonly function: number;
  /** 1–8191, unique on the chassis. */
  readonly physicalSlotNumber: number;
}

export interface RootComplexOptions {
  readonly rootPorts: readonly RootPortSpec[];
  /** Where config space is mapped into memory (ECAM), 256 MiB long; nowhere by default. */
  readonly ecamBase?: number;
}

export class RootComplex {
  readonly rootPorts: readonly SlotPort[];
  readonly #host: RootComplexHost;
  readonly #ecamBase: number;
  readonly #root = new Bus(undefined);
  readonly #functions: readonly BusFunction[];
  readonly #memory = new Router(this.#root, 'memory');
  readonly #io = new Router(this.#root, 'io');
  readonly #configAddress = new ConfigAddress();
  /** The bus behind each number: null where there is none, undefined where nobody has looked. */
  readonly #routes = new Array<Bus | null | undefined>(BUSES).fill(undefined);
  #routesKnown = false;
  readonly #pins = new Set<Endpoint | Bridge>();
  #work: Endpoint[] = [];

  constructor(host: RootComplexHost, options: RootComplexOptions) {
    assertRootPorts(options.rootPorts);
    this.#host = host;
    this.#ecamBase = options.ecamBase ?? Infinity;
    this.rootPorts = options.rootPorts.map(
      ({ device, function: fn, physicalSlotNumber }) =>
        new SlotPort({
          type: 'root',
          devfn: device * FUNCTIONS + fn,
          physicalSlotNumber,
          multiFunction: options.rootPorts.filter((other) => other.device === device).length > 1,
        }),
    );
    this.#functions = [new HostBridge(), ...this.rootPorts];
    this.#root.mastering = true;
    this.#root.fabric = this.#fabric();
    for (const fn of this.#functions) this.#root.add(fn);
  }

  // ——— The chassis's side ———

  /** Every slot there is now, those of extension chassis after the slot that holds them. */
  *slots(): IterableIterator<Slot> {
    yield* slotsBelow(this.rootPorts);
  }

  /** Everything is as at power-on, and stays where it is; ejections that a guest was asked for come about. */
  reset(): void {
    for (const fn of this.#functions) this.#root.remove(fn);
    for (const fn of this.#functions) this.#root.add(fn);
    this.#configAddress.reset();
  }

  /** Runs what functions were asked to do by writes since. What this leads to is left for the next call. */
  runWork(): void {
    const work = this.#work;
    this.#work = [];
    for (let i = 0; i < work.length; i++) {
      const endpoint = work[i];
      // Taken out since: there is nothing left to do.
      if (!endpoint.workPending) continue;
      endpoint.workPending = false;
      try {
        endpoint.pci.afterWrite();
      } catch (error) {
        this.#putBack(work.slice(i + 1));
        throw error;
      }
    }
  }

  // ——— The guest's side ———

  /** A config request to bus:device.function. All ones where nothing is, or where it is not aligned. */
  readConfig(bus: number, device: number, fn: number, offset: number, width: AccessWidth): number {
    return this.#readConfig(bus, devfnOf(device, fn), offset, width);
  }

  writeConfig(
    bus: number,
    device: number,
    fn: number,
    offset: number,
    width: AccessWidth,
    value: number,
  ): void {
    this.#writeConfig(bus, devfnOf(device, fn), offset, width, value);
  }

  /** A read of a physical address: config space through ECAM, or a BAR. */
  readMemory(address: number, width: AccessWidth): number {
    if (address % width !== 0) return allOnes(width);
    const offset = address - this.#ecamBase;
    if (offset >= 0 && offset < ECAM_BYTES) {
      return this.#readConfig(offset >>> 20, (offset >>> 12) & 0xff, offset & 0xfff, width);
    }
    const hit = this.#memory.find(address, width);
    return hit === undefined ? allOnes(width) : hit.endpoint.pci.readBar(hit.bar, address - hit.base, width);
  }

  writeMemory(address: number, width: AccessWidth, value: number): void {
    if (address % width !== 0) return;
    const offset = address - this.#ecamBase;
    if (offset >= 0 && offset < ECAM_BYTES) {
      this.#writeConfig(offset >>> 20, (offset >>> 12) & 0xff, offset & 0xfff, width, value);
      return;
    }
    this.#writeBar(this.#memory, address, width, value);
  }

  /** A read of an I/O port: the config mechanism at 0xcf8 and 0xcfc, or an I/O BAR. */
  readIo(port: number, width: AccessWidth): number {
    if (port % width !== 0) return allOnes(width);
    if (port === PCI_CONFIG_ADDRESS && width === 4) return this.#configAddress.value;
    const target = this.#configAddress.target(port);
    if (target !== undefined) return this.#readConfig(target.bus, target.devfn, target.offset, width);
    if (isConfigData(port)) return allOnes(width);
    const hit = this.#io.find(port, width);
    return hit === undefined ? allOnes(width) : hit.endpoint.pci.readBar(hit.bar, port - hit.base, width);
  }

  writeIo(port: number, width: AccessWidth, value: number): void {
    if (port % width !== 0) return;
    if (port === PCI_CONFIG_ADDRESS && width === 4) {
      this.#configAddress.write(value);
      return;
    }
    const target = this.#configAddress.target(port);
    if (target !== undefined) this.#writeConfig(target.bus, target.devfn, target.offset, width, value);
    else if (!isConfigData(port)) this.#writeBar(this.#io, port, width, value);
  }

  // ——— ———

  #readConfig(bus: number, devfn: number, offset: number, width: AccessWidth): number {
    const fn = offset % width === 0 ? this.#busAt(bus)?.find(devfn) : undefined;
    return fn === undefined ? allOnes(width) : fn.readConfig(offset, width);
  }

  #writeConfig(bus: number, devfn: number, offset: number, width: AccessWidth, value: number): void {
    if (offset % width === 0) this.#busAt(bus)?.find(devfn)?.writeConfig(offset, width, value);
  }

  #writeBar(router: Router, address: number, width: AccessWidth, value: number): void {
    const hit = router.find(address, width);
    if (hit === undefined) return;
    // Kept apart from the hit, which is reused if the write leads to another access.
    const { endpoint } = hit;
    endpoint.pci.writeBar(hit.bar, address - hit.base, width, value);
    this.#workFor(endpoint);
  }

  #busAt(number: number): Bus | undefined {
    const known = this.#routes[number];
    if (known !== undefined) return known ?? undefined;
    if (!Number.isInteger(number) || number < 0 || number >= BUSES) return undefined;
    const bus = this.#route(number);
    this.#routes[number] = bus ?? null;
    this.#routesKnown = true;
    return bus;
  }

  /** Follows a config request down: each bridge on the way claims it by the bus numbers it was given. */
  #route(number: number): Bus | undefined {
    if (number === 0) return this.#root;
    let bus = this.#root;
    for (;;) {
      const bridge = bus.bridgeTowards(number);
      if (bridge === undefined) return undefined;
      bus = bridge.secondary;
      if (bridge.secondaryBus === number) return bus;
    }
  }

  #workFor(endpoint: Endpoint): void {
    if (endpoint.workPending) return;
    endpoint.workPending = true;
    this.#work.push(endpoint);
    if (this.#work.length === 1) this.#host.workPending();
  }

  /** What a failure left undone is not forgotten. */
  #putBack(endpoints: readonly Endpoint[]): void {
    if (endpoints.length === 0) return;
    const wasIdle = this.#work.length === 0;
    this.#work.unshift(...endpoints);
    if (wasIdle) this.#host.workPending();
  }

  #fabric(): Fabric {
    return {
      routesChanged: () => {
        if (this.#routesKnown) this.#routes.fill(undefined);
        this.#routesKnown = false;
      },
      decodingChanged: () => {
        this.#memory.forget();
        this.#io.forget();
      },
      setIntx: (source, asserted) => this.#setPin(source, asserted),
      message: (address, data) => this.#host.message(address, data),
      wrote: (endpoint) => this.#workFor(endpoint),
    };
  }

  #setPin(source: Endpoint | Bridge, asserted: boolean): void {
    const before = this.#pins.size > 0;
    if (asserted) this.#pins.add(source);
    else this.#pins.delete(source);
    const now = this.#pins.size > 0;
    if (now !== before) this.#host.intx(now);
  }
}

function* slotsBelow(ports: readonly SlotPort[]): IterableIterator<Slot> {
  for (const { slot } of ports) {
    yield slot;
    if (slot.occupant instanceof Switch) yield* slotsBelow(slot.occupant.downstreamPorts);
  }
}

/** No function has the number of an address that is out of range. */
function devfnOf(device: number, fn: number): number {
  return device < DEVICES && fn < FUNCTIONS ? device * FUNCTIONS + fn : -1;
}

function isConfigData(port: number): boolean {
  return port >= CONFIG_DATA && port < CONFIG_DATA + 4;
}

function assertRootPorts(specs: readonly RootPortSpec[]): void {
  const devfns = specs.map(({ device, function: fn }) => device * FUNCTIONS + fn);
  const valid = specs.every(
    ({ device, function: fn }) =>
      Number.isInteger(device) &&
      device > 0 &&
      device < DEVICES &&
      Number.isInteger(fn) &&
      fn >= 0 &&
      fn < FUNCTIONS,
  );
  const hasFunction0 = specs.every(({ device }) => devfns.includes(device * FUNCTIONS));
  const numbers = new Set(specs.map(({ physicalSlotNumber }) => physicalSlotNumber));
  if (valid && hasFunction0 && new Set(devfns).size === specs.length && numbers.size === specs.length) return;
  throw new RangeError(
    'root ports need places of their own at devices 1 to 31, function 0 first, and slot numbers of their own',
  );
}
