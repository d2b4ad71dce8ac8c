/** The disks that a device process serves: which device, over which backend. */
import { ftruncateSync, openSync, writeSync } from 'node:fs';
import type { NbdBackendOptions } from '../../devices/blk/backends/nbd/nbd-backend.js';
import { openNbdBackend, takeNbdBackend } from '../../devices/blk/backends/nbd/open-nbd.js';
import type { BlockBackend } from '../../devices/blk/backends/block-backend.js';
import { BlockBackendError, type BlockBackendErrorCode } from '../../devices/blk/backends/errors.js';
import { FileBackend } from '../../devices/blk/backends/file/file-backend.js';
import {
  openDisk as openDiskFile,
  openMemoryDisk,
  openUnnamedDisk,
  type OpenDisk,
} from '../../devices/blk/backends/file/open-disk.js';
import { OverlayBackend, overlayBitmapBytes } from '../../devices/blk/backends/overlay/overlay-backend.js';
import { VirtioBlk } from '../../devices/blk/virtio-blk.js';
import { Errno } from '../../devices/errno.js';
import { closeFd, memoryFile, SharedMapping } from '../../host/index.js';
import { ChassisError, type ErrorCode } from '../control/api.js';
import type { DeviceCounters } from '../counters.js';
import type { LogMethod } from '../logging/log.js';
import { DISK_QUEUE_SIZE } from '../vmm/qemu-names.js';
import { cloudInitSeed } from './cloud-init-seed.js';
import type { ResizableDisk } from './device-process.js';
import {
  offerDisk,
  pauseDisk,
  restoreDisk,
  resumeDisk,
  saveDisk,
  takeFile,
  takenDisk,
} from './hand-over/disk-offer.js';
import { hostPath } from './host-paths.js';
import type { Given, MovableDevice } from './hand-over/movable.js';
import type { OutgoingParcel } from './hand-over/parcel.js';
import type { Dialer } from './peer-stock.js';
import type { DiskSpec, FunctionSpec } from './protocol.js';
import type { ServedDevice } from './served-function.js';

/** The largest disk in memory. Its memory is taken as the guest writes it. */
const MAX_MEMORY_BYTES = 16 * 2 ** 30;
/** What the changes of one overlay may take of memory; writes beyond fail in the guest. A file may take all that there is room for. */
const MAX_OVERLAY_BYTES = 4 * 2 ** 30;
/** The largest disk that an overlay may become. */
const MAX_OVERLAY_DISK_BYTES = 16 * 2 ** 40;
/** The process's requests wait for one another, so a server that is not there must be noticed before the daemon gives up on all of them. */
const NBD_CONNECT_MS = 5000;

const ERRORS: Readonly<Record<BlockBackendErrorCode, ErrorCode>> = {
  BACKEND_MISSING: 'SOURCE_MISSING',
  BACKEND_WRONG_KIND: 'SOURCE_NOT_DISK',
  BACKEND_BUSY: 'SOURCE_IN_USE',
  BACKEND_REFUSED: 'SOURCE_UNREADABLE',
  BACKEND_PROTOCOL: 'SOURCE_UNREADABLE',
  SIZE_INVALID: 'SIZE_INVALID',
  NOT_SUPPORTED: 'BAD_REQUEST',
  URI_INVALID: 'BAD_REQUEST',
};

/** A disk's storage, and what of it is in files without names, which have to outlive the process. */
interface OpenStorage {
  readonly backend: BlockBackend;
  readonly keep: Record<string, number>;
  /** Lets go of what the backend does not, once that is closed. */
  readonly release?: () => void;
}

/** What the files without names are called. */
const KeptFile = { DATA: 'data', CLUSTERS: 'clusters' } as const;

/** What a process before this one kept. */
type Kept = FunctionSpec['kept'];

/** What there is of a disk before it is opened. */
export interface Beginnings {
  readonly kept?: Kept;
  /** Its image is another process's until its guest has moved here. */
  readonly awaited?: boolean | undefined;
  /** What another process offers of the disk that it serves as yet. */
  readonly given?: Given | undefined;
  /** Who connects it to its server, where that is not this process. */
  readonly dialer?: Dialer | undefined;
}

