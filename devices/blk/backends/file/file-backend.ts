/**
 * A disk in a regular file or on a block device of the host.
 *
 * Data moves between the page cache and the guest's memory in one system call: here and now where nothing has to be waited
 * for, and on a thread of libuv's pool where the disk is needed. Flushes and what changes the file's space always go to a thread.
 *
 * A regular file can be cut off by others at any time. A write beyond its end would make it longer again, with zeroes in place of what the
 * guest had there, and nobody would know: so where the file ends is looked at before whatever could do that.
 */
import {
  closeFd,
  fdatasyncAsync,
  ftruncate,
  IOV_MAX,
  IovecBuffer,
  preadv,
  preadv2,
  pwritev,
  pwritev2,
  RwfFlags,
} from '../../../../host/index.js';
import { Errno } from '../../../errno.js';
import type { IoVector } from '../../../io-vector.js';
import { SECTOR_BYTES } from '../../protocol.js';
import { BlockBackend, PENDING, type BlockCompletion, type BlockLimits } from '../block-backend.js';
import { FlushGate } from '../flush-gate.js';
import { FlushState } from './flush-state.js';
import { limitsOf } from './file-limits.js';
import { FileSpace } from './file-space.js';
import { FileTransfer, TransferKind } from './file-transfer.js';
import { fillIovecs } from './iovecs.js';
import { lifetimeOf } from './lifetime.js';
import { DiskLock } from './disk-lock.js';
import type { OpenDisk } from './open-disk.js';
import { currentSize } from './disk-size.js';
import type { LifetimeEstimate } from '../lifetime.js';

/** Longer transfers would keep everything else waiting while they are copied. */
const INLINE_MAX_BYTES = 1 << 20;
/** An inline write that took this long was made to wait for the disk: the page cache has too much unwritten data. */
const STALL_MS = 5;
/** So many writes go to a thread before one is tried inline again. */
const WRITES_AFTER_STALL = 64;
/** A write that covers only part of a page may have to read the rest from the disk first. */
const PAGE_BYTES = 4096;

/** What is known of a file beside what it says itself. */
export interface FileState {
  readonly sizeBytes: number;
  /** 0, or the negative errno that all flushes fail with. */
  readonly failure: number;
}

export class FileBackend extends BlockBackend {
  readonly limits: BlockLimits;
  readonly #disk: OpenDisk;
  readonly #fd: number;
  readonly #lock: DiskLock;
  readonly #space: FileSpace;
  readonly #flushState = new FlushState();
  readonly #flushGate = new FlushGate((ended) => this.#startFlush(ended));
  /** For inline calls; transfers on threads have their own. */
  readonly #iovecs = new IovecBuffer(IOV_MAX);
  readonly #transfers: FileTransfer[] = [];
  readonly #ended = (transfer: FileTransfer, result: number): void => this.#transferEnded(transfer, result);
  #sizeBytes: number;
  /** False once the file system has said that it cannot tell whether a read would wait. */
  #readsWithoutWaiting: boolean;
  #writesWithoutWaiting: boolean;
  #threadWritesLeft = 0;
  #underWay = 0;
  #idle: (() => void) | undefined;

  /** Takes over what `disk` holds. */
  constructor(disk: OpenDisk) {
    super();
    this.#disk = disk;
    this.#fd = disk.fd;
    this.#sizeBytes = disk.sizeBytes;
    this.limits = limitsOf(disk);
    this.#lock = new DiskLock(disk, disk.awaited !== true);
    this.#space = new FileSpace(disk, this.limits);
    // O_DIRECT always needs the disk.
    this.#readsWithoutWaiting = !disk.direct;
    this.#writesWithoutWaiting = !disk.direct && !disk.inMemory;
  }

  /** What it is kept in, for a process that is to take it over. */
  get disk(): OpenDisk {
    return this.#disk;
  }

  /** False while it is somebody else's, who had it before or has it now. */
  get isOurs(): boolean {
    return this.#lock.isHeld;
  }

  override engage(): string | undefined {
    return this.#lock.take() ? undefined : `${this.#disk.path} is in use by somebody who writes to it`;
  }

