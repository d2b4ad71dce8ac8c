import { describe, expect, it } from 'vitest';
import { decodeConfig } from '../../../guest/blk/disk-info.js';

/** struct virtio_blk_config, written out field by field. */
const CONFIG = Uint8Array.from(
  [
    '00 00 10 00 01 00 00 00', // capacity: 2^32 + 2^20
    '00 10 00 00', // size_max: 4096
    'fe 00 00 00', // seg_max: 254
    '34 12 10 3f', // geometry: 4660 cylinders, 16 heads, 63 sectors
    '00 10 00 00', // blk_size: 4096
    '02 03 04 00 20 00 00 00', // topology: 2^2 blocks, 3 blocks off, 4 blocks at least, 32 at best
    '01 00', // writeback
    '08 00', // num_queues: 8
    '00 00 40 00 40 00 00 00 08 00 00 00', // discard: 2^22 sectors, 64 ranges, aligned to 8
    '00 00 02 00 10 00 00 00 01 00 00 00', // write zeroes: 2^17 sectors, 16 ranges, may unmap
    '00 08 00 00 01 00 00 00 80 00 00 00', // secure erase: 2048 sectors, 1 range, aligned to 128
  ]
    .join(' ')
    .split(' ')
    .map((byte) => parseInt(byte, 16)),
);
const byteAt = (offset: number) => CONFIG[offset] ?? 0;
const ALL = (1n << 17n) - 1n;

describe('the config space of a disk', () => {
  it('is decoded as the specification lays it out', () => {
    expect(CONFIG).toHaveLength(72);
    expect(decodeConfig(ALL, byteAt)).toEqual({
      sizeBytes: (2 ** 32 + 2 ** 20) * 512,
      readOnly: true,
      canFlush: true,
      writeBack: true,
      maxSegments: 254,
      maxSegmentBytes: 4096,
      geometry: { cylinders: 4660, heads: 16, sectors: 63 },
      logicalBlockBytes: 4096,
      physicalBlockBytes: 16384,
      alignmentOffsetBytes: 12288,
      minimumIoBytes: 16384,
      optimalIoBytes: 131072,
      queues: 8,
      discard: { maxSizeBytes: 2 ** 31, maxRanges: 64, alignmentBytes: 4096 },
      writeZeroes: { maxSizeBytes: 2 ** 26, maxRanges: 16, alignmentBytes: 0, mayUnmap: true },
      secureErase: { maxSizeBytes: 2 ** 20, maxRanges: 1, alignmentBytes: 65536 },
      hasLifetime: true,
    });
  });

  it('tells nothing but the size where no features were agreed on', () => {
    expect(decodeConfig(0n, byteAt)).toEqual({
      sizeBytes: (2 ** 32 + 2 ** 20) * 512,
      readOnly: false,
      canFlush: false,
      writeBack: false,
      maxSegments: Infinity,
      maxSegmentBytes: Infinity,
      geometry: undefined,
      logicalBlockBytes: 512,
      physicalBlockBytes: 512,
      alignmentOffsetBytes: 0,
      minimumIoBytes: 0,
      optimalIoBytes: 0,
      queues: 1,
      discard: undefined,
      writeZeroes: undefined,
      secureErase: undefined,
      hasLifetime: false,
    });
  });
});
