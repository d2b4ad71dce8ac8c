/** The block device's numbers (virtio 1.3, section 5.2), with the specification's names. */

/** The unit of sector numbers and of lengths in the protocol, whatever the disk's blocks are. */
export const SECTOR_BYTES = 512;

/** Feature bits (5.2.3). Not offered: 0 and 7, which only legacy devices had (BARRIER, SCSI), and 17 (ZONED), which no disk here is. */
export const VirtioBlkFeature = {
  VIRTIO_BLK_F_SIZE_MAX: 1,
  VIRTIO_BLK_F_SEG_MAX: 2,
  VIRTIO_BLK_F_GEOMETRY: 4,
  VIRTIO_BLK_F_RO: 5,
  VIRTIO_BLK_F_BLK_SIZE: 6,
  VIRTIO_BLK_F_FLUSH: 9,
  VIRTIO_BLK_F_TOPOLOGY: 10,
  VIRTIO_BLK_F_CONFIG_WCE: 11,
  VIRTIO_BLK_F_MQ: 12,
  VIRTIO_BLK_F_DISCARD: 13,
  VIRTIO_BLK_F_WRITE_ZEROES: 14,
  VIRTIO_BLK_F_LIFETIME: 15,
  VIRTIO_BLK_F_SECURE_ERASE: 16,
} as const;

/** Request types (5.2.6). */
export const VirtioBlkType = {
  VIRTIO_BLK_T_IN: 0,
  VIRTIO_BLK_T_OUT: 1,
  VIRTIO_BLK_T_FLUSH: 4,
  /** Legacy: the same as FLUSH. */
  VIRTIO_BLK_T_FLUSH_OUT: 5,
  VIRTIO_BLK_T_GET_ID: 8,
  VIRTIO_BLK_T_GET_LIFETIME: 10,
  VIRTIO_BLK_T_DISCARD: 11,
  VIRTIO_BLK_T_WRITE_ZEROES: 13,
  VIRTIO_BLK_T_SECURE_ERASE: 14,
} as const;

/** The status byte that ends a request (5.2.6). */
export const VirtioBlkStatus = {
  VIRTIO_BLK_S_OK: 0,
  VIRTIO_BLK_S_IOERR: 1,
  VIRTIO_BLK_S_UNSUPP: 2,
} as const;

/** Offsets in struct virtio_blk_req: le32 type, le32 reserved, le64 sector; the data follows. */
export const RequestHeader = { TYPE: 0, SECTOR: 8, SECTOR_HIGH: 12, BYTES: 16 } as const;

/** Offsets in struct virtio_blk_discard_write_zeroes: le64 sector, le32 num_sectors, le32 flags. */
export const RangeSegment = { SECTOR: 0, SECTOR_HIGH: 4, NUM_SECTORS: 8, FLAGS: 12, BYTES: 16 } as const;

/** The only flag of a range: zeroes may be made by giving the space back. */
export const RANGE_FLAG_UNMAP = 1;

/** Length of the id that VIRTIO_BLK_T_GET_ID answers: padded with NUL, and not terminated where it is full. */
export const VIRTIO_BLK_ID_BYTES = 20;

/** Offsets in struct virtio_blk_lifetime, of le16 each. */
export const LifetimeField = { PRE_EOL_INFO: 0, EST_TYP_A: 2, EST_TYP_B: 4, BYTES: 6 } as const;

/** Offsets in struct virtio_blk_config (5.2.4), without the characteristics of zoned devices at its end. */
export const ConfigField = {
  CAPACITY: 0,
  SIZE_MAX: 8,
  SEG_MAX: 12,
  CYLINDERS: 16,
  HEADS: 18,
  SECTORS: 19,
  BLK_SIZE: 20,
  PHYSICAL_BLOCK_EXP: 24,
  ALIGNMENT_OFFSET: 25,
  MIN_IO_SIZE: 26,
  OPT_IO_SIZE: 28,
  WRITEBACK: 32,
  NUM_QUEUES: 34,
  MAX_DISCARD_SECTORS: 36,
  MAX_DISCARD_SEG: 40,
  DISCARD_SECTOR_ALIGNMENT: 44,
  MAX_WRITE_ZEROES_SECTORS: 48,
  MAX_WRITE_ZEROES_SEG: 52,
  WRITE_ZEROES_MAY_UNMAP: 56,
  MAX_SECURE_ERASE_SECTORS: 60,
  MAX_SECURE_ERASE_SEG: 64,
  SECURE_ERASE_SECTOR_ALIGNMENT: 68,
  BYTES: 72,
} as const;
