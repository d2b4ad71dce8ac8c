/** statfs(2): for the guest, and to know what a file lies on. */
import { addressOf, fstatfs, STATFS, STATFS_BYTES } from '../../../../host/index.js';
import type { FileSystemStatistics } from '../file-system.js';

const TWO_32 = 0x1_0000_0000;
const buffer = new DataView(new ArrayBuffer(STATFS_BYTES));
const bufferAddress = addressOf(new Uint8Array(buffer.buffer));

/** Fills `out` from the file system behind `fd`. 0 or a negative errno. */
export function statistics(fd: number, out: FileSystemStatistics): number {
  const error = fstatfs(fd, bufferAddress);
  if (error < 0) return error;
  out.type = buffer.getUint32(STATFS.type, true);
  // Blocks are counted in fragments, and the guest is told of one size only.
  out.blockSizeBytes = count(STATFS.frsize) > 0 ? count(STATFS.frsize) : count(STATFS.bsize);
  out.blocks = count(STATFS.blocks);
  out.blocksFree = count(STATFS.bfree);
  out.blocksAvailable = count(STATFS.bavail);
  out.files = count(STATFS.files);
  out.filesFree = count(STATFS.ffree);
  out.idLow = buffer.getUint32(STATFS.fsid, true);
  out.idHigh = buffer.getUint32(STATFS.fsid + 4, true);
  out.nameLengthBytes = count(STATFS.namelen);
  return 0;
}

/** `f_type` of file systems whose files are nowhere but in memory. */
const MEMORY_FILE_SYSTEMS: readonly number[] = [
  0x01021994, // TMPFS_MAGIC
  0x858458f6, // RAMFS_MAGIC
];

/** `f_type` of file systems of the kernel's own whose directories get a new ctime with each entry that comes, goes or gets another name. */
const TIMED_FILE_SYSTEMS: readonly number[] = [
  0xef53, // EXT4_SUPER_MAGIC
  0x58465342, // XFS_SUPER_MAGIC
  0x9123683e, // BTRFS_SUPER_MAGIC
  0x01021994, // TMPFS_MAGIC
];

/** True where a directory's ctime tells of all changes in it. */
export function timesDirectories(fd: number): boolean {
  return fstatfs(fd, bufferAddress) === 0 && TIMED_FILE_SYSTEMS.includes(buffer.getUint32(STATFS.type, true));
}

/** True where reading and writing the file never waits for a disk or a network. */
export function isMemoryBacked(fd: number): boolean {
  return (
    fstatfs(fd, bufferAddress) === 0 && MEMORY_FILE_SYSTEMS.includes(buffer.getUint32(STATFS.type, true))
  );
}

/** File systems without a limit say 2^64 - 1. */
function count(offset: number): number {
  const value = buffer.getUint32(offset, true) + buffer.getUint32(offset + 4, true) * TWO_32;
  return Math.min(value, Number.MAX_SAFE_INTEGER);
}
