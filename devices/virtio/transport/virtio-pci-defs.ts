/** Virtio over PCI (virtio 1.3, sections 2.1 and 4.1), under the names of the specification and Linux's `virtio_pci.h`. */

export const VIRTIO_PCI_VENDOR_ID = 0x1af4;
/** A modern device's PCI device id is this plus its virtio device id. */
export const VIRTIO_PCI_MODERN_DEVICE_ID_BASE = 0x1040;

/**
 * PCI device ids of transitional and legacy functions, by virtio device id (section 4.1.2.1). Devices that came after the legacy
 * interface have none.
 */
export const VirtioPciTransitionalDeviceId: Readonly<Partial<Record<number, number>>> = {
  /** Network, block, traditional memory ballooning, console, SCSI host, entropy source, 9P transport. */
  1: 0x1000,
  2: 0x1001,
  5: 0x1002,
  3: 0x1003,
  8: 0x1004,
  4: 0x1005,
  9: 0x1009,
};

/** `device_status` bits (section 2.1). */
export const VirtioStatus = {
  VIRTIO_CONFIG_S_ACKNOWLEDGE: 1,
  VIRTIO_CONFIG_S_DRIVER: 2,
  VIRTIO_CONFIG_S_DRIVER_OK: 4,
  VIRTIO_CONFIG_S_FEATURES_OK: 8,
  VIRTIO_CONFIG_S_NEEDS_RESET: 64,
  VIRTIO_CONFIG_S_FAILED: 128,
} as const;

/** Structure types in `struct virtio_pci_cap` (section 4.1.4). */
export const VirtioPciCap = {
  VIRTIO_PCI_CAP_COMMON_CFG: 1,
  VIRTIO_PCI_CAP_NOTIFY_CFG: 2,
  VIRTIO_PCI_CAP_ISR_CFG: 3,
  VIRTIO_PCI_CAP_DEVICE_CFG: 4,
  VIRTIO_PCI_CAP_PCI_CFG: 5,
} as const;

/** Offsets in `struct virtio_pci_cap`, from the capability's start. `PCI_CFG_DATA` is of `struct virtio_pci_cfg_cap`. */
export const VirtioPciCapField = { BAR: 4, OFFSET: 8, LENGTH: 12, PCI_CFG_DATA: 16 } as const;

/** Offsets in `struct virtio_pci_common_cfg` (section 4.1.4.3). */
export const VirtioPciCommon = {
  VIRTIO_PCI_COMMON_DFSELECT: 0,
  VIRTIO_PCI_COMMON_DF: 4,
  VIRTIO_PCI_COMMON_GFSELECT: 8,
  VIRTIO_PCI_COMMON_GF: 12,
  VIRTIO_PCI_COMMON_MSIX: 16,
  VIRTIO_PCI_COMMON_NUMQ: 18,
  VIRTIO_PCI_COMMON_STATUS: 20,
  VIRTIO_PCI_COMMON_CFGGENERATION: 21,
  VIRTIO_PCI_COMMON_Q_SELECT: 22,
  VIRTIO_PCI_COMMON_Q_SIZE: 24,
  VIRTIO_PCI_COMMON_Q_MSIX: 26,
  VIRTIO_PCI_COMMON_Q_ENABLE: 28,
  VIRTIO_PCI_COMMON_Q_NOFF: 30,
  VIRTIO_PCI_COMMON_Q_DESCLO: 32,
  VIRTIO_PCI_COMMON_Q_DESCHI: 36,
  VIRTIO_PCI_COMMON_Q_AVAILLO: 40,
  VIRTIO_PCI_COMMON_Q_AVAILHI: 44,
  VIRTIO_PCI_COMMON_Q_USEDLO: 48,
  VIRTIO_PCI_COMMON_Q_USEDHI: 52,
  VIRTIO_PCI_COMMON_Q_NDATA: 56,
  VIRTIO_PCI_COMMON_Q_RESET: 58,
  VIRTIO_PCI_COMMON_ADM_Q_IDX: 60,
  VIRTIO_PCI_COMMON_ADM_Q_NUM: 62,
} as const;
export const VIRTIO_PCI_COMMON_CFG_BYTES = 64;

/** Offsets in the legacy interface's registers, in the I/O space of BAR 0 (section 4.1.4.10). */
export const VirtioPciLegacy = {
  VIRTIO_PCI_HOST_FEATURES: 0,
  VIRTIO_PCI_GUEST_FEATURES: 4,
  VIRTIO_PCI_QUEUE_PFN: 8,
  VIRTIO_PCI_QUEUE_NUM: 12,
  VIRTIO_PCI_QUEUE_SEL: 14,
  VIRTIO_PCI_QUEUE_NOTIFY: 16,
  VIRTIO_PCI_STATUS: 18,
  VIRTIO_PCI_ISR: 19,
  /** Only there while MSI-X is enabled. */
  VIRTIO_MSI_CONFIG_VECTOR: 20,
  VIRTIO_MSI_QUEUE_VECTOR: 22,
} as const;
/** Where the device's config space starts: it moves when the driver switches MSI-X on, and back when it switches it off. */
export const VirtioPciLegacyConfigOffset = { WITHOUT_MSIX: 20, WITH_MSIX: 24 } as const;
/** `VIRTIO_PCI_QUEUE_PFN` counts pages of this size, and the used ring starts on one (VIRTIO_PCI_VRING_ALIGN). */
export const VIRTIO_PCI_LEGACY_PAGE_BYTES = 4096;

/** ISR status bits (section 4.1.4.5). */
export const VirtioPciIsr = { QUEUE: 1, CONFIG: 2 } as const;
