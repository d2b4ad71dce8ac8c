import { BlkFeature, SECTOR_SIZE } from './constants.js';

/** Limits of discards, write-zeroes and secure erases. */
export interface RangeInfo {
  /** Longest range in bytes. */
  readonly maxSizeBytes: number;
  /** Most ranges in one request. */
  readonly maxRanges: number;
  /** What ranges should start at multiples of, in bytes; 0 where the disk does not say. */
  readonly alignmentBytes: number;
}

/** What a disk says about itself, as far as its features were agreed on. */
export interface DiskInfo {
  readonly sizeBytes: number;
  readonly readOnly: boolean;
  /** Whether the disk has a flush. */
  readonly canFlush: boolean;
  /** True where writes are on the medium only after a flush. */
  readonly writeBack: boolean;
  /** Largest number and size of a request's buffers; Infinity where the disk sets no limit. */
  readonly maxSegments: number;
  readonly maxSegmentBytes: number;
  readonly geometry:
    { readonly cylinders: number; readonly heads: number; readonly sectors: number } | undefined;
  /** The blocks that the disk addresses and writes, in bytes. */
  readonly logicalBlockBytes: number;
  readonly physicalBlockBytes: number;
  /** Where the first physical block starts, and sizes of requests that suit the disk, in bytes; 0 where it does not say. */
  readonly alignmentOffsetBytes: number;
  readonly minimumIoBytes: number;
  readonly optimalIoBytes: number;
  readonly queues: number;
  readonly discard: RangeInfo | undefined;
  readonly writeZeroes: (RangeInfo & { readonly mayUnmap: boolean }) | undefined;
  readonly secureErase: RangeInfo | undefined;
  readonly hasLifetime: boolean;
}

/** Decodes struct virtio_blk_config. Fields whose feature was not agreed on are not looked at. */
export function decodeConfig(features: bigint, byteAt: (offset: number) => number): DiskInfo {
  const u16 = (at: number) => byteAt(at) | (byteAt(at + 1) << 8);
  const u32 = (at: number) => u16(at) + u16(at + 2) * 0x1_0000;
  const has = (feature: bigint) => (features & feature) !== 0n;
  const block = has(BlkFeature.VIRTIO_BLK_F_BLK_SIZE) ? u32(20) : SECTOR_SIZE;
  const topology = has(BlkFeature.VIRTIO_BLK_F_TOPOLOGY);
  const ranges = (at: number, alignmentBytes: number): RangeInfo => ({
    maxSizeBytes: u32(at) * SECTOR_SIZE,
    maxRanges: u32(at + 4),
    alignmentBytes,
  });
  const alignedRanges = (at: number) => ranges(at, u32(at + 8) * SECTOR_SIZE);
  const canFlush = has(BlkFeature.VIRTIO_BLK_F_FLUSH);
  return {
    sizeBytes: (u32(4) * 2 ** 32 + u32(0)) * SECTOR_SIZE,
    readOnly: has(BlkFeature.VIRTIO_BLK_F_RO),
    canFlush,
    writeBack: has(BlkFeature.VIRTIO_BLK_F_CONFIG_WCE) ? byteAt(32) === 1 : canFlush,
    maxSegments: has(BlkFeature.VIRTIO_BLK_F_SEG_MAX) ? u32(12) : Infinity,
    maxSegmentBytes: has(BlkFeature.VIRTIO_BLK_F_SIZE_MAX) ? u32(8) : Infinity,
    geometry: has(BlkFeature.VIRTIO_BLK_F_GEOMETRY)
      ? { cylinders: u16(16), heads: byteAt(18), sectors: byteAt(19) }
      : undefined,
    logicalBlockBytes: block,
    physicalBlockBytes: topology ? block * 2 ** byteAt(24) : block,
    alignmentOffsetBytes: topology ? byteAt(25) * block : 0,
    minimumIoBytes: topology ? u16(26) * block : 0,
    optimalIoBytes: topology ? u32(28) * block : 0,
    queues: has(BlkFeature.VIRTIO_BLK_F_MQ) ? u16(34) : 1,
    discard: has(BlkFeature.VIRTIO_BLK_F_DISCARD) ? alignedRanges(36) : undefined,
    writeZeroes: has(BlkFeature.VIRTIO_BLK_F_WRITE_ZEROES)
      ? { ...ranges(48, 0), mayUnmap: byteAt(56) === 1 }
      : undefined,
    secureErase: has(BlkFeature.VIRTIO_BLK_F_SECURE_ERASE) ? alignedRanges(60) : undefined,
    hasLifetime: has(BlkFeature.VIRTIO_BLK_F_LIFETIME),
  };
}