/** @throws ChassisError as the source cannot be opened; ParcelError for what is no offer */
export async function openDisk(
  spec: DiskSpec,
  log: LogMethod,
  { kept, awaited, given, dialer }: Beginnings = {},
): Promise<ServedDevice> {
  try {
    const storage = given
      ? takeStorage(given, spec, log, dialer)
      : await openStorage(spec, log, { kept, awaited, dialer });
    return new ServedDisk(storage, spec, log);
  } catch (error) {
    if (!(error instanceof BlockBackendError)) throw error;
    throw new ChassisError(ERRORS[error.code], error.message, error.suggestion);
  }
}

async function openStorage(
  spec: DiskSpec,
  log: LogMethod,
  beginnings: Omit<Beginnings, 'given'>,
): Promise<OpenStorage> {
  const { source, overlay, readOnly } = spec;
  const { kept } = beginnings;
  if (source.type === 'memory' && !overlay && !readOnly) return openMemory(source.sizeBytes, kept);
  const base = await openSource(spec, log, beginnings);
  if (!overlay) return { backend: base, keep: {} };
  try {
    return openOverlay(base, spec, kept);
  } catch (error) {
    await base.close();
    throw error;
  }
}

function openMemory(sizeBytes: number, kept: Kept): OpenStorage {
  checkMemory(sizeBytes);
  const disk = kept ? openDiskFile(found(kept[KeptFile.DATA])) : openMemoryDisk(sizeBytes);
  return { backend: new FileBackend(disk), keep: { [KeptFile.DATA]: disk.fd } };
}

/** Its changes and which clusters they are in are each a file, so that a next process finds all that the guest was told is written. */
function openOverlay(
  base: BlockBackend,
  { overlayDirectory, overlayBytes }: DiskSpec,
  kept: Kept,
): OpenStorage {
  if (Math.max(base.sizeBytes, overlayBytes ?? 0) > MAX_OVERLAY_DISK_BYTES) throw tooLarge();
  const clusters = openClusters(kept);
  const keep: Record<string, number> = { [KeptFile.CLUSTERS]: clusters.fd };
  const makeTop = (sizeBytes: number) => {
    const disk = openChanges(sizeBytes, overlayDirectory, kept);
    keep[KeptFile.DATA] = disk.fd;
    return new FileBackend(disk);
  };
  try {
    const backend = OverlayBackend.thrownAway(base, makeTop, {
      bits: clusters.bits,
      ...(overlayDirectory === undefined && { maxBytes: MAX_OVERLAY_BYTES }),
      ...(overlayBytes !== undefined && { sizeBytes: overlayBytes }),
    });
    return { backend, keep, release: clusters.release };
  } catch (error) {
    clusters.release();
    throw error;
  }
}

function openChanges(sizeBytes: number, folder: string | undefined, kept: Kept): OpenDisk {
  if (kept) return openDiskFile(found(kept[KeptFile.DATA]));
  return folder === undefined
    ? openMemoryDisk(sizeBytes)
    : openUnnamedDisk(folder, sizeBytes, hostPath(folder));
}

/** Memory for an overlay's bitmap, as long as the overlay may ever need: it takes none until it is written. */
function openClusters(kept: Kept): { fd: number; bits: Uint8Array; release: () => void } {
  const lengthBytes = overlayBitmapBytes(MAX_OVERLAY_DISK_BYTES);
  const fd = kept ? openSync(hostPath(kept[KeptFile.CLUSTERS]), 'r+') : memoryFile('chassis-clusters');
  try {
    if (!kept) ftruncateSync(fd, lengthBytes);
  } catch (error) {
    closeFd(fd);
    throw error;
  }
  return mapClusters(fd);
}

