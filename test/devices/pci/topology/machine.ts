/** A root complex on a bench: config and memory accesses by hand, and what it sends. */
import type { AccessWidth } from '../../../../devices/pci/function.js';
import { RootComplex, type RootComplexOptions } from '../../../../devices/pci/topology/root-complex.js';

export const ALL_ONES = 0xffff_ffff;
export const COMMAND = 0x04;
export const IO = 0x1;
export const MEMORY = 0x2;
export const MASTER = 0x4;
export const INTX_DISABLE = 0x400;

/** Where ports have their capabilities, as every port here lays them out. */
export const MSI = 0x40;
export const EXPRESS = 0x50;
export const LNKCTL = EXPRESS + 0x10;
export const LNKSTA = EXPRESS + 0x12;
export const SLTCAP = EXPRESS + 0x14;
export const SLTCTL = EXPRESS + 0x18;
export const SLTSTA = EXPRESS + 0x1a;
export const DEVCTL2 = EXPRESS + 0x28;

export type Address = readonly [bus: number, device: number, fn: number];

export class Bench {
  readonly complex: RootComplex;
  readonly messages: [address: number, data: number][] = [];
  readonly line: boolean[] = [];
  workPending = 0;

  /** Root ports of slots 1 to `ports`, one a device number. */
  constructor(ports: number, options: Partial<RootComplexOptions> = {}) {
    const rootPorts = Array.from({ length: ports }, (_, i) => ({
      device: i + 1,
      function: 0,
      physicalSlotNumber: i + 1,
    }));
    this.complex = new RootComplex(
      {
        message: (address, data) => this.messages.push([address, data]),
        intx: (asserted) => this.line.push(asserted),
        workPending: () => this.workPending++,
      },
      { rootPorts, ...options },
    );
  }

  slot(index: number) {
    return this.complex.rootPorts[index].slot;
  }

  read([bus, device, fn]: Address, offset: number, width: AccessWidth = 4): number {
    return this.complex.readConfig(bus, device, fn, offset, width);
  }

  write([bus, device, fn]: Address, offset: number, width: AccessWidth, value: number): void {
    this.complex.writeConfig(bus, device, fn, offset, width, value);
  }

  setBusNumbers(bridge: Address, primary: number, secondary: number, subordinate: number): void {
    this.write(bridge, 0x18, 4, primary | (secondary << 8) | (subordinate << 16));
  }

  /** Megabytes `start` to `end`, the last one included. */
  setMemoryWindow(bridge: Address, start: number, end: number): void {
    this.write(bridge, 0x20, 4, ((start << 4) | (end << 20)) >>> 0);
  }

  setCommand(address: Address, bits: number): void {
    this.write(address, COMMAND, 2, bits);
  }

  /** Vendor and device id in one. */
  id(address: Address): number {
    return this.read(address, 0, 4);
  }
}
