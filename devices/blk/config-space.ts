/** struct virtio_blk_config (virtio 1.3, section 5.2.4): what a disk tells its driver. */
import type { BlockLimits, RangeLimits } from './backends/block-backend.js';
import { ConfigField, SECTOR_BYTES, VirtioBlkFeature } from './protocol.js';
import { MAX_RANGE_SEGMENTS } from './server/range-list.js';

const U16_MAX = 0xffff;
const U32_MAX = 0xffff_ffff;
const TWO_POW_32 = 0x1_0000_0000;

/** The largest geometry that ATA's registers hold, which is what firmware expects. */
const GEOMETRY_HEADS = 16;
const GEOMETRY_SECTORS = 63;
const GEOMETRY_CYLINDERS_MAX = 65535;

/** What the device decides, beside what the backend is like. */
export interface ConfigChoices {
  readonly readOnly: boolean;
  readonly queueCount: number;
  readonly maxSegments: number;
  /** Undefined for no limit. */
  readonly maxSegmentBytes: number | undefined;
}

export class BlockConfigSpace {
  readonly bytes = new Uint8Array(ConfigField.BYTES);
  readonly #view = new DataView(this.bytes.buffer);

  constructor(limits: BlockLimits, choices: ConfigChoices) {
    this.#u32(ConfigField.SEG_MAX, choices.maxSegments);
    this.#u32(ConfigField.SIZE_MAX, choices.maxSegmentBytes ?? 0);
    this.#view.setUint16(ConfigField.NUM_QUEUES, choices.queueCount, true);
    this.#setTopology(limits);
    if (choices.readOnly) return;
    this.#setRanges(ConfigField.MAX_DISCARD_SECTORS, limits.discard, true);
    this.#setRanges(ConfigField.MAX_WRITE_ZEROES_SECTORS, limits.writeZeroes, false);
    this.bytes[ConfigField.WRITE_ZEROES_MAY_UNMAP] = limits.writeZeroes?.mayUnmap === true ? 1 : 0;
    this.#setRanges(ConfigField.MAX_SECURE_ERASE_SECTORS, limits.secureErase, true);
  }

  set sizeBytes(sizeBytes: number) {
    const sectors = Math.floor(sizeBytes / SECTOR_BYTES);
    this.#u32(ConfigField.CAPACITY, sectors % TWO_POW_32);
    this.#u32(ConfigField.CAPACITY + 4, Math.floor(sectors / TWO_POW_32));
    const cylinders = Math.floor(sectors / (GEOMETRY_HEADS * GEOMETRY_SECTORS));
    this.#view.setUint16(ConfigField.CYLINDERS, Math.min(cylinders, GEOMETRY_CYLINDERS_MAX), true);
    this.bytes[ConfigField.HEADS] = GEOMETRY_HEADS;
    this.bytes[ConfigField.SECTORS] = GEOMETRY_SECTORS;
  }

  get writeBack(): boolean {
    return this.bytes[ConfigField.WRITEBACK] !== 0;
  }

  set writeBack(on: boolean) {
    this.bytes[ConfigField.WRITEBACK] = on ? 1 : 0;
  }

  /** Sizes here are in logical blocks. */
  #setTopology(limits: BlockLimits): void {
    const block = limits.logicalBlockBytes;
    this.#u32(ConfigField.BLK_SIZE, block);
    this.bytes[ConfigField.PHYSICAL_BLOCK_EXP] = Math.log2(limits.physicalBlockBytes / block);
    this.bytes[ConfigField.ALIGNMENT_OFFSET] = Math.min(Math.floor(limits.alignmentOffsetBytes / block), 255);
    const minimum = Math.min(Math.floor(limits.minimumIoBytes / block), U16_MAX);
    this.#view.setUint16(ConfigField.MIN_IO_SIZE, minimum, true);
    this.#u32(ConfigField.OPT_IO_SIZE, Math.floor(limits.optimalIoBytes / block));
  }

  /** Three words: longest range and most ranges of a request, and, where it has one, the ranges' alignment. */
  #setRanges(field: number, limits: RangeLimits | undefined, hasAlignment: boolean): void {
    if (limits === undefined) return;
    this.#u32(field, Math.floor(limits.maxBytes / SECTOR_BYTES));
    this.#u32(field + 4, MAX_RANGE_SEGMENTS);
    if (hasAlignment) this.#u32(field + 8, Math.ceil(limits.alignmentBytes / SECTOR_BYTES));
  }

  #u32(field: number, value: number): void {
    this.#view.setUint32(field, Math.min(value, U32_MAX), true);
  }
}

/** The feature bits on offer for such a disk. */
export function offeredFeatures(limits: BlockLimits, choices: ConfigChoices): bigint {
  const F = VirtioBlkFeature;
  const { readOnly } = choices;
  const offered: readonly (readonly [number, boolean])[] = [
    [F.VIRTIO_BLK_F_SIZE_MAX, choices.maxSegmentBytes !== undefined],
    [F.VIRTIO_BLK_F_SEG_MAX, true],
    [F.VIRTIO_BLK_F_GEOMETRY, true],
    [F.VIRTIO_BLK_F_RO, readOnly],
    [F.VIRTIO_BLK_F_BLK_SIZE, true],
    [F.VIRTIO_BLK_F_FLUSH, true],
    [F.VIRTIO_BLK_F_TOPOLOGY, true],
    [F.VIRTIO_BLK_F_CONFIG_WCE, !readOnly],
    [F.VIRTIO_BLK_F_MQ, choices.queueCount > 1],
    [F.VIRTIO_BLK_F_DISCARD, !readOnly && limits.discard !== undefined],
    [F.VIRTIO_BLK_F_WRITE_ZEROES, !readOnly && limits.writeZeroes !== undefined],
    [F.VIRTIO_BLK_F_LIFETIME, limits.hasLifetime],
    [F.VIRTIO_BLK_F_SECURE_ERASE, !readOnly && limits.secureErase !== undefined],
  ];
  return offered.reduce((bits, [bit, on]) => (on ? bits | (1n << BigInt(bit)) : bits), 0n);
}
