/**
 * Offsets and bits of PCI configuration space, under the names of Linux's `pci_regs.h` (PCI Local Bus 3.0 chapter 6, PCI Express
 * Base 5.0 chapter 7).
 */

/** Offsets in a type 0 header. */
export const PciConfig = {
  PCI_VENDOR_ID: 0x00,
  PCI_DEVICE_ID: 0x02,
  PCI_COMMAND: 0x04,
  PCI_STATUS: 0x06,
  PCI_REVISION_ID: 0x08,
  PCI_CACHE_LINE_SIZE: 0x0c,
  PCI_HEADER_TYPE: 0x0e,
  PCI_BASE_ADDRESS_0: 0x10,
  PCI_SUBSYSTEM_VENDOR_ID: 0x2c,
  PCI_SUBSYSTEM_ID: 0x2e,
  PCI_CAPABILITY_LIST: 0x34,
  PCI_INTERRUPT_LINE: 0x3c,
  PCI_INTERRUPT_PIN: 0x3d,
  /** The first byte after the header: where capabilities may lie. */
  PCI_STD_HEADER_SIZEOF: 0x40,
} as const;

/** Sizes of configuration space. */
export const PciConfigSize = { PCI_CFG_SPACE_SIZE: 256, PCI_CFG_SPACE_EXP_SIZE: 4096 } as const;

export const PciCommand = {
  PCI_COMMAND_IO: 0x1,
  PCI_COMMAND_MEMORY: 0x2,
  PCI_COMMAND_MASTER: 0x4,
  PCI_COMMAND_PARITY: 0x40,
  PCI_COMMAND_SERR: 0x100,
  PCI_COMMAND_INTX_DISABLE: 0x400,
} as const;

export const PciStatus = {
  PCI_STATUS_INTERRUPT: 0x08,
  PCI_STATUS_CAP_LIST: 0x10,
  /** Error bits: cleared by writing 1. */
  PCI_STATUS_ERROR_BITS: 0xf900,
} as const;

/** The low bits of a base address register. */
export const PciBaseAddress = {
  PCI_BASE_ADDRESS_SPACE_IO: 0x1,
  PCI_BASE_ADDRESS_MEM_TYPE_64: 0x4,
  PCI_BASE_ADDRESS_MEM_PREFETCH: 0x8,
} as const;

export const PciCapabilityId = {
  PCI_CAP_ID_VNDR: 0x09,
  PCI_CAP_ID_EXP: 0x10,
  PCI_CAP_ID_MSIX: 0x11,
} as const;

/** MSI-X capability: offsets from its start, and bits of its control register. */
export const PciMsix = {
  PCI_MSIX_FLAGS: 2,
  PCI_MSIX_TABLE: 4,
  PCI_MSIX_PBA: 8,
  PCI_CAP_MSIX_SIZEOF: 12,
  PCI_MSIX_FLAGS_MASKALL: 0x4000,
  PCI_MSIX_FLAGS_ENABLE: 0x8000,
} as const;

/** PCI Express capability: offsets from its start, and bits of its registers. */
export const PciExpress = {
  PCI_EXP_FLAGS: 0x02,
  PCI_EXP_DEVCAP: 0x04,
  PCI_EXP_DEVCTL: 0x08,
  PCI_EXP_DEVSTA: 0x0a,
  PCI_EXP_LNKCAP: 0x0c,
  PCI_EXP_LNKCTL: 0x10,
  PCI_EXP_LNKSTA: 0x12,
  /** Size of a version 2 capability. */
  PCI_CAP_EXP_ENDPOINT_SIZEOF_V2: 0x3c,
  PCI_EXP_FLAGS_VERSION_2: 0x2,
  PCI_EXP_TYPE_ENDPOINT: 0x0,
  /** An endpoint that has I/O BARs. */
  PCI_EXP_TYPE_LEG_END: 0x1,
  PCI_EXP_DEVCAP_RBER: 0x8000,
  PCI_EXP_DEVCAP_FLR: 0x10000000,
  PCI_EXP_DEVCTL_BCR_FLR: 0x8000,
  /** Correctable, non-fatal, fatal error and unsupported request detected: cleared by writing 1. */
  PCI_EXP_DEVSTA_ERROR_BITS: 0x000f,
} as const;