/** Takes the descriptor over. */
function mapClusters(fd: number): { fd: number; bits: Uint8Array; release: () => void } {
  const lengthBytes = overlayBitmapBytes(MAX_OVERLAY_DISK_BYTES);
  try {
    const mapping = new SharedMapping(fd, lengthBytes);
    const release = () => {
      mapping.close();
      closeFd(fd);
    };
    return { fd, bits: mapping.window(0, lengthBytes), release };
  } catch (error) {
    closeFd(fd);
    throw error;
  }
}

async function openSource(
  spec: DiskSpec,
  log: LogMethod,
  { awaited, dialer }: Pick<Beginnings, 'awaited' | 'dialer'>,
): Promise<BlockBackend> {
  const { source } = spec;
  const readOnly = isOnlyRead(spec);
  switch (source.type) {
    case 'file':
      return new FileBackend(openDiskFile({ ...found(source.path), readOnly, awaited }));
    case 'memory':
      checkMemory(source.sizeBytes);
      return new FileBackend({ ...openMemoryDisk(source.sizeBytes), readOnly });
    case 'cloud-init':
      return seedDisk(cloudInitSeed(source.path));
    case 'nbd':
      return openNbdBackend(nbdOptions(source.uri, spec, log, dialer));
  }
}

/** A file of the host's, and where it is opened. */
function found(path: string): { path: string; at: string } {
  return { path, at: hostPath(path) };
}

/** Many overlays may share a base that nobody writes to. */
function isOnlyRead({ readOnly, overlay }: DiskSpec): boolean {
  return readOnly || overlay;
}

function nbdOptions(
  uri: string,
  spec: DiskSpec,
  log: LogMethod,
  dialer: Dialer | undefined,
): NbdBackendOptions {
  return {
    ...{ uri, connectTimeoutMs: NBD_CONNECT_MS, readOnly: isOnlyRead(spec) },
    ...(dialer && { dial: (timeoutMs) => dialer.dial(timeoutMs) }),
    log,
  };
}

/** Its memory is a file, as that of every disk in memory is: so that another process can go on with it. */
function seedDisk(bytes: Uint8Array): FileBackend {
  const disk = openMemoryDisk(bytes.length);
  writeSync(disk.fd, bytes, 0, bytes.length, 0);
  return new FileBackend({ ...disk, readOnly: true });
}

/** What another process has opened. @throws ParcelError */
function takeStorage(given: Given, spec: DiskSpec, log: LogMethod, dialer: Dialer | undefined): OpenStorage {
  const { source, overlayDirectory } = spec;
  const { file, nbd, overlay } = takenDisk(given);
  const base =
    nbd && source.type === 'nbd'
      ? takeNbdBackend(nbdOptions(source.uri, spec, log, dialer), nbd.opened)
      : takeFile(file, given.parcel);
  if (!overlay)
    return { backend: base, keep: base instanceof FileBackend ? { [KeptFile.DATA]: base.disk.fd } : {} };
  const clusters = mapClusters(given.parcel.takeFd(overlay.clusters));
  const top = takeFile(overlay.top, given.parcel);
  const { baseVisibleBytes, ...options } = overlay.geometry;
  const maxBytes = overlayDirectory === undefined ? { maxBytes: MAX_OVERLAY_BYTES } : {};
  const backend = OverlayBackend.thrownAway(base, () => top, {
    ...options,
    bits: clusters.bits,
    ...maxBytes,
  });
  backend.store.geometry.baseVisibleBytes = baseVisibleBytes;
  const keep = { [KeptFile.CLUSTERS]: clusters.fd, [KeptFile.DATA]: top.disk.fd };
  return { backend, keep, release: clusters.release };
}

function checkMemory(sizeBytes: number): void {
  if (sizeBytes <= MAX_MEMORY_BYTES) return;
  throw new ChassisError(
    'SIZE_INVALID',
    `a disk in memory has ${MAX_MEMORY_BYTES / 2 ** 30} GiB at most`,
    'make an image file (truncate -s), and add that',
  );
}

class ServedDisk implements ServedDevice, ResizableDisk, MovableDevice {
  readonly device: VirtioBlk;
  readonly tree = undefined;
  readonly keep: Record<string, number>;
  readonly release: (() => void) | undefined;
  private readonly spec: DiskSpec;
  private readonly backend: BlockBackend;
  /** Changes of its size that are under way. */
  private resizes = 0;

