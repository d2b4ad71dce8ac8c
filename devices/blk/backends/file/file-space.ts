/** Changing what space a disk takes: holes, zeroes, erasure. All of it waits for the disk, and so runs on threads. */
import {
  addressOf,
  blockRangeAsync,
  BlockRangeCommand,
  fallocateAsync,
  FallocateMode,
  IovecBuffer,
  pwritevAsync,
} from '../../../../host/index.js';
import { Errno } from '../../../errno.js';
import type { BlockLimits } from '../block-backend.js';
import type { OpenDisk } from './open-disk.js';

const { FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE, FALLOC_FL_ZERO_RANGE } = FallocateMode;

const PUNCH_HOLE = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
const ZERO_RANGE = FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE;

/** Zeroes are written from one buffer, over and over; aligned to what O_DIRECT may ask for. */
const ZERO_BYTES = 64 * 1024;
const ZERO_ALIGNMENT = 4096;
const ZERO_IOVECS = 64;

export class FileSpace {
  readonly #disk: OpenDisk;
  readonly #limits: BlockLimits;
  /** What the file system has said it cannot do. */
  readonly #unsupported = new Set<number>();

  constructor(disk: OpenDisk, limits: BlockLimits) {
    this.#disk = disk;
    this.#limits = limits;
  }

  /** 0 or a negative errno, as in each of these. */
  async discard(offsetBytes: number, lengthBytes: number): Promise<number> {
    if (this.#limits.readOnly) return -Errno.EROFS;
    if (this.#limits.discard === undefined) return -Errno.EOPNOTSUPP;
    const { isBlockDevice } = this.#disk;
    if (!isBlockDevice) return this.#fallocate(PUNCH_HOLE, offsetBytes, lengthBytes);
    // It is advice: blocks that are not discarded as a whole are not discarded.
    const block = this.#limits.logicalBlockBytes;
    const start = Math.ceil(offsetBytes / block) * block;
    const end = Math.floor((offsetBytes + lengthBytes) / block) * block;
    return end <= start ? 0 : this.#range(BlockRangeCommand.BLKDISCARD, start, end - start);
  }

  async writeZeroes(offsetBytes: number, lengthBytes: number, mayUnmap: boolean): Promise<number> {
    if (this.#limits.readOnly) return -Errno.EROFS;
    const modes = mayUnmap ? [PUNCH_HOLE, ZERO_RANGE] : [ZERO_RANGE];
    for (const mode of this.#aligned(offsetBytes, lengthBytes) ? modes : []) {
      if (this.#unsupported.has(mode)) continue;
      const result = await this.#fallocate(mode, offsetBytes, lengthBytes);
      if (result !== -Errno.EOPNOTSUPP) return result;
      this.#unsupported.add(mode);
    }
    return this.#write(offsetBytes, lengthBytes);
  }

  async secureErase(offsetBytes: number, lengthBytes: number): Promise<number> {
    if (this.#limits.readOnly) return -Errno.EROFS;
    if (this.#limits.secureErase === undefined) return -Errno.EOPNOTSUPP;
    return this.#range(BlockRangeCommand.BLKSECDISCARD, offsetBytes, lengthBytes);
  }

  /** Block devices refuse parts of blocks; files zero them. */
  #aligned(offsetBytes: number, lengthBytes: number): boolean {
    const block = this.#limits.logicalBlockBytes;
    return !this.#disk.isBlockDevice || (offsetBytes % block === 0 && lengthBytes % block === 0);
  }

  async #fallocate(mode: number, offsetBytes: number, lengthBytes: number): Promise<number> {
    for (;;) {
      const result = await new Promise<number>((resolve) => {
        fallocateAsync(this.#disk.fd, mode, offsetBytes, lengthBytes, resolve);
      });
      if (result === -Errno.ENOSYS) return -Errno.EOPNOTSUPP;
      if (result !== -Errno.EINTR) return result;
    }
  }

  #range(command: BlockRangeCommand, offsetBytes: number, lengthBytes: number): Promise<number> {
    return new Promise((resolve) => {
      blockRangeAsync(this.#disk.fd, command, offsetBytes, lengthBytes, resolve);
    });
  }

  async #write(offsetBytes: number, lengthBytes: number): Promise<number> {
    const zeroes = new Zeroes();
    for (let done = 0; done < lengthBytes;) {
      const count = zeroes.fill(lengthBytes - done);
      const moved = await new Promise<number>((resolve) => {
        pwritevAsync(this.#disk.fd, zeroes.iovecs, count, offsetBytes + done, resolve);
      });
      if (moved === -Errno.EINTR) continue;
      if (moved <= 0) return moved === 0 ? -Errno.EIO : moved;
      done += moved;
    }
    return 0;
  }
}

/** Iovecs that all name one buffer of zeroes. */
class Zeroes {
  readonly iovecs = new IovecBuffer(ZERO_IOVECS);
  readonly #buffer = new Uint8Array(ZERO_BYTES + ZERO_ALIGNMENT);

  /** Makes the iovecs `lengthBytes` long, or as long as they can be; answers how many it set. */
  fill(lengthBytes: number): number {
    const address = Math.ceil(addressOf(this.#buffer) / ZERO_ALIGNMENT) * ZERO_ALIGNMENT;
    let left = lengthBytes;
    let count = 0;
    for (; left > 0 && count < this.iovecs.capacity; count++) {
      const take = Math.min(left, ZERO_BYTES);
      this.iovecs.set(count, address, take);
      left -= take;
    }
    return count;
  }
}
