/**
 * What bridges and hot-plug slots add to configuration space, under the names of Linux's `pci_regs.h` (PCI Express Base 5.0,
 * sections 7.5.1.3, 7.5.3, 7.7.1 and 7.8.8).
 */

/** Offsets in a type 1 header. */
export const PciBridgeConfig = {
  PCI_PRIMARY_BUS: 0x18,
  PCI_SECONDARY_BUS: 0x19,
  PCI_SUBORDINATE_BUS: 0x1a,
  PCI_IO_BASE: 0x1c,
  PCI_IO_LIMIT: 0x1d,
  PCI_SEC_STATUS: 0x1e,
  PCI_MEMORY_BASE: 0x20,
  PCI_MEMORY_LIMIT: 0x22,
  PCI_PREF_MEMORY_BASE: 0x24,
  PCI_PREF_MEMORY_LIMIT: 0x26,
  PCI_PREF_BASE_UPPER32: 0x28,
  PCI_PREF_LIMIT_UPPER32: 0x2c,
  PCI_IO_BASE_UPPER16: 0x30,
  PCI_IO_LIMIT_UPPER16: 0x32,
  PCI_BRIDGE_CONTROL: 0x3e,
} as const;

/** The header type register, which says how the header is laid out. */
export const PciHeaderType = { PCI_HEADER_TYPE_BRIDGE: 0x01, PCI_HEADER_TYPE_MFD: 0x80 } as const;

/** The low bits of window registers: how wide the window's addresses are. */
export const PciRangeType = { PCI_IO_RANGE_TYPE_32: 0x01, PCI_PREF_RANGE_TYPE_64: 0x01 } as const;

export const PciBridgeControl = {
  PCI_BRIDGE_CTL_PARITY: 0x01,
  PCI_BRIDGE_CTL_SERR: 0x02,
  PCI_BRIDGE_CTL_BUS_RESET: 0x40,
} as const;

/** MSI capability with 64-bit addresses: offsets from its start, and bits of its control register. */
export const PciMsi = {
  PCI_CAP_ID_MSI: 0x05,
  PCI_MSI_FLAGS: 0x02,
  PCI_MSI_ADDRESS_LO: 0x04,
  PCI_MSI_ADDRESS_HI: 0x08,
  PCI_MSI_DATA_64: 0x0c,
  PCI_CAP_MSI_64_SIZEOF: 14,
  PCI_MSI_FLAGS_ENABLE: 0x0001,
  PCI_MSI_FLAGS_64BIT: 0x0080,
} as const;

/** PCI Express capability of a port: offsets from its start beyond those that endpoints have, and bits. */
export const PciExpressPort = {
  PCI_EXP_SLTCAP: 0x14,
  PCI_EXP_SLTCTL: 0x18,
  PCI_EXP_SLTSTA: 0x1a,
  PCI_EXP_RTCTL: 0x1c,
  PCI_EXP_DEVCAP2: 0x24,
  PCI_EXP_DEVCTL2: 0x28,
  PCI_EXP_LNKCAP2: 0x2c,
  PCI_EXP_LNKCTL2: 0x30,
  PCI_EXP_FLAGS_SLOT: 0x0100,
  PCI_EXP_LNKCAP_DLLLARC: 0x0010_0000,
  PCI_EXP_LNKCAP2_SLS_2_5GB: 0x02,
  PCI_EXP_LNKCTL_LD: 0x0010,
  PCI_EXP_LNKSTA_DLLLA: 0x2000,
  PCI_EXP_DEVCAP2_ARI: 0x20,
  PCI_EXP_DEVCTL2_ARI: 0x20,
} as const;

/** Device/port types in the PCI Express capability. */
export const PciExpressType = {
  PCI_EXP_TYPE_ROOT_PORT: 0x4,
  PCI_EXP_TYPE_UPSTREAM: 0x5,
  PCI_EXP_TYPE_DOWNSTREAM: 0x6,
} as const;

/** Slot capabilities: what the slot has. MRL sensor and electromechanical interlock are absent. */
export const PciSlotCapability = {
  PCI_EXP_SLTCAP_ABP: 0x01,
  PCI_EXP_SLTCAP_PCP: 0x02,
  PCI_EXP_SLTCAP_AIP: 0x08,
  PCI_EXP_SLTCAP_PIP: 0x10,
  PCI_EXP_SLTCAP_HPS: 0x20,
  PCI_EXP_SLTCAP_HPC: 0x40,
  /** Bits 31:19 hold the physical slot number. */
  PCI_EXP_SLTCAP_PSN_SHIFT: 19,
  PCI_EXP_SLTCAP_PSN_MAX: 0x1fff,
} as const;

export const PciSlotControl = {
  PCI_EXP_SLTCTL_ABPE: 0x0001,
  PCI_EXP_SLTCTL_PFDE: 0x0002,
  PCI_EXP_SLTCTL_PDCE: 0x0008,
  PCI_EXP_SLTCTL_CCIE: 0x0010,
  PCI_EXP_SLTCTL_HPIE: 0x0020,
  PCI_EXP_SLTCTL_AIC: 0x00c0,
  PCI_EXP_SLTCTL_ATTN_IND_ON: 0x0040,
  PCI_EXP_SLTCTL_ATTN_IND_BLINK: 0x0080,
  PCI_EXP_SLTCTL_ATTN_IND_OFF: 0x00c0,
  PCI_EXP_SLTCTL_PIC: 0x0300,
  PCI_EXP_SLTCTL_PWR_IND_ON: 0x0100,
  PCI_EXP_SLTCTL_PWR_IND_BLINK: 0x0200,
  PCI_EXP_SLTCTL_PWR_IND_OFF: 0x0300,
  /** Set: the slot's power is off. */
  PCI_EXP_SLTCTL_PCC: 0x0400,
  PCI_EXP_SLTCTL_DLLSCE: 0x1000,
} as const;

export const PciSlotStatus = {
  PCI_EXP_SLTSTA_ABP: 0x0001,
  PCI_EXP_SLTSTA_PFD: 0x0002,
  PCI_EXP_SLTSTA_PDC: 0x0008,
  PCI_EXP_SLTSTA_CC: 0x0010,
  PCI_EXP_SLTSTA_PDS: 0x0040,
  PCI_EXP_SLTSTA_DLLSC: 0x0100,
} as const;

/** ARI extended capability: offsets from its start. */
export const PciAri = {
  PCI_EXT_CAP_ID_ARI: 0x0e,
  PCI_ARI_CAP: 0x04,
  PCI_EXT_CAP_ARI_SIZEOF: 8,
} as const;

/** Where the list of extended capabilities starts. */
export const PCI_EXT_CAP_BASE = 0x100;

/** Numbers of a segment: 256 buses, and 256 devices-and-functions (`devfn`: device × 8 + function) on each. */
export const BUSES = 256;
export const DEVICES = 32;
export const FUNCTIONS = 8;
export const DEVFNS = 256;
