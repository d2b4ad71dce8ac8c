/** Config space of one function: accesses, and the lists of capabilities. */
import type { GuestBus } from '../bus.js';
import type { PciAddress } from './address.js';
import { PciRegister, PciStatus, VENDOR_ID_ABSENT } from './registers.js';

/** What reaches config space. */
export type ConfigAccess = Pick<GuestBus, 'readConfig' | 'writeConfig'>;

const FIRST_CAPABILITY = 0x40;
/** Capabilities lie in 0x40–0xff, 4 bytes at least each: a list with more of them has a loop. */
const MAX_CAPABILITIES = 48;
const FIRST_EXTENDED_CAPABILITY = 0x100;
/** Extended ones lie in 0x100–0xfff, 8 bytes at least each. */
const MAX_EXTENDED_CAPABILITIES = 480;

export class FunctionConfig {
  readonly #access: ConfigAccess;
  readonly #address: PciAddress;

  /** `address` is looked at on every access: it may change with its bus's number. */
  constructor(access: ConfigAccess, address: PciAddress) {
    this.#access = access;
    this.#address = address;
  }

  read(offset: number, width: 1 | 2 | 4): number {
    const { bus, device, fn } = this.#address;
    return this.#access.readConfig(bus, device, fn, offset, width);
  }

  write(offset: number, width: 1 | 2 | 4, value: number): void {
    const { bus, device, fn } = this.#address;
    this.#access.writeConfig(bus, device, fn, offset, width, value);
  }

  get isPresent(): boolean {
    return this.read(PciRegister.VENDOR_ID, 2) !== VENDOR_ID_ABSENT;
  }

  /** Sets the command register's bits in `mask` to those in `bits`. */
  setCommand(mask: number, bits: number): void {
    this.write(PciRegister.COMMAND, 2, (this.read(PciRegister.COMMAND, 2) & ~mask) | bits);
  }

  /** Where the first capability with this id is. */
  capability(id: number): number | undefined {
    if ((this.read(PciRegister.STATUS, 2) & PciStatus.CAPABILITIES_LIST) === 0) return undefined;
    let offset = this.read(PciRegister.CAPABILITIES_POINTER, 1) & 0xfc;
    for (let seen = 0; offset >= FIRST_CAPABILITY && seen < MAX_CAPABILITIES; seen++) {
      if (this.read(offset, 1) === id) return offset;
      offset = this.read(offset + 1, 1) & 0xfc;
    }
    return undefined;
  }

  /** Where the first extended capability with this id is: `id[15:0] version[19:16] next[31:20]` is its header. */
  extendedCapability(id: number): number | undefined {
    let offset = FIRST_EXTENDED_CAPABILITY;
    for (let seen = 0; offset >= FIRST_EXTENDED_CAPABILITY && seen < MAX_EXTENDED_CAPABILITIES; seen++) {
      const header = this.read(offset, 4);
      if (header === 0 || header === 0xffff_ffff) return undefined;
      if ((header & 0xffff) === id) return offset;
      offset = (header >>> 20) & 0xffc;
    }
    return undefined;
  }
}
