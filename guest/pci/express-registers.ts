/**
 * Registers of bridges and of PCI Express ports, as PCI Express Base 5.0 lays them out (sections 7.5.1.3, 7.5.3, 7.7.1 and 7.8.8).
 * Of the guest's own, so that a register which the machine has wrong is seen.
 */

/** Offsets in the type 1 header. */
export const BridgeRegister = {
  PRIMARY_BUS: 0x18,
  SECONDARY_BUS: 0x19,
  SUBORDINATE_BUS: 0x1a,
  IO_BASE: 0x1c,
  IO_LIMIT: 0x1d,
  MEMORY_BASE: 0x20,
  MEMORY_LIMIT: 0x22,
  PREFETCHABLE_BASE: 0x24,
  PREFETCHABLE_LIMIT: 0x26,
  PREFETCHABLE_BASE_UPPER: 0x28,
  PREFETCHABLE_LIMIT_UPPER: 0x2c,
  IO_BASE_UPPER: 0x30,
  IO_LIMIT_UPPER: 0x32,
} as const;

/** Low bits of window base registers. */
export const WindowType = { MASK: 0xf, IO_32_BIT: 0x1, PREFETCHABLE_64_BIT: 0x1 } as const;

/** Header layouts, in the low bits of the header type. */
export const HeaderLayout = { ENDPOINT: 0, BRIDGE: 1 } as const;

export const CapabilityId = { MSI: 0x05, EXPRESS: 0x10 } as const;
export const ExtendedCapabilityId = { ARI: 0x000e } as const;

/** The alternative routing-ID capability: the number of the next function is in bits 15:8. */
export const AriRegister = { CAPABILITY: 4 } as const;

/** MSI capability with 64-bit addresses. */
export const MsiRegister = {
  MESSAGE_CONTROL: 2,
  ADDRESS_LOW: 4,
  ADDRESS_HIGH: 8,
  /** Where the data is if addresses have 32 bits. */
  DATA_32: 8,
  DATA_64: 12,
  CONTROL_ENABLE: 1 << 0,
  CONTROL_64_BIT: 1 << 7,
} as const;

/** Offsets in the PCI Express capability. */
export const ExpressRegister = {
  CAPABILITIES: 0x02,
  LINK_STATUS: 0x12,
  SLOT_CAPABILITIES: 0x14,
  SLOT_CONTROL: 0x18,
  SLOT_STATUS: 0x1a,
  DEVICE_CAPABILITIES_2: 0x24,
  DEVICE_CONTROL_2: 0x28,
} as const;

/** PCI Express capabilities register: bits 7:4 are the port's type. */
export const PortType = { ROOT_PORT: 4, UPSTREAM: 5, DOWNSTREAM: 6 } as const;
export const SLOT_IMPLEMENTED = 1 << 8;
export const LINK_ACTIVE = 1 << 13;
/** Same bit in device capabilities 2 and device control 2. */
export const ARI_FORWARDING = 1 << 5;

export const SlotCapability = {
  ATTENTION_BUTTON: 1 << 0,
  POWER_CONTROLLER: 1 << 1,
  HOT_PLUG: 1 << 6,
  NO_COMMAND_COMPLETED: 1 << 18,
  NUMBER_SHIFT: 19,
} as const;

export const SlotControl = {
  ATTENTION_BUTTON_ENABLE: 1 << 0,
  POWER_FAULT_ENABLE: 1 << 1,
  PRESENCE_ENABLE: 1 << 3,
  COMMAND_COMPLETED_ENABLE: 1 << 4,
  INTERRUPT_ENABLE: 1 << 5,
  ATTENTION_INDICATOR: 3 << 6,
  ATTENTION_ON: 1 << 6,
  ATTENTION_OFF: 3 << 6,
  POWER_INDICATOR: 3 << 8,
  POWER_ON: 1 << 8,
  POWER_BLINK: 2 << 8,
  POWER_OFF: 3 << 8,
  POWER_CONTROLLER_OFF: 1 << 10,
  LINK_ENABLE: 1 << 12,
} as const;

export const SlotStatus = {
  ATTENTION_BUTTON: 1 << 0,
  POWER_FAULT: 1 << 1,
  PRESENCE_CHANGED: 1 << 3,
  COMMAND_COMPLETED: 1 << 4,
  PRESENT: 1 << 6,
  LINK_CHANGED: 1 << 8,
} as const;
