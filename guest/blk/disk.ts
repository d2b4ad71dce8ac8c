import { GuestError } from '../errors.js';
import { BufferPool } from '../memory/buffer-pool.js';
import type { GuestRam, RamRange } from '../memory/ram.js';
import { ID_SIZE, LIFETIME_SIZE, RANGE_SIZE, RANGE_UNMAP, RequestType, SECTOR_SIZE } from './constants.js';
import type { DiskInfo, RangeInfo } from './disk-info.js';
import type { BlockRequestQueue } from './request-queue.js';

/** Longer reads and writes go out in requests of this many bytes. */
const MAX_REQUEST_BYTES = 256 * 1024;
/** How many of them are under way at once. */
const REQUESTS_AT_ONCE = 8;

/** How worn a disk says that it is; 0 where it does not know. */
export interface DiskLifetime {
  readonly preEolInfo: number;
  readonly typeA: number;
  readonly typeB: number;
}

/** What a disk needs of its driver. */
export interface DiskDriver {
  readonly name: string;
  readonly ram: GuestRam;
  readonly requests: BlockRequestQueue;
  /** As the disk says now. */
  info(): DiskInfo;
  setWriteBack(on: boolean): void;
  closed(): Promise<void>;
}

/**
 * A disk in use. Offsets and lengths are bytes and whole sectors of 512; calls may be under way side by side, and the disk keeps
 * no order among them. Everything rejects with a GuestError: EINVAL for what is no range of the disk, EROFS, EIO where the disk
 * failed, EOPNOTSUPP for what it cannot, ENODEV once it is gone.
 */
export class Disk {
  readonly #driver: DiskDriver;
  readonly #pool: BufferPool;
  readonly #listeners = new Set<(sizeBytes: number) => void>();
  #closed: Promise<void> | undefined;

  constructor(driver: DiskDriver) {
    this.#driver = driver;
    this.#pool = new BufferPool(driver.ram);
  }

  /** What the disk says about itself now. */
  get info(): DiskInfo {
    return this.#driver.info();
  }

  get sizeBytes(): number {
    return this.info.sizeBytes;
  }

