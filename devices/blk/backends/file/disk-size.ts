import { addressOf, blockDeviceSize, fstatx, STATX, STATX_BYTES, StatxMask } from '../../../../host/index.js';

const statx = new DataView(new ArrayBuffer(STATX_BYTES));
const statxAddress = addressOf(new Uint8Array(statx.buffer));
const TWO_POW_32 = 0x1_0000_0000;

/** How many bytes the disk has now, or a negative errno. */
export function currentSize(disk: { readonly fd: number; readonly isBlockDevice: boolean }): number {
  if (disk.isBlockDevice) return blockDeviceSize(disk.fd);
  const error = fstatx(disk.fd, 0, StatxMask.STATX_SIZE, statxAddress);
  if (error < 0) return error;
  return statx.getUint32(STATX.size, true) + statx.getUint32(STATX.size + 4, true) * TWO_POW_32;
}
