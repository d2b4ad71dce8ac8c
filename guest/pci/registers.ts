/** PCI configuration space, as PCI Local Bus 3.0 (section 6) and PCI Express Base 6.0 (section 7.5) lay it out. */

/** Offsets in the type 0 header. */
export const PciRegister = {
  VENDOR_ID: 0x00,
  DEVICE_ID: 0x02,
  COMMAND: 0x04,
  STATUS: 0x06,
  REVISION_ID: 0x08,
  CLASS_CODE: 0x09,
  HEADER_TYPE: 0x0e,
  BASE_ADDRESS_0: 0x10,
  SUBSYSTEM_VENDOR_ID: 0x2c,
  SUBSYSTEM_ID: 0x2e,
  CAPABILITIES_POINTER: 0x34,
  INTERRUPT_PIN: 0x3d,
} as const;

export const PciCommand = {
  IO_SPACE: 1 << 0,
  MEMORY_SPACE: 1 << 1,
  BUS_MASTER: 1 << 2,
  INTX_DISABLE: 1 << 10,
} as const;

export const PciStatus = {
  INTERRUPT: 1 << 3,
  CAPABILITIES_LIST: 1 << 4,
} as const;

export const PciHeaderType = {
  LAYOUT_MASK: 0x7f,
  MULTI_FUNCTION: 0x80,
} as const;

/** Low bits of a base address register. */
export const PciBar = {
  IO_SPACE: 0x1,
  MEMORY_TYPE_MASK: 0x6,
  MEMORY_TYPE_64: 0x4,
  MEMORY_FLAGS_MASK: 0xf,
  IO_FLAGS_MASK: 0x3,
} as const;

export const PciCapabilityId = {
  VENDOR_SPECIFIC: 0x09,
  MSIX: 0x11,
} as const;

/** MSI-X capability and table (PCI Local Bus 3.0, section 6.8.2). */
export const Msix = {
  MESSAGE_CONTROL: 2,
  TABLE: 4,
  CONTROL_TABLE_SIZE_MASK: 0x7ff,
  CONTROL_FUNCTION_MASK: 1 << 14,
  CONTROL_ENABLE: 1 << 15,
  BIR_MASK: 0x7,
  ENTRY_SIZE: 16,
  ENTRY_ADDRESS_LOW: 0,
  ENTRY_ADDRESS_HIGH: 4,
  ENTRY_DATA: 8,
  ENTRY_VECTOR_CONTROL: 12,
  VECTOR_MASKED: 1,
} as const;

/** A read of a vendor id where no function is. */
export const VENDOR_ID_ABSENT = 0xffff;

export const DEVICES_PER_BUS = 32;
export const FUNCTIONS_PER_DEVICE = 8;
