/** The config mechanism of PCs (PCI 3.0, section 3.2.2.3.2): an address latched at I/O port 0xcf8, and its data at 0xcfc–0xcff. */

export const PCI_CONFIG_ADDRESS = 0xcf8;
export const CONFIG_DATA = 0xcfc;
const CONFIG_DATA_BYTES = 4;
/** Enable, bus, devfn and register; the bits between and below read 0. */
const LATCHED = 0x80ff_fffc;
const ENABLE = 0x8000_0000;

export interface ConfigTarget {
  readonly bus: number;
  readonly devfn: number;
  readonly offset: number;
}

export class ConfigAddress {
  #latch = 0;

  /** What port 0xcf8 reads. */
  get value(): number {
    return this.#latch;
  }

  write(value: number): void {
    this.#latch = (value & LATCHED) >>> 0;
  }

  reset(): void {
    this.#latch = 0;
  }

  /** The register that an access to an I/O port is meant for; undefined where it is no config access. */
  target(port: number): ConfigTarget | undefined {
    if (port < CONFIG_DATA || port >= CONFIG_DATA + CONFIG_DATA_BYTES) return undefined;
    const latch = this.#latch;
    if ((latch & ENABLE) === 0) return undefined;
    return {
      bus: (latch >>> 16) & 0xff,
      devfn: (latch >>> 8) & 0xff,
      offset: (latch & 0xfc) | (port - CONFIG_DATA),
    };
  }
}
