/** What a file or a block device of the host can do, asked when it is opened. */
import {
  BlockQuery,
  blockQuery,
  BlockRangeCommand,
  blockRangeProbe,
  fallocate,
  FallocateMode,
} from '../../../../host/index.js';
import { Errno } from '../../../errno.js';
import { SECTOR_BYTES } from '../../protocol.js';
import type { BlockLimits, RangeLimits } from '../block-backend.js';
import { hasLifetime } from './lifetime.js';
import type { OpenDisk } from './open-disk.js';
import { deviceNumber } from './sysfs.js';

/** Giving space back is cheap, and zeroing may have to write. */
const MAX_DISCARD_BYTES = 2 ** 31;
const MAX_WRITE_ZEROES_BYTES = 64 * 2 ** 20;
const MAX_SECURE_ERASE_BYTES = 64 * 2 ** 20;
/** Larger blocks of file systems (of networks, mostly) are about throughput. */
const MAX_PHYSICAL_BLOCK_BYTES = 4096;

export function limitsOf(disk: OpenDisk): BlockLimits {
  return disk.isBlockDevice ? deviceLimits(disk) : fileLimits(disk);
}

function fileLimits(disk: OpenDisk): BlockLimits {
  const physicalBlockBytes = Math.min(powerOfTwo(disk.blockBytes), MAX_PHYSICAL_BLOCK_BYTES);
  const canPunch = !disk.readOnly && probePunchHole(disk);
  const discard = { maxBytes: MAX_DISCARD_BYTES, alignmentBytes: powerOfTwo(disk.blockBytes) };
  return {
    readOnly: disk.readOnly,
    logicalBlockBytes: SECTOR_BYTES,
    physicalBlockBytes,
    alignmentOffsetBytes: 0,
    minimumIoBytes: physicalBlockBytes,
    optimalIoBytes: 0,
    discard: canPunch ? discard : undefined,
    writeZeroes: zeroesLimits(disk, canPunch),
    secureErase: undefined,
    hasLifetime: false,
  };
}

function deviceLimits(disk: OpenDisk): BlockLimits {
  const { fd, readOnly, device } = disk;
  const logicalBlockBytes = Math.max(blockQuery(fd, BlockQuery.BLKSSZGET), SECTOR_BYTES);
  const physicalBlockBytes = Math.max(blockQuery(fd, BlockQuery.BLKPBSZGET), logicalBlockBytes);
  const granularity = deviceNumber(device, 'queue/discard_granularity') ?? 0;
  const ranges = { maxBytes: MAX_DISCARD_BYTES, alignmentBytes: Math.max(granularity, logicalBlockBytes) };
  const canDiscard = !readOnly && can(fd, BlockRangeCommand.BLKDISCARD);
  const canErase = !readOnly && can(fd, BlockRangeCommand.BLKSECDISCARD);
  const offset = blockQuery(fd, BlockQuery.BLKALIGNOFF);
  return {
    readOnly,
    logicalBlockBytes,
    physicalBlockBytes: powerOfTwo(physicalBlockBytes),
    alignmentOffsetBytes: offset > 0 && offset < physicalBlockBytes ? offset : 0,
    minimumIoBytes: Math.max(blockQuery(fd, BlockQuery.BLKIOMIN), 0),
    optimalIoBytes: Math.max(blockQuery(fd, BlockQuery.BLKIOOPT), 0),
    discard: canDiscard ? ranges : undefined,
    writeZeroes: zeroesLimits(disk, canDiscard),
    secureErase: canErase ? { ...ranges, maxBytes: MAX_SECURE_ERASE_BYTES } : undefined,
    hasLifetime: hasLifetime(disk),
  };
}

function zeroesLimits(
  disk: OpenDisk,
  mayUnmap: boolean,
): (RangeLimits & { readonly mayUnmap: boolean }) | undefined {
  if (disk.readOnly) return undefined;
  return { maxBytes: MAX_WRITE_ZEROES_BYTES, alignmentBytes: SECTOR_BYTES, mayUnmap };
}

/** A hole beyond the end of a file changes nothing, and is refused where holes are. */
function probePunchHole({ fd, sizeBytes }: OpenDisk): boolean {
  const mode = FallocateMode.FALLOC_FL_PUNCH_HOLE | FallocateMode.FALLOC_FL_KEEP_SIZE;
  return fallocate(fd, mode, sizeBytes, SECTOR_BYTES) === 0;
}

function can(fd: number, command: BlockRangeCommand): boolean {
  return blockRangeProbe(fd, command) === -Errno.EINVAL;
}

/** The largest power of two up to `bytes`, and a sector at least. */
function powerOfTwo(bytes: number): number {
  return Math.max(2 ** Math.floor(Math.log2(Math.max(bytes, 1))), SECTOR_BYTES);
}