  async read(offsetBytes: number, lengthBytes: number): Promise<Uint8Array> {
    this.#checkRange('read', offsetBytes, lengthBytes);
    const bytes = new Uint8Array(lengthBytes);
    await this.#inPieces('read', lengthBytes, async (ram, at, length) => {
      await this.#send('read', RequestType.VIRTIO_BLK_T_IN, offsetBytes + at, ram, length, true);
      bytes.set(ram.bytes.subarray(0, length), at);
    });
    return bytes;
  }

  async write(offsetBytes: number, bytes: Uint8Array): Promise<void> {
    this.#checkRange('write', offsetBytes, bytes.length);
    this.#checkWritable('write');
    await this.#inPieces('write', bytes.length, async (ram, at, length) => {
      ram.bytes.set(bytes.subarray(at, at + length));
      await this.#send('write', RequestType.VIRTIO_BLK_T_OUT, offsetBytes + at, ram, length, false);
    });
  }

  /** Brings everything that was written before to the medium. */
  async flush(): Promise<void> {
    await this.#send('flush', RequestType.VIRTIO_BLK_T_FLUSH, 0);
  }

  /** Gives the space of ranges back; what they then hold is not known. */
  discard(offsetBytes: number, lengthBytes: number): Promise<void> {
    const type = RequestType.VIRTIO_BLK_T_DISCARD;
    return this.#ranges('discard', type, this.info.discard, offsetBytes, lengthBytes, 0);
  }

  /** Makes a range read as zeroes; with `unmap` the disk may give its space back. */
  writeZeroes(offsetBytes: number, lengthBytes: number, { unmap = false } = {}): Promise<void> {
    const flags = unmap ? RANGE_UNMAP : 0;
    const type = RequestType.VIRTIO_BLK_T_WRITE_ZEROES;
    return this.#ranges('writeZeroes', type, this.info.writeZeroes, offsetBytes, lengthBytes, flags);
  }

  secureErase(offsetBytes: number, lengthBytes: number): Promise<void> {
    const type = RequestType.VIRTIO_BLK_T_SECURE_ERASE;
    return this.#ranges('secureErase', type, this.info.secureErase, offsetBytes, lengthBytes, 0);
  }

  /** The disk's serial. */
  async id(): Promise<string> {
    const bytes = await this.#answer('id', RequestType.VIRTIO_BLK_T_GET_ID, ID_SIZE);
    const end = bytes.indexOf(0);
    return new TextDecoder('latin1').decode(end < 0 ? bytes : bytes.subarray(0, end));
  }

  async lifetime(): Promise<DiskLifetime> {
    const bytes = await this.#answer('lifetime', RequestType.VIRTIO_BLK_T_GET_LIFETIME, LIFETIME_SIZE);
    const view = new DataView(bytes.buffer);
    return {
      preEolInfo: view.getUint16(0, true),
      typeA: view.getUint16(2, true),
      typeB: view.getUint16(4, true),
    };
  }

  /** Chooses the cache mode: write-back, where a flush brings writes to the medium, or write-through. EOPNOTSUPP where it is fixed. */
  setWriteBack(on: boolean): void {
    this.#driver.setWriteBack(on);
  }

  /** Calls `listener` with the new size whenever the disk was resized. Answers what ends that. */
  onResize(listener: (sizeBytes: number) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Lets the disk go: another may open it, and its slot may be taken away. Nothing is flushed. */
  close(): Promise<void> {
    this.#closed ??= this.#driver.closed().finally(() => this.#pool.close());
    return this.#closed;
  }

  /** The driver tells of a new size. */
  resized(sizeBytes: number): void {
    for (const listener of this.#listeners) queueMicrotask(() => listener(sizeBytes));
  }

  #checkRange(syscall: string, offsetBytes: number, lengthBytes: number): void {
    const whole = offsetBytes % SECTOR_SIZE === 0 && lengthBytes % SECTOR_SIZE === 0;
    if (whole && offsetBytes >= 0 && lengthBytes >= 0 && offsetBytes + lengthBytes <= this.sizeBytes) return;
    throw new GuestError('EINVAL', {
      syscall,
      path: this.#driver.name,
      detail: 'no range of sectors of the disk',
    });
  }

  #checkWritable(syscall: string): void {
    if (this.info.readOnly) throw new GuestError('EROFS', { syscall, path: this.#driver.name });
  }

  /** Cuts a transfer in requests, some of which are under way at once, each with a buffer of its own. */
  async #inPieces(
    syscall: string,
    lengthBytes: number,
    move: (ram: RamRange, at: number, length: number) => Promise<void>,
  ): Promise<void> {
    const pieceBytes = Math.min(MAX_REQUEST_BYTES, this.#driver.requests.maxDataBytes);
    let next = 0;
    const worker = async () => {
      const ram = this.#take(syscall, Math.min(pieceBytes, lengthBytes));
      try {
        while (next < lengthBytes) {
          const at = next;
          const length = Math.min(pieceBytes, lengthBytes - at);
          next += length;
          await move(ram, at, length);
        }
      } finally {
        this.#pool.give(ram);
      }
    };
    const pieces = Math.ceil(lengthBytes / pieceBytes);
    const results = await Promise.allSettled(
      Array.from({ length: Math.min(pieces, REQUESTS_AT_ONCE) }, worker),
    );
    const failed = results.find((result) => result.status === 'rejected');
    if (failed !== undefined) throw failed.reason;
  }

  async #ranges(
    syscall: string,
    type: RequestType,
    limits: RangeInfo | undefined,
    offsetBytes: number,
    lengthBytes: number,
    flags: number,
  ): Promise<void> {
    this.#checkRange(syscall, offsetBytes, lengthBytes);
    this.#checkWritable(syscall);
    if (limits === undefined || limits.maxSizeBytes === 0)
      throw new GuestError('EOPNOTSUPP', { syscall, path: this.#driver.name });
    const ram = this.#take(syscall, RANGE_SIZE);
    try {
      for (let at = 0; at < lengthBytes; at += limits.maxSizeBytes) {
        const sector = (offsetBytes + at) / SECTOR_SIZE;
        ram.view.setUint32(0, sector % 2 ** 32, true);
        ram.view.setUint32(4, Math.floor(sector / 2 ** 32), true);
        ram.view.setUint32(8, Math.min(limits.maxSizeBytes, lengthBytes - at) / SECTOR_SIZE, true);
        ram.view.setUint32(12, flags, true);
        await this.#send(syscall, type, 0, ram, RANGE_SIZE, false);
      }
    } finally {
      this.#pool.give(ram);
    }
  }

  async #answer(syscall: string, type: RequestType, lengthBytes: number): Promise<Uint8Array> {
    const ram = this.#take(syscall, lengthBytes);
    try {
      await this.#send(syscall, type, 0, ram, lengthBytes, true);
      return ram.bytes.slice(0, lengthBytes);
    } finally {
      this.#pool.give(ram);
    }
  }

  #take(syscall: string, sizeBytes: number): RamRange {
    const ram = this.#pool.take(sizeBytes);
    if (ram === undefined) throw new GuestError('ENOMEM', { syscall, path: this.#driver.name });
    return ram;
  }

  async #send(
    syscall: string,
    type: RequestType,
    offsetBytes: number,
    ram?: RamRange,
    lengthBytes = 0,
    isIn = false,
  ): Promise<void> {
    const { name, requests } = this.#driver;
    const data = ram === undefined ? undefined : { ram, lengthBytes, isIn };
    try {
      await requests.send(type, offsetBytes / SECTOR_SIZE, data);
    } catch (error) {
      throw error instanceof GuestError ? error.at(syscall, name) : error;
    }
  }
}
