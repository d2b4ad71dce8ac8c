/** Virtio over PCI and its rings, as virtio 1.3 lays them out (sections 2.1, 2.7, 2.8, 4.1, 6). */

export const VIRTIO_PCI_VENDOR_ID = 0x1af4;
/** A modern device's PCI device id is this plus its virtio device id (4.1.2.1). */
export const VIRTIO_PCI_DEVICE_ID_BASE = 0x1040;
export const VIRTIO_PCI_DEVICE_ID_LAST = 0x107f;
/** A legacy or transitional device's is one from here up to the modern ones, and its subsystem id is the virtio device id. */
export const VIRTIO_PCI_TRANSITIONAL_ID_BASE = 0x1000;

/** Device status bits (2.1). */
export const DeviceStatus = {
  ACKNOWLEDGE: 1,
  DRIVER: 2,
  DRIVER_OK: 4,
  FEATURES_OK: 8,
  DEVICE_NEEDS_RESET: 64,
  FAILED: 128,
} as const;

/** Feature bits that this driver knows what to do with (6), as masks. */
export const Feature = {
  /** Of the legacy interface alone. */
  VIRTIO_F_ANY_LAYOUT: 1n << 27n,
  VIRTIO_F_INDIRECT_DESC: 1n << 28n,
  VIRTIO_F_EVENT_IDX: 1n << 29n,
  VIRTIO_F_VERSION_1: 1n << 32n,
  VIRTIO_F_ACCESS_PLATFORM: 1n << 33n,
  VIRTIO_F_RING_PACKED: 1n << 34n,
  VIRTIO_F_IN_ORDER: 1n << 35n,
  VIRTIO_F_NOTIFICATION_DATA: 1n << 38n,
  VIRTIO_F_NOTIF_CONFIG_DATA: 1n << 39n,
  VIRTIO_F_RING_RESET: 1n << 40n,
} as const;

/** virtio_pci_cap (4.1.4): where in config space its fields lie, and which structure it points at. */
export const VirtioPciCap = {
  CFG_TYPE: 3,
  BAR: 4,
  OFFSET: 8,
  LENGTH: 12,
  NOTIFY_OFF_MULTIPLIER: 16,
  PCI_CFG_DATA: 16,
} as const;

export const VirtioPciCapType = {
  VIRTIO_PCI_CAP_COMMON_CFG: 1,
  VIRTIO_PCI_CAP_NOTIFY_CFG: 2,
  VIRTIO_PCI_CAP_ISR_CFG: 3,
  VIRTIO_PCI_CAP_DEVICE_CFG: 4,
  VIRTIO_PCI_CAP_PCI_CFG: 5,
} as const;

/** virtio_pci_common_cfg (4.1.4.3). */
export const CommonConfig = {
  DEVICE_FEATURE_SELECT: 0,
  DEVICE_FEATURE: 4,
  DRIVER_FEATURE_SELECT: 8,
  DRIVER_FEATURE: 12,
  CONFIG_MSIX_VECTOR: 16,
  NUM_QUEUES: 18,
  DEVICE_STATUS: 20,
  CONFIG_GENERATION: 21,
  QUEUE_SELECT: 22,
  QUEUE_SIZE: 24,
  QUEUE_MSIX_VECTOR: 26,
  QUEUE_ENABLE: 28,
  QUEUE_NOTIFY_OFF: 30,
  QUEUE_DESC: 32,
  QUEUE_DRIVER: 40,
  QUEUE_DEVICE: 48,
  /** Up to and without the fields that only newer devices have. */
  MIN_LENGTH: 56,
  QUEUE_NOTIF_CONFIG_DATA: 56,
  QUEUE_RESET: 58,
  /** Up to and with those two. */
  LENGTH_WITH_QUEUE_RESET: 60,
} as const;

/** The legacy registers, in the I/O space of BAR 0 (4.1.4.10). */
export const LegacyRegister = {
  DEVICE_FEATURES: 0,
  DRIVER_FEATURES: 4,
  QUEUE_ADDRESS: 8,
  QUEUE_SIZE: 12,
  QUEUE_SELECT: 14,
  QUEUE_NOTIFY: 16,
  DEVICE_STATUS: 18,
  ISR_STATUS: 19,
  /** From here on only while MSI-X is enabled: the device's config space makes room for them. */
  CONFIG_MSIX_VECTOR: 20,
  QUEUE_MSIX_VECTOR: 22,
  CONFIG: 20,
  CONFIG_WITH_MSIX: 24,
} as const;
export const LEGACY_BAR = 0;
/** Queue addresses count pages of this size, and a used ring starts on one (2.7.2, 4.1.5.1.3.1). */
export const LEGACY_QUEUE_ALIGN = 4096;

export const VIRTIO_MSI_NO_VECTOR = 0xffff;

/** ISR status bits (4.1.4.5); reading clears them and lowers the pin. */
export const IsrStatus = {
  QUEUE: 1,
  CONFIG: 2,
} as const;

/** Descriptor flags (2.7.5; 2.8 for those that only a packed ring has). */
export const VirtqDescFlag = {
  VIRTQ_DESC_F_NEXT: 1,
  VIRTQ_DESC_F_WRITE: 2,
  VIRTQ_DESC_F_INDIRECT: 4,
  VIRTQ_DESC_F_AVAIL: 0x80,
  VIRTQ_DESC_F_USED: 0x8000,
} as const;

/** Sizes and offsets of the split ring's parts, in bytes (2.7). */
export const SplitRing = {
  DESC_SIZE: 16,
  DESC_FLAGS: 12,
  DESC_NEXT: 14,
  AVAIL_FLAGS: 0,
  AVAIL_IDX: 2,
  AVAIL_RING: 4,
  USED_FLAGS: 0,
  USED_IDX: 2,
  USED_RING: 4,
  USED_ELEM_SIZE: 8,
} as const;

export const VIRTQ_AVAIL_F_NO_INTERRUPT = 1;
export const VIRTQ_USED_F_NO_NOTIFY = 1;

/** A packed ring's descriptors and event suppression structures, in bytes (2.8.13, 2.8.14). */
export const PackedRing = {
  DESC_SIZE: 16,
  DESC_LENGTH: 8,
  DESC_ID: 12,
  DESC_FLAGS: 14,
  EVENT_SIZE: 4,
  EVENT_OFF_WRAP: 0,
  EVENT_FLAGS: 2,
} as const;

export const RingEventFlags = {
  RING_EVENT_FLAGS_ENABLE: 0,
  RING_EVENT_FLAGS_DISABLE: 1,
  RING_EVENT_FLAGS_DESC: 2,
} as const;
