/** Virtio over PCI (virtio 1.3, sections 2.1 and 4.1), under the names of the specification and Linux's `virtio_pci.h`. */

export const VIRTIO_PCI_VENDOR_ID = 0x1af4;
/** A modern device's PCI device id is this plus its virtio device id. */
export const VIRTIO_PCI_MODERN_DEVICE_ID_BASE = 0x1040;

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

/** ISR status bits (section 4.1.4.5). */
export const VirtioPciIsr = { QUEUE: 1, CONFIG: 2 } as const;
