/** MSI with one message and a 64-bit address (PCI 3.0, section 6.8.1), as ports have it. */
import type { CapabilityList } from '../capabilities.js';
import type { ConfigSpace } from '../config-space.js';
import { PciMsi } from './defs.js';

const TWO_POW_32 = 0x1_0000_0000;

export class MsiCapability {
  readonly #space: ConfigSpace;
  readonly #start: number;

  /** Appends the capability; `controlChanged` runs after each write of the guest's to its control register. */
  constructor(space: ConfigSpace, list: CapabilityList, controlChanged: () => void) {
    this.#space = space;
    this.#start = list.add(PciMsi.PCI_CAP_ID_MSI, PciMsi.PCI_CAP_MSI_64_SIZEOF);
    const { PCI_MSI_FLAGS_64BIT, PCI_MSI_FLAGS_ENABLE } = PciMsi;
    space.define(this.#start + PciMsi.PCI_MSI_FLAGS, 2, PCI_MSI_FLAGS_64BIT, PCI_MSI_FLAGS_ENABLE);
    space.define(this.#start + PciMsi.PCI_MSI_ADDRESS_LO, 4, 0, 0xffff_fffc);
    space.define(this.#start + PciMsi.PCI_MSI_ADDRESS_HI, 4, 0, 0xffff_ffff);
    space.define(this.#start + PciMsi.PCI_MSI_DATA_64, 2, 0, 0xffff);
    space.hook(this.#start + PciMsi.PCI_MSI_FLAGS, { afterWrite: controlChanged });
  }

  get enabled(): boolean {
    return (this.#space.get(this.#start + PciMsi.PCI_MSI_FLAGS, 2) & PciMsi.PCI_MSI_FLAGS_ENABLE) !== 0;
  }

  get address(): number {
    const low = this.#space.get(this.#start + PciMsi.PCI_MSI_ADDRESS_LO, 4);
    return this.#space.get(this.#start + PciMsi.PCI_MSI_ADDRESS_HI, 4) * TWO_POW_32 + low;
  }

  get data(): number {
    return this.#space.get(this.#start + PciMsi.PCI_MSI_DATA_64, 2);
  }
}
