import { addressOf, fstatfs, STATFS, STATFS_BYTES } from '../../../../host/index.js';

const statfs = new DataView(new ArrayBuffer(STATFS_BYTES));
const statfsAddress = addressOf(new Uint8Array(statfs.buffer));

/** `f_type` of file systems whose files are nowhere but in memory. */
const MEMORY_FILE_SYSTEMS: readonly number[] = [
  0x01021994, // TMPFS_MAGIC
  0x858458f6, // RAMFS_MAGIC
];

/** True where reading and writing the file never waits for a disk or a network. */
export function isMemoryBacked(fd: number): boolean {
  return (
    fstatfs(fd, statfsAddress) === 0 && MEMORY_FILE_SYSTEMS.includes(statfs.getUint32(STATFS.type, true))
  );
}
