/**
 * The PCI Express capability of a port (PCI Express Base 5.0, section 7.5.3), version 2. Links run at 2.5 GT/s on one lane: a bus
 * in software, so the figures only have to make sense.
 */
import type { CapabilityList } from '../capabilities.js';
import type { ConfigSpace } from '../config-space.js';
import { PciCapabilityId, PciExpress } from '../defs.js';
import { PciExpressPort, PciExpressType, PciSlotCapability, PciSlotControl, PciSlotStatus } from './defs.js';

const LINK_SPEED = 0x0001;
const LINK_SPEED_AND_WIDTH = 0x0010 | LINK_SPEED;
/** Device control bits that a guest may set: error reporting, relaxed ordering, payload and request sizes, no snoop. */
const DEVCTL_WRITABLE = 0x7fff;
/** Link control bits that a guest may set: ASPM, read completion boundary, common clock, extended synch. */
const LNKCTL_WRITABLE = 0x00cb;
/** Root control: system errors and PME interrupts, none of which ever come. */
const RTCTL_WRITABLE = 0x000f;
const LNKCTL2_WRITABLE = 0x000f;
const LNKCAP_PORT_NUMBER_SHIFT = 24;

const SLOT_CAPABILITIES =
  PciSlotCapability.PCI_EXP_SLTCAP_ABP |
  PciSlotCapability.PCI_EXP_SLTCAP_PCP |
  PciSlotCapability.PCI_EXP_SLTCAP_AIP |
  PciSlotCapability.PCI_EXP_SLTCAP_PIP |
  PciSlotCapability.PCI_EXP_SLTCAP_HPS |
  PciSlotCapability.PCI_EXP_SLTCAP_HPC;

const SLTCTL_WRITABLE =
  PciSlotControl.PCI_EXP_SLTCTL_ABPE |
  PciSlotControl.PCI_EXP_SLTCTL_PFDE |
  PciSlotControl.PCI_EXP_SLTCTL_PDCE |
  PciSlotControl.PCI_EXP_SLTCTL_CCIE |
  PciSlotControl.PCI_EXP_SLTCTL_HPIE |
  PciSlotControl.PCI_EXP_SLTCTL_AIC |
  PciSlotControl.PCI_EXP_SLTCTL_PIC |
  PciSlotControl.PCI_EXP_SLTCTL_PCC |
  PciSlotControl.PCI_EXP_SLTCTL_DLLSCE;

/** Slot status bits that say that something happened. */
export const SLOT_EVENTS =
  PciSlotStatus.PCI_EXP_SLTSTA_ABP |
  PciSlotStatus.PCI_EXP_SLTSTA_PFD |
  PciSlotStatus.PCI_EXP_SLTSTA_PDC |
  PciSlotStatus.PCI_EXP_SLTSTA_CC |
  PciSlotStatus.PCI_EXP_SLTSTA_DLLSC;

export interface ExpressPortOptions {
  readonly type: (typeof PciExpressType)[keyof typeof PciExpressType];
  /** 0–255, unique among the ports of one switch or root complex. */
  readonly portNumber: number;
  /** The slot's number on the chassis, 1–8191; undefined where the port has no slot. */
  readonly physicalSlotNumber?: number;
}

/** Appends the capability; answers where it starts. Effects are the port's own: it hooks the registers. */
export function addExpressPort(
  space: ConfigSpace,
  list: CapabilityList,
  options: ExpressPortOptions,
): number {
  const start = list.add(PciCapabilityId.PCI_CAP_ID_EXP, PciExpress.PCI_CAP_EXP_ENDPOINT_SIZEOF_V2);
  const slot = options.physicalSlotNumber === undefined ? 0 : PciExpressPort.PCI_EXP_FLAGS_SLOT;
  const flags = PciExpress.PCI_EXP_FLAGS_VERSION_2 | (options.type << 4) | slot;
  space.define(start + PciExpress.PCI_EXP_FLAGS, 2, flags);
  space.define(start + PciExpress.PCI_EXP_DEVCAP, 4, PciExpress.PCI_EXP_DEVCAP_RBER);
  space.define(start + PciExpress.PCI_EXP_DEVCTL, 2, 0, DEVCTL_WRITABLE);
  space.define(start + PciExpress.PCI_EXP_DEVSTA, 2, 0, 0, PciExpress.PCI_EXP_DEVSTA_ERROR_BITS);
  const linkCapabilities = (options.portNumber << LNKCAP_PORT_NUMBER_SHIFT) | LINK_SPEED_AND_WIDTH;
  space.define(start + PciExpress.PCI_EXP_LNKCAP, 4, linkCapabilities);
  space.define(start + PciExpress.PCI_EXP_LNKCTL, 2, 0, LNKCTL_WRITABLE);
  space.define(start + PciExpress.PCI_EXP_LNKSTA, 2, LINK_SPEED_AND_WIDTH);
  space.define(start + PciExpressPort.PCI_EXP_LNKCAP2, 4, PciExpressPort.PCI_EXP_LNKCAP2_SLS_2_5GB);
  space.define(start + PciExpressPort.PCI_EXP_LNKCTL2, 2, LINK_SPEED, LNKCTL2_WRITABLE);
  if (options.type === PciExpressType.PCI_EXP_TYPE_ROOT_PORT) {
    space.define(start + PciExpressPort.PCI_EXP_RTCTL, 2, 0, RTCTL_WRITABLE);
  }
  if (options.physicalSlotNumber !== undefined) defineSlot(space, start, options.physicalSlotNumber);
  return start;
}

/** What a port with a slot has besides: link reports, ARI forwarding, and the slot's own registers. */
function defineSlot(space: ConfigSpace, start: number, physicalSlotNumber: number): void {
  if (physicalSlotNumber < 1 || physicalSlotNumber > PciSlotCapability.PCI_EXP_SLTCAP_PSN_MAX) {
    throw new RangeError(`there is no slot number ${physicalSlotNumber}: the register holds 13 bits`);
  }
  const linkCapabilities = space.get(start + PciExpress.PCI_EXP_LNKCAP, 4);
  space.define(
    start + PciExpress.PCI_EXP_LNKCAP,
    4,
    linkCapabilities | PciExpressPort.PCI_EXP_LNKCAP_DLLLARC,
  );
  const linkControl = LNKCTL_WRITABLE | PciExpressPort.PCI_EXP_LNKCTL_LD;
  space.define(start + PciExpress.PCI_EXP_LNKCTL, 2, 0, linkControl);
  space.define(start + PciExpressPort.PCI_EXP_DEVCAP2, 4, PciExpressPort.PCI_EXP_DEVCAP2_ARI);
  space.define(start + PciExpressPort.PCI_EXP_DEVCTL2, 2, 0, PciExpressPort.PCI_EXP_DEVCTL2_ARI);
  const number = physicalSlotNumber << PciSlotCapability.PCI_EXP_SLTCAP_PSN_SHIFT;
  space.define(start + PciExpressPort.PCI_EXP_SLTCAP, 4, SLOT_CAPABILITIES | number);
  space.define(start + PciExpressPort.PCI_EXP_SLTCTL, 2, 0, SLTCTL_WRITABLE);
  space.define(start + PciExpressPort.PCI_EXP_SLTSTA, 2, 0, 0, SLOT_EVENTS);
}
