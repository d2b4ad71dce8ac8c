/**
 * The vfio-user protocol's numbers, under the names of its specification (QEMU's docs/interop/vfio-user.rst) and, for what it
 * borrows from VFIO, of Linux's `<linux/vfio.h>`. Everything on the wire is in host order, which on every machine that
 * this runs on is little-endian; sizes are in bytes; message layouts stand above the code that reads or writes them.
 */

/** msg_id[2] command[2] msg_size[4] flags[4] errno[4]; msg_size counts the header. */
export const VFIO_USER_HEADER_BYTES = 16;

export const VfioUserCommand = {
  VFIO_USER_VERSION: 1,
  VFIO_USER_DMA_MAP: 2,
  VFIO_USER_DMA_UNMAP: 3,
  VFIO_USER_DEVICE_GET_INFO: 4,
  VFIO_USER_DEVICE_GET_REGION_INFO: 5,
  VFIO_USER_DEVICE_GET_REGION_IO_FDS: 6,
  VFIO_USER_DEVICE_GET_IRQ_INFO: 7,
  VFIO_USER_DEVICE_SET_IRQS: 8,
  VFIO_USER_REGION_READ: 9,
  VFIO_USER_REGION_WRITE: 10,
  VFIO_USER_DMA_READ: 11,
  VFIO_USER_DMA_WRITE: 12,
  VFIO_USER_DEVICE_RESET: 13,
  VFIO_USER_DIRTY_PAGES: 14,
  VFIO_USER_REGION_WRITE_MULTI: 15,
  VFIO_USER_DEVICE_FEATURE: 16,
  VFIO_USER_MIG_DATA_READ: 17,
  VFIO_USER_MIG_DATA_WRITE: 18,
} as const;

/** Bits of a header's flags. */
export const VfioUserFlag = {
  VFIO_USER_F_TYPE_MASK: 0xf,
  VFIO_USER_F_TYPE_COMMAND: 0x0,
  VFIO_USER_F_TYPE_REPLY: 0x1,
  VFIO_USER_F_NO_REPLY: 0x10,
  VFIO_USER_F_ERROR: 0x20,
} as const;

/**
 * The one version served. QEMU up to 11.1 proposes 0.0 and refuses a reply above it; no message that is served here
 * differs in the minors that others propose.
 */
export const VFIO_USER_MAJOR = 0;
export const VFIO_USER_MINOR = 0;

/** What this server takes, and says so in its capabilities. */
export const VfioUserLimit = {
  /** Largest `count` of one region access: the specification's default. */
  MAX_DATA_XFER_SIZE: 1024 * 1024,
  /** Descriptors in one message. */
  MAX_MSG_FDS: 16,
  /** DMA maps at once. */
  MAX_DMA_MAPS: 65535,
  /** Maps begin and end on pages of this size. */
  DMA_PAGE_SIZE: 4096,
  /** Of the JSON in a VERSION message, NUL included. */
  MAX_VERSION_DATA: 4096,
} as const;

/** Payload of a region access before its data: offset[8] region[4] count[4]. */
export const REGION_ACCESS_BYTES = 16;

/** The largest message: a region write of the largest count. */
export const MAX_MESSAGE_BYTES =
  VFIO_USER_HEADER_BYTES + REGION_ACCESS_BYTES + VfioUserLimit.MAX_DATA_XFER_SIZE;

export const VfioDeviceFlag = { VFIO_DEVICE_FLAGS_RESET: 1 << 0, VFIO_DEVICE_FLAGS_PCI: 1 << 1 } as const;

/** Region numbers of a PCI device; BAR n is region n. */
export const VfioPciRegion = {
  VFIO_PCI_BAR0_REGION_INDEX: 0,
  VFIO_PCI_BAR5_REGION_INDEX: 5,
  VFIO_PCI_ROM_REGION_INDEX: 6,
  VFIO_PCI_CONFIG_REGION_INDEX: 7,
  VFIO_PCI_VGA_REGION_INDEX: 8,
  VFIO_PCI_NUM_REGIONS: 9,
} as const;

export const VfioRegionInfoFlag = {
  VFIO_REGION_INFO_FLAG_READ: 1 << 0,
  VFIO_REGION_INFO_FLAG_WRITE: 1 << 1,
} as const;

/** Interrupt types of a PCI device. */
export const VfioPciIrq = {
  VFIO_PCI_INTX_IRQ_INDEX: 0,
  VFIO_PCI_MSI_IRQ_INDEX: 1,
  VFIO_PCI_MSIX_IRQ_INDEX: 2,
  VFIO_PCI_ERR_IRQ_INDEX: 3,
  VFIO_PCI_REQ_IRQ_INDEX: 4,
  VFIO_PCI_NUM_IRQS: 5,
} as const;

export const VfioIrqInfoFlag = {
  VFIO_IRQ_INFO_EVENTFD: 1 << 0,
  VFIO_IRQ_INFO_MASKABLE: 1 << 1,
  VFIO_IRQ_INFO_AUTOMASKED: 1 << 2,
  VFIO_IRQ_INFO_NORESIZE: 1 << 3,
} as const;

/** Flags of SET_IRQS: one of the first three with one of the last three. */
export const VfioIrqSetFlag = {
  VFIO_IRQ_SET_DATA_NONE: 1 << 0,
  VFIO_IRQ_SET_DATA_BOOL: 1 << 1,
  VFIO_IRQ_SET_DATA_EVENTFD: 1 << 2,
  VFIO_IRQ_SET_ACTION_MASK: 1 << 3,
  VFIO_IRQ_SET_ACTION_UNMASK: 1 << 4,
  VFIO_IRQ_SET_ACTION_TRIGGER: 1 << 5,
} as const;

export const VfioDmaMapFlag = { VFIO_DMA_MAP_FLAG_READ: 1 << 0, VFIO_DMA_MAP_FLAG_WRITE: 1 << 1 } as const;

export const VfioDmaUnmapFlag = {
  VFIO_DMA_UNMAP_FLAG_GET_DIRTY_BITMAP: 1 << 0,
  VFIO_DMA_UNMAP_FLAG_ALL: 1 << 1,
} as const;