  constructor({ backend, keep, release }: OpenStorage, spec: DiskSpec, log: LogMethod) {
    const { serial, readOnly, queues } = spec;
    this.keep = keep;
    this.release = release;
    this.spec = spec;
    this.backend = backend;
    this.device = new VirtioBlk(backend, {
      ...{ serial, readOnly, queues, queueSize: DISK_QUEUE_SIZE, reliableQueueSize: DISK_QUEUE_SIZE },
      log,
    });
  }

  get disk(): ResizableDisk {
    return this;
  }

  get movable(): MovableDevice {
    return this;
  }

  offer(parcel: OutgoingParcel): unknown {
    const { serial } = this.spec;
    if (this.resizes === 0) return offerDisk(this.backend, this.keep[KeptFile.CLUSTERS], parcel);
    throw new ChassisError('UPGRADE_REFUSED', `the disk ${serial} is being resized`, 'try again in a moment');
  }

  pause(): void {
    pauseDisk(this.backend);
  }

  save(parcel: OutgoingParcel): unknown {
    return saveDisk(this.backend, parcel);
  }

  restore(given: Given): void {
    restoreDisk(this.backend, given);
    this.backend.sizeChanged();
  }

  resume(): void {
    resumeDisk(this.backend);
  }

  get sizeBytes(): number {
    return this.device.sizeBytes;
  }

  get trouble(): string | undefined {
    return this.device.trouble;
  }

  counted(): DeviceCounters {
    return { ...this.device.statistics, latencies: this.device.latencies };
  }

  setSource(): Promise<never> {
    return Promise.reject(new Error('a disk shows no file system'));
  }

  async resize(sizeBytes: number, shrink: boolean): Promise<void> {
    this.resizes++;
    await this.changeSize(sizeBytes, shrink).finally(() => this.resizes--);
  }

  private async changeSize(sizeBytes: number, shrink: boolean): Promise<void> {
    if (this.spec.source.type === 'memory') checkMemory(sizeBytes);
    if (sizeBytes < this.sizeBytes && !shrink) throw wouldShrink(this.sizeBytes);
    const result = await this.device.resize(sizeBytes);
    if (result === -Errno.EOPNOTSUPP) return this.followSource(sizeBytes);
    if (result < 0) throw this.refused(sizeBytes, result);
  }

  /** What it is kept in has a size of its own: somebody may have changed that, and then the guest is told. */
  private async followSource(sizeBytes: number): Promise<void> {
    const result = await this.device.refreshSize();
    if (result < 0) throw this.refused(sizeBytes, result);
    if (this.sizeBytes === sizeBytes) return;
    throw new ChassisError(
      'SIZE_INVALID',
      `what the disk is kept in has ${this.sizeBytes} bytes, and is not ours to resize`,
      'resize the block device or the export first, then say its new size here',
    );
  }

  private refused(sizeBytes: number, result: number): ChassisError {
    const why = REASONS.get(-result) ?? `error ${-result}`;
    return new ChassisError('SIZE_INVALID', `the disk cannot have ${sizeBytes} bytes: ${why}`);
  }
}

const REASONS: ReadonlyMap<number, string> = new Map([
  [Errno.EINVAL, 'a disk has whole sectors of 512 bytes, at least one'],
  [Errno.EROFS, 'it is read-only'],
  [Errno.EFBIG, 'the file system has no files of that size'],
  [Errno.ENOSPC, 'there is no room for it'],
]);

function tooLarge(): ChassisError {
  return new ChassisError(
    'SIZE_INVALID',
    `an overlay is over a disk of ${MAX_OVERLAY_DISK_BYTES / 2 ** 40} TiB at most`,
  );
}

function wouldShrink(sizeBytes: number): ChassisError {
  return new ChassisError(
    'SIZE_INVALID',
    `the disk has ${sizeBytes} bytes, and what lies beyond a smaller size would be lost`,
    'shrink the file system in the guest first, then use --shrink',
  );
}
