/** The linked list of capabilities in configuration space (PCI 3.0, section 6.7), built front to back. */
import { PciCapabilityId, PciConfig, PciConfigSize, PciExpress, PciMsix, PciStatus } from './defs.js';
import type { ConfigSpace } from './config-space.js';
import type { MsixTable } from './msix.js';

const CAPABILITY_ALIGNMENT_BYTES = 4;
/** Link: 2.5 GT/s, one lane. Software bus, so the figures only have to make sense. */
const LINK_SPEED_AND_WIDTH = 0x0011;
/** Device control bits that a guest may set: error reporting, relaxed ordering, payload and request sizes, no snoop. */
const DEVCTL_WRITABLE = 0x7fff;
/** Link control bits that a guest may set: ASPM, read completion boundary, common clock, extended synch. */
const LNKCTL_WRITABLE = 0x00cb;

/** Where an MSI-X table and its pending bits lie. Offsets are multiples of 8. */
export interface MsixLayout {
  readonly bar: number;
  readonly tableOffset: number;
  readonly pbaOffset: number;
}

export class CapabilityList {
  readonly #space: ConfigSpace;
  /** Where the pointer to the next capability is written. */
  #link: number = PciConfig.PCI_CAPABILITY_LIST;
  #free: number = PciConfig.PCI_STD_HEADER_SIZEOF;

  constructor(space: ConfigSpace) {
    this.#space = space;
  }

  /** Appends a capability of `sizeBytes` bytes, id and next pointer included, all else zero; answers where it starts. */
  add(id: number, sizeBytes: number): number {
    const start = this.#free;
    const end = start + sizeBytes;
    if (end > PciConfigSize.PCI_CFG_SPACE_SIZE) throw new RangeError('capabilities do not fit in 256 bytes');
    this.#space.define(start, 1, id);
    this.#space.define(this.#link, 1, start);
    const status = this.#space.get(PciConfig.PCI_STATUS, 2);
    this.#space.set(PciConfig.PCI_STATUS, 2, status | PciStatus.PCI_STATUS_CAP_LIST);
    this.#link = start + 1;
    this.#free = Math.ceil(end / CAPABILITY_ALIGNMENT_BYTES) * CAPABILITY_ALIGNMENT_BYTES;
    return start;
  }

  /** Appends a vendor-specific capability with `body` after its length byte; answers where it starts. */
  addVendorSpecific(body: Uint8Array): number {
    const sizeBytes = body.length + 3;
    const start = this.add(PciCapabilityId.PCI_CAP_ID_VNDR, sizeBytes);
    this.#space.define(start + 2, 1, sizeBytes);
    for (let i = 0; i < body.length; i++) this.#space.define(start + 3 + i, 1, body[i]);
    return start;
  }

  /** Appends the MSI-X capability of `table` and lets guest writes to its control register drive it. */
  addMsix(table: MsixTable, layout: MsixLayout, onControl: () => void): number {
    const space = this.#space;
    const start = this.add(PciCapabilityId.PCI_CAP_ID_MSIX, PciMsix.PCI_CAP_MSIX_SIZEOF);
    const control = start + PciMsix.PCI_MSIX_FLAGS;
    const writable = PciMsix.PCI_MSIX_FLAGS_ENABLE | PciMsix.PCI_MSIX_FLAGS_MASKALL;
    space.define(control, 2, table.vectorCount - 1, writable);
    space.define(start + PciMsix.PCI_MSIX_TABLE, 4, layout.tableOffset | layout.bar);
    space.define(start + PciMsix.PCI_MSIX_PBA, 4, layout.pbaOffset | layout.bar);
    space.hook(control, {
      afterWrite: () => {
        const flags = space.get(control, 2);
        const enabled = (flags & PciMsix.PCI_MSIX_FLAGS_ENABLE) !== 0;
        table.setControl(enabled, (flags & PciMsix.PCI_MSIX_FLAGS_MASKALL) !== 0);
        onControl();
      },
    });
    return start;
  }

  /**
   * Appends a PCI Express endpoint capability (PCIe 5.0, section 7.5.3): a legacy endpoint's where the function has I/O BARs. `onFlr` runs
   * when the guest asks for a function-level reset.
   */
  addExpressEndpoint(onFlr: () => void, hasIoBar = false): number {
    const space = this.#space;
    const start = this.add(PciCapabilityId.PCI_CAP_ID_EXP, PciExpress.PCI_CAP_EXP_ENDPOINT_SIZEOF_V2);
    const type = hasIoBar ? PciExpress.PCI_EXP_TYPE_LEG_END : PciExpress.PCI_EXP_TYPE_ENDPOINT;
    space.define(start + PciExpress.PCI_EXP_FLAGS, 2, PciExpress.PCI_EXP_FLAGS_VERSION_2 | (type << 4));
    const devcap = PciExpress.PCI_EXP_DEVCAP_RBER | PciExpress.PCI_EXP_DEVCAP_FLR;
    space.define(start + PciExpress.PCI_EXP_DEVCAP, 4, devcap);
    const control = start + PciExpress.PCI_EXP_DEVCTL;
    space.define(control, 2, 0, DEVCTL_WRITABLE | PciExpress.PCI_EXP_DEVCTL_BCR_FLR);
    space.define(start + PciExpress.PCI_EXP_DEVSTA, 2, 0, 0, PciExpress.PCI_EXP_DEVSTA_ERROR_BITS);
    space.define(start + PciExpress.PCI_EXP_LNKCAP, 4, LINK_SPEED_AND_WIDTH);
    space.define(start + PciExpress.PCI_EXP_LNKCTL, 2, 0, LNKCTL_WRITABLE);
    space.define(start + PciExpress.PCI_EXP_LNKSTA, 2, LINK_SPEED_AND_WIDTH);
    space.hook(control, {
      afterWrite: () => {
        const value = space.get(control, 2);
        if ((value & PciExpress.PCI_EXP_DEVCTL_BCR_FLR) === 0) return;
        // The bit reads as 0 always: it asks for something, and holds nothing.
        space.set(control, 2, value & ~PciExpress.PCI_EXP_DEVCTL_BCR_FLR);
        onFlr();
      },
    });
    return start;
  }
}
