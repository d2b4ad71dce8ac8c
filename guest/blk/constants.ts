/** The block device as virtio 1.3 lays it out (section 5.2). */

export const VIRTIO_ID_BLOCK = 2;

/** Sector numbers and lengths of requests count in these, whatever the disk's own blocks are. */
export const SECTOR_SIZE = 512;

/** Feature bits that this driver knows what to do with, as masks. */
export const BlkFeature = {
  VIRTIO_BLK_F_SIZE_MAX: 1n << 1n,
  VIRTIO_BLK_F_SEG_MAX: 1n << 2n,
  VIRTIO_BLK_F_GEOMETRY: 1n << 4n,
  VIRTIO_BLK_F_RO: 1n << 5n,
  VIRTIO_BLK_F_BLK_SIZE: 1n << 6n,
  VIRTIO_BLK_F_FLUSH: 1n << 9n,
  VIRTIO_BLK_F_TOPOLOGY: 1n << 10n,
  VIRTIO_BLK_F_CONFIG_WCE: 1n << 11n,
  VIRTIO_BLK_F_MQ: 1n << 12n,
  VIRTIO_BLK_F_DISCARD: 1n << 13n,
  VIRTIO_BLK_F_WRITE_ZEROES: 1n << 14n,
  VIRTIO_BLK_F_LIFETIME: 1n << 15n,
  VIRTIO_BLK_F_SECURE_ERASE: 1n << 16n,
} as const;

export const RequestType = {
  VIRTIO_BLK_T_IN: 0,
  VIRTIO_BLK_T_OUT: 1,
  VIRTIO_BLK_T_FLUSH: 4,
  VIRTIO_BLK_T_GET_ID: 8,
  VIRTIO_BLK_T_GET_LIFETIME: 10,
  VIRTIO_BLK_T_DISCARD: 11,
  VIRTIO_BLK_T_WRITE_ZEROES: 13,
  VIRTIO_BLK_T_SECURE_ERASE: 14,
} as const;
export type RequestType = (typeof RequestType)[keyof typeof RequestType];

export const RequestStatus = {
  VIRTIO_BLK_S_OK: 0,
  VIRTIO_BLK_S_IOERR: 1,
  VIRTIO_BLK_S_UNSUPP: 2,
} as const;

/** le32 type; le32 reserved; le64 sector. */
export const HEADER_SIZE = 16;
/** le64 sector; le32 num_sectors; le32 flags. */
export const RANGE_SIZE = 16;
export const RANGE_UNMAP = 1;
export const ID_SIZE = 20;
/** le16 pre_eol_info; le16 device_lifetime_est_typ_a; le16 device_lifetime_est_typ_b. */
export const LIFETIME_SIZE = 6;

/** Where the cache mode is in the config space: one byte, 0 for write-through and 1 for write-back. */
export const CONFIG_WRITEBACK = 32;
