import { blockDeviceSize, lseek, SeekWhence } from '../../../../host/index.js';

/** How many bytes the disk has now, or a negative errno. Cheap enough for each request: nobody uses the descriptor's position. */
export function currentSize(disk: { readonly fd: number; readonly isBlockDevice: boolean }): number {
  return disk.isBlockDevice ? blockDeviceSize(disk.fd) : lseek(disk.fd, 0, SeekWhence.SEEK_END);
}
