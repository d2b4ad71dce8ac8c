/** The disks that a device process serves: which device, over which backend. */
import { MemoryBackend } from '../../devices/blk/backends/memory/memory-backend.js';
import { openNbdBackend } from '../../devices/blk/backends/nbd/open-nbd.js';
import type { BlockBackend } from '../../devices/blk/backends/block-backend.js';
import { BlockBackendError, type BlockBackendErrorCode } from '../../devices/blk/backends/errors.js';
import { FileBackend } from '../../devices/blk/backends/file/file-backend.js';
import { openDisk as openDiskFile, openUnnamedDisk } from '../../devices/blk/backends/file/open-disk.js';
import { OverlayBackend } from '../../devices/blk/backends/overlay/overlay-backend.js';
import { VirtioBlk } from '../../devices/blk/virtio-blk.js';
import { Errno } from '../../devices/errno.js';
import { ChassisError, type DiskSource, type ErrorCode } from '../control/api.js';
import type { DeviceCounters } from '../counters.js';
import { DISK_QUEUE_SIZE } from '../vmm/qemu-names.js';
import { cloudInitSeed } from './cloud-init-seed.js';
import type { ResizableDisk } from './device-process.js';
import type { DiskSpec } from './protocol.js';
import type { ServedDevice } from './served-function.js';

/** The largest disk in memory. Its memory is taken as the guest writes it. */
const MAX_MEMORY_BYTES = 16 * 2 ** 30;
/** What the changes of one overlay may take of memory; writes beyond fail in the guest. A file may take all that there is room for. */
const MAX_OVERLAY_BYTES = 4 * 2 ** 30;
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

/** @throws ChassisError as the source cannot be opened */
export async function openDisk(spec: DiskSpec, log: (message: string) => void): Promise<ServedDevice> {
  try {
    return new ServedDisk(await openBackend(spec, log), spec, log);
  } catch (error) {
    if (!(error instanceof BlockBackendError)) throw error;
    throw new ChassisError(ERRORS[error.code], error.message, error.suggestion);
  }
}

async function openBackend(spec: DiskSpec, log: (message: string) => void): Promise<BlockBackend> {
  const { source, overlay, serial } = spec;
  // Many overlays may share a base that nobody writes to.
  const base = await openSource(source, spec.readOnly || overlay, (line) => log(`${serial}: ${line}`));
  if (!overlay) return base;
  try {
    return openOverlay(base, spec);
  } catch (error) {
    await base.close();
    throw error;
  }
}

function openOverlay(base: BlockBackend, { overlayDirectory, overlayBytes }: DiskSpec): OverlayBackend {
  const size = overlayBytes === undefined ? {} : { sizeBytes: overlayBytes };
  if (overlayDirectory === undefined) {
    return OverlayBackend.inMemory(base, { maxBytes: MAX_OVERLAY_BYTES, ...size });
  }
  const makeTop = (sizeBytes: number) => new FileBackend(openUnnamedDisk(overlayDirectory, sizeBytes));
  return OverlayBackend.thrownAway(base, makeTop, size);
}

async function openSource(
  source: DiskSource,
  readOnly: boolean,
  log: (message: string) => void,
): Promise<BlockBackend> {
  switch (source.type) {
    case 'file':
      return new FileBackend(openDiskFile({ path: source.path, readOnly }));
    case 'memory':
      checkMemory(source.sizeBytes);
      return new MemoryBackend({ sizeBytes: source.sizeBytes, readOnly });
    case 'cloud-init':
      return MemoryBackend.of(cloudInitSeed(source.path), { readOnly: true });
    case 'nbd':
      return openNbdBackend({ uri: source.uri, readOnly, connectTimeoutMs: NBD_CONNECT_MS, log });
  }
}

function checkMemory(sizeBytes: number): void {
  if (sizeBytes <= MAX_MEMORY_BYTES) return;
  throw new ChassisError(
    'SIZE_INVALID',
    `a disk in memory has ${MAX_MEMORY_BYTES / 2 ** 30} GiB at most`,
    'make an image file (truncate -s), and add that',
  );
}

class ServedDisk implements ServedDevice, ResizableDisk {
  readonly device: VirtioBlk;
  readonly tree = undefined;
  private readonly spec: DiskSpec;

  constructor(backend: BlockBackend, spec: DiskSpec, log: (message: string) => void) {
    const { serial, readOnly, queues } = spec;
    this.spec = spec;
    this.device = new VirtioBlk(backend, {
      ...{ serial, readOnly, queues, queueSize: DISK_QUEUE_SIZE, reliableQueueSize: DISK_QUEUE_SIZE },
      log: (line) => log(`${serial}: ${line}`),
    });
  }

  get disk(): ResizableDisk {
    return this;
  }

  get sizeBytes(): number {
    return this.device.sizeBytes;
  }

  get trouble(): string | undefined {
    return this.device.trouble;
  }

  counted(): DeviceCounters {
    return this.device.statistics;
  }

  setSource(): Promise<never> {
    return Promise.reject(new Error('a disk shows no file system'));
  }

  async resize(sizeBytes: number, shrink: boolean): Promise<void> {
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

function wouldShrink(sizeBytes: number): ChassisError {
  return new ChassisError(
    'SIZE_INVALID',
    `the disk has ${sizeBytes} bytes, and what lies beyond a smaller size would be lost`,
    'shrink the file system in the guest first, then use --shrink',
  );
}
