/** A guest's way to the machine, from its boot until it is taken off: after that it reaches nothing, and hears of nothing. */
import { allOnes } from '../../../devices/pci/topology/all-ones.js';
import type { RootComplex } from '../../../devices/pci/topology/root-complex.js';
import type { AccessWidth } from '../../../devices/pci/function.js';
import type { AddressWindow, GuestBus, PortIo } from '../../../guest/bus.js';

/** BARs go here: above any RAM, below the interrupt controllers' addresses. */
export const MMIO_WINDOW: AddressWindow = { start: 0xc000_0000, sizeBytes: 0xfec0_0000 - 0xc000_0000 };
/** Prefetchable ones go here: 64 GiB of addresses, beyond what any RAM reaches. */
const PREFETCHABLE_WINDOW: AddressWindow = { start: 2 ** 36, sizeBytes: 2 ** 36 };
/** I/O BARs go here: behind the ports that a PC's own devices have. */
const IO_WINDOW: AddressWindow = { start: 0x1000, sizeBytes: 0x1_0000 - 0x1000 };

export interface ProcessorHost {
  /** A guest is up: it has touched nothing yet. */
  booted(): void;
  /** The guest listens to the shared line. */
  intxListened(): void;
  /** The guest is off the machine. */
  poweredOff(): void;
}

export class Processor implements GuestBus {
  readonly mmioWindow = MMIO_WINDOW;
  readonly prefetchableWindow = PREFETCHABLE_WINDOW;
  readonly io: PortIo = {
    window: IO_WINDOW,
    read: (port, width) => this.#complex?.readIo(port, width) ?? allOnes(width),
    write: (port, width, value) => this.#complex?.writeIo(port, width, value),
  };
  readonly ram: Uint8Array;
  readonly ramAddress: number;
  #complex: RootComplex | undefined;
  readonly #host: ProcessorHost;
  #messageHandler: ((address: number, data: number) => void) | undefined;
  #intxHandler: ((asserted: boolean) => void) | undefined;

  constructor(
    complex: RootComplex,
    ram: { readonly bytes: Uint8Array; readonly address: number },
    host: ProcessorHost,
  ) {
    this.#complex = complex;
    this.ram = ram.bytes;
    this.ramAddress = ram.address;
    this.#host = host;
  }

  // ——— The machine's side ———

  get messageHandler(): ((address: number, data: number) => void) | undefined {
    return this.#messageHandler;
  }

  get intxHandler(): ((asserted: boolean) => void) | undefined {
    return this.#intxHandler;
  }

  // ——— The guest's side: GuestBus ———

  readConfig(bus: number, device: number, fn: number, offset: number, width: AccessWidth): number {
    return this.#complex?.readConfig(bus, device, fn, offset, width) ?? allOnes(width);
  }

  writeConfig(
    bus: number,
    device: number,
    fn: number,
    offset: number,
    width: AccessWidth,
    value: number,
  ): void {
    this.#complex?.writeConfig(bus, device, fn, offset, width, value);
  }

  readMemory(address: number, width: AccessWidth): number {
    return this.#complex?.readMemory(address, width) ?? allOnes(width);
  }

  writeMemory(address: number, width: AccessWidth, value: number): void {
    this.#complex?.writeMemory(address, width, value);
  }

  onMessage(handler: (address: number, data: number) => void): void {
    if (this.#complex === undefined) return;
    if (this.#messageHandler === undefined) this.#host.booted();
    this.#messageHandler = handler;
  }

  onIntx(handler: (asserted: boolean) => void): void {
    if (this.#complex === undefined) return;
    this.#intxHandler = handler;
    this.#host.intxListened();
  }

  powerOff(): void {
    if (this.#complex === undefined) return;
    this.#complex = undefined;
    this.#messageHandler = undefined;
    this.#intxHandler = undefined;
    this.#host.poweredOff();
  }
}