  override rest(writeBack: boolean): void {
    if (!this.#disk.inMemory) this.#lock.offer(writeBack);
  }

  override get writeBackBefore(): boolean | undefined {
    return this.#lock.writeBackBefore;
  }

  /** Of a file that another process has had until now. */
  save(): FileState {
    return { sizeBytes: this.#sizeBytes, failure: this.#flushState.failure };
  }

  /** Goes on where another process was. */
  restore({ sizeBytes, failure }: FileState): void {
    this.#sizeBytes = sizeBytes;
    if (failure !== 0) this.#flushState.lost(failure);
  }

  get sizeBytes(): number {
    return this.#sizeBytes;
  }

  override get trouble(): string | undefined {
    this.#hasNot(0);
    return this.#flushState.isCutOff ? this.#cutOffText : undefined;
  }

  read(offsetBytes: number, into: IoVector, completion: BlockCompletion): number {
    let moved = 0;
    if (this.#readsWithoutWaiting && into.byteLength <= INLINE_MAX_BYTES) {
      moved = this.#readInline(offsetBytes, into);
      if (moved < 0 || moved === into.byteLength) return moved < 0 ? moved : 0;
    }
    return this.#onThread(TransferKind.read, offsetBytes, into, moved, completion);
  }

  write(offsetBytes: number, from: IoVector, durable: boolean, completion: BlockCompletion): number {
    if (this.limits.readOnly) return -Errno.EROFS;
    if (this.#hasNot(offsetBytes + from.byteLength)) return -Errno.EIO;
    if (durable) return this.#onThread(TransferKind.durableWrite, offsetBytes, from, 0, completion);
    let moved = 0;
    if (this.#mayWriteInline(offsetBytes, from.byteLength)) {
      moved = this.#writeInline(offsetBytes, from);
      this.#flushState.wrote();
      if (moved < 0 || moved === from.byteLength) return moved < 0 ? moved : 0;
    }
    return this.#onThread(TransferKind.write, offsetBytes, from, moved, completion);
  }

  flush(completion: BlockCompletion): number {
    if (this.limits.readOnly) return 0;
    this.#hasNot(0);
    const failure = this.#flushState.tell();
    if (failure !== 0) return failure;
    // One that is under way may yet fail, and then this one must, too.
    if (!this.#flushState.begin() && !this.#flushGate.running) return 0;
    return this.#flushGate.flush(completion);
  }

  override discard(offsetBytes: number, lengthBytes: number, completion: BlockCompletion): number {
    if (this.#hasNot(offsetBytes + lengthBytes)) return -Errno.EIO;
    return this.#changeSpace(this.#space.discard(offsetBytes, lengthBytes), completion);
  }

  writeZeroes(
    offsetBytes: number,
    lengthBytes: number,
    mayUnmap: boolean,
    completion: BlockCompletion,
  ): number {
    if (this.#hasNot(offsetBytes + lengthBytes)) return -Errno.EIO;
    return this.#changeSpace(this.#space.writeZeroes(offsetBytes, lengthBytes, mayUnmap), completion);
  }

  override secureErase(offsetBytes: number, lengthBytes: number, completion: BlockCompletion): number {
    return this.#changeSpace(this.#space.secureErase(offsetBytes, lengthBytes), completion);
  }

  override lifetime(): Promise<LifetimeEstimate | undefined> {
    return lifetimeOf(this.#disk);
  }

  /** Regular files only: a block device's size is for others to change. */
  override async resize(sizeBytes: number): Promise<number> {
    if (this.limits.readOnly) return -Errno.EROFS;
    if (this.#disk.isBlockDevice) return -Errno.EOPNOTSUPP;
    if (sizeBytes % this.#disk.alignment.offsetBytes !== 0) return -Errno.EINVAL;
    const result = ftruncate(this.#fd, sizeBytes);
    if (result < 0) return result;
    this.#flushState.wrote();
    this.#sizeIs(sizeBytes);
    return 0;
  }

  override async refreshSize(): Promise<number> {
    const size = currentSize(this.#disk);
    if (size < 0) return size;
    const unit = Math.max(SECTOR_BYTES, this.#disk.alignment.offsetBytes);
    // Whoever resizes it may not be done.
    const whole = size - (size % unit);
    if (whole === 0) return -Errno.EINVAL;
    this.#sizeIs(whole);
    return 0;
  }

  #sizeIs(sizeBytes: number): void {
    this.#sizeBytes = sizeBytes;
    this.#flushState.mended();
  }

  /** True where the file has no `endBytes` bytes any more. That it is shorter than the disk is told once. */
  #hasNot(endBytes: number): boolean {
    if (this.#disk.isBlockDevice) return false;
    const now = currentSize(this.#disk);
    if (now >= this.#sizeBytes || now < 0) return false;
    if (!this.#flushState.isCutOff) {
      this.#flushState.cutOff();
      this.troubled(this.#cutOffText);
    }
    return endBytes > now;
  }

  get #cutOffText(): string {
    const now = currentSize(this.#disk);
    return `${this.#disk.path} was cut off by somebody else, and has ${now} of ${this.#sizeBytes} bytes`;
  }

  async close(): Promise<void> {
    if (this.#underWay > 0) await new Promise<void>((resolve) => (this.#idle = resolve));
    closeFd(this.#fd);
  }

  /** Bytes moved, fewer than all where the disk is needed for the rest; or a negative errno. */
  #readInline(offsetBytes: number, into: IoVector): number {
    const iovecs = this.#iovecs;
    let done = 0;
    while (done < into.byteLength) {
      const count = fillIovecs(iovecs, into, done);
      const moved = this.#disk.inMemory
        ? preadv(this.#fd, iovecs, count, offsetBytes + done)
        : preadv2(this.#fd, iovecs, count, offsetBytes + done, RwfFlags.RWF_NOWAIT);
      if (moved > 0) {
        done += moved;
        continue;
      }
      // The end of a file that is shorter than it was.
      if (moved === 0) {
        this.#hasNot(0);
        return -Errno.EIO;
      }
      if (moved === -Errno.EAGAIN || moved === -Errno.EINTR) return done;
      if (moved !== -Errno.EOPNOTSUPP || !this.#readsWithoutWaiting) return moved;
      this.#readsWithoutWaiting = false;
      return done;
    }
    return done;
  }

  #mayWriteInline(offsetBytes: number, lengthBytes: number): boolean {
    if (this.#disk.direct || lengthBytes > INLINE_MAX_BYTES) return false;
    if (this.#writesWithoutWaiting || this.#disk.inMemory) return true;
    // Otherwise nobody tells beforehand whether a write would wait.
    if (offsetBytes % PAGE_BYTES !== 0 || lengthBytes % PAGE_BYTES !== 0) return false;
    if (this.#threadWritesLeft === 0) return true;
    this.#threadWritesLeft--;
    return false;
  }

  /** As `#readInline`. */
  #writeInline(offsetBytes: number, from: IoVector): number {
    let done = 0;
    while (done < from.byteLength) {
      const count = fillIovecs(this.#iovecs, from, done);
      const moved = this.#tryWrite(count, offsetBytes + done);
      if (moved > 0) done += moved;
      else if (moved === -Errno.EAGAIN || moved === -Errno.EINTR) return done;
      else if (moved === -Errno.EOPNOTSUPP && this.#writesWithoutWaiting) {
        this.#writesWithoutWaiting = false;
        if (!this.#mayWriteInline(offsetBytes + done, from.byteLength - done)) return done;
      } else return moved === 0 ? -Errno.EIO : moved;
    }
    return done;
  }

  /** Into the page cache this is a copy, unless the kernel holds writers back: then the next ones go to threads. */
  #tryWrite(count: number, offsetBytes: number): number {
    const iovecs = this.#iovecs;
    if (this.#writesWithoutWaiting) {
      return pwritev2(this.#fd, iovecs, count, offsetBytes, RwfFlags.RWF_NOWAIT);
    }
    const start = performance.now();
    const moved = pwritev(this.#fd, iovecs, count, offsetBytes);
    if (performance.now() - start > STALL_MS) this.#threadWritesLeft = WRITES_AFTER_STALL;
    return moved;
  }

  #onThread(
    kind: TransferKind,
    offsetBytes: number,
    vector: IoVector,
    moved: number,
    completion: BlockCompletion,
  ): number {
    this.#underWay++;
    const transfer = this.#transfers.pop() ?? new FileTransfer(this.#fd, this.#ended);
    transfer.start(kind, offsetBytes, vector, moved, completion);
    return PENDING;
  }

  #transferEnded(transfer: FileTransfer, result: number): void {
    const { kind, completion } = transfer;
    if (kind === TransferKind.write) this.#flushState.wrote();
    else if (kind === TransferKind.read && result === -Errno.EIO) this.#hasNot(0);
    // It may be the failure of another write that the kernel tells of here, and then tells of no more.
    if (kind === TransferKind.durableWrite && result === -Errno.EIO) this.#flushState.lost(result);
    this.#transfers.push(transfer);
    completion.complete(result);
    this.#oneEnded();
  }

  #changeSpace(work: Promise<number>, completion: BlockCompletion): number {
    this.#underWay++;
    void work.then((result) => {
      this.#flushState.wrote();
      completion.complete(result);
      this.#oneEnded();
    });
    return PENDING;
  }

  #startFlush(ended: (result: number) => void): void {
    this.#underWay++;
    const sync = (): void => fdatasyncAsync(this.#fd, synced);
    const synced = (result: number): void => {
      if (result === -Errno.EINTR) return sync();
      ended(this.#flushed(result));
      this.#oneEnded();
    };
    sync();
  }

  /** Data that was cut off is not on the medium either, however well the rest is. */
  #flushed(result: number): number {
    if (result < 0) this.#flushState.lost(result);
    this.#hasNot(0);
    return this.#flushState.tell();
  }

  #oneEnded(): void {
    this.#underWay--;
    if (this.#underWay === 0) this.#idle?.();
  }
}
