/** Opening what a disk is kept in: which files may be one, who else has it, how large it is. */
import { getSystemErrorMap } from 'node:util';
import {
  addressOf,
  AT_FDCWD,
  BlockQuery,
  blockQuery,
  closeFd,
  fstatx,
  ftruncate,
  memoryFile,
  ModeBits,
  openat,
  OpenFlags,
  reopen,
  STATX,
  STATX_BYTES,
  StatxMask,
} from '../../../../host/index.js';
import { Errno } from '../../../errno.js';
import { SECTOR_BYTES } from '../../protocol.js';
import { BlockBackendError, checkDiskSize } from '../errors.js';
import { currentSize } from './disk-size.js';
import { awaitDisk, lockDisk } from './disk-lock.js';
import { isMemoryBacked } from './memory-backed.js';

export interface FileBackendOptions {
  /** A regular file or a block device. */
  readonly path: string;
  /** Where it is to be opened, if not at its path: at a descriptor of it. */
  readonly at?: string;
  readonly readOnly?: boolean;
  /** Goes past the host's page cache (O_DIRECT). Default: false. */
  readonly direct?: boolean;
  /** It is somebody else's as yet, whose guest moves here: see `disk-lock.ts`. */
  readonly awaited?: boolean | undefined;
  /** Makes a sparse file of this size where there is none. */
  readonly createBytes?: number;
}

/** What O_DIRECT asks for; without it, nothing but whole sectors. */
export interface Alignment {
  readonly offsetBytes: number;
  readonly memoryBytes: number;
}

/** An open disk, and what does not change about it. */
export interface OpenDisk {
  readonly path: string;
  readonly fd: number;
  readonly isBlockDevice: boolean;
  readonly readOnly: boolean;
  readonly direct: boolean;
  /** It is somebody else's as yet. */
  readonly awaited?: boolean | undefined;
  /** True where it is nowhere but in memory, and nothing ever waits for a disk. */
  readonly inMemory: boolean;
  readonly alignment: Alignment;
  /** Size in bytes when it was opened. */
  readonly sizeBytes: number;
  /** `st_blksize`. */
  readonly blockBytes: number;
  /** The device's number, for a block device: 'major:minor'. */
  readonly device: string;
}

const UNALIGNED: Alignment = { offsetBytes: SECTOR_BYTES, memoryBytes: 1 };
/** What suffices for every file system that does not say what it needs. */
const SAFE_ALIGNMENT: Alignment = { offsetBytes: 4096, memoryBytes: 4096 };

const statx = new DataView(new ArrayBuffer(STATX_BYTES));
const statxAddress = addressOf(new Uint8Array(statx.buffer));

/** @throws BlockBackendError */
export function openDisk(options: FileBackendOptions): OpenDisk {
  const { path, at = path } = options;
  if (path.includes('\0')) throw new BlockBackendError('BACKEND_MISSING', 'a path cannot contain NUL');
  if (options.createBytes !== undefined) createFile(path, options.createBytes);
  const handle = openat(AT_FDCWD, Buffer.from(`${at}\0`), OpenFlags.O_PATH, 0);
  if (handle < 0) throw errorFor(path, handle);
  try {
    return openHandle(handle, options);
  } finally {
    closeFd(handle);
  }
}

/**
 * A disk in a file without a name, all zeroes, which is gone once it is closed. It lies on the file system of `folder`,
 * which is to be opened `at` a descriptor of it, where one is given.
 *
 * @throws BlockBackendError, where that file system knows no such files, too
 */
export function openUnnamedDisk(folder: string, sizeBytes: number, at = folder): OpenDisk {
  if (folder.includes('\0')) throw new BlockBackendError('BACKEND_MISSING', 'a path cannot contain NUL');
  checkDiskSize(folder, sizeBytes);
  const flags = OpenFlags.O_TMPFILE | OpenFlags.O_RDWR;
  const fd = openat(AT_FDCWD, Buffer.from(`${at}\0`), flags, 0o600);
  if (fd === -Errno.EOPNOTSUPP || fd === -Errno.EISDIR) {
    throw new BlockBackendError(
      'NOT_SUPPORTED',
      `the file system of ${folder} has no files without a name`,
      'give a folder on ext4, xfs, btrfs or tmpfs',
    );
  }
  if (fd < 0) throw errorFor(folder, fd);
  try {
    const error = ftruncate(fd, sizeBytes);
    if (error < 0) throw errorFor(folder, error);
    return describeDisk(fd, unnamedFacts(fd, folder));
  } catch (failure) {
    closeFd(fd);
    throw failure;
  }
}

/** The same in memory. */
export function openMemoryDisk(sizeBytes: number): OpenDisk {
  checkDiskSize('memory', sizeBytes);
  const fd = memoryFile('chassis-disk');
  try {
    const error = ftruncate(fd, sizeBytes);
    if (error < 0) throw errorFor('memory', error);
    return describeDisk(fd, unnamedFacts(fd, 'memory'));
  } catch (failure) {
    closeFd(fd);
    throw failure;
  }
}

/** What it is is known before it is opened: opening a FIFO waits, and opening a tape winds it. */
function openHandle(handle: number, options: FileBackendOptions): OpenDisk {
  const { path, readOnly = false, direct = false, awaited } = options;
  const error = fstatx(handle, 0, StatxMask.STATX_BASIC_STATS, statxAddress);
  if (error < 0) throw errorFor(path, error);
  const type = statx.getUint16(STATX.mode, true) & ModeBits.S_IFMT;
  const isBlockDevice = type === ModeBits.S_IFBLK;
  if (!isBlockDevice && type !== ModeBits.S_IFREG) {
    throw new BlockBackendError(
      'BACKEND_WRONG_KIND',
      `${path} is neither a regular file nor a block device`,
      'give an image file or a device such as /dev/sdb',
    );
  }
  const facts = {
    path,
    isBlockDevice,
    readOnly,
    direct,
    awaited,
    blockBytes: statx.getUint32(STATX.blksize, true),
    device: `${statx.getUint32(STATX.rdevMajor, true)}:${statx.getUint32(STATX.rdevMinor, true)}`,
  };
  const fd = reopen(handle, openFlags(facts));
  if (fd < 0) throw errorFor(path, fd);
  try {
    return describeDisk(fd, facts);
  } catch (failure) {
    closeFd(fd);
    throw failure;
  }
}

type Facts = Omit<OpenDisk, 'fd' | 'sizeBytes' | 'inMemory' | 'alignment'>;

function unnamedFacts(fd: number, folder: string): Facts {
  const error = fstatx(fd, 0, StatxMask.STATX_BASIC_STATS, statxAddress);
  if (error < 0) throw errorFor(folder, error);
  const blockBytes = statx.getUint32(STATX.blksize, true);
  return {
    path: `an unnamed file in ${folder}`,
    isBlockDevice: false,
    readOnly: false,
    direct: false,
    blockBytes,
    device: '0:0',
  };
}

function describeDisk(fd: number, facts: Facts): OpenDisk {
  const { path, readOnly } = facts;
  if (!readOnly && facts.isBlockDevice && blockQuery(fd, BlockQuery.BLKROGET) > 0) {
    throw new BlockBackendError('BACKEND_REFUSED', `${path} is a read-only device`, 'attach it read-only');
  }
  if (facts.awaited) awaitDisk({ fd });
  else lockDisk({ fd, path, readOnly, isBlockDevice: facts.isBlockDevice });
  const alignment = facts.direct ? directAlignment(fd, facts) : UNALIGNED;
  const disk = { ...facts, fd, alignment, inMemory: isMemoryBacked(fd), sizeBytes: 0 };
  const sizeBytes = currentSize(disk);
  if (sizeBytes < 0) throw errorFor(path, sizeBytes);
  checkDiskSize(path, sizeBytes, `grow it: truncate -s %${SECTOR_BYTES} ${path}`);
  if (sizeBytes % alignment.offsetBytes !== 0) {
    throw new BlockBackendError(
      'SIZE_INVALID',
      `${path} has ${sizeBytes} bytes, and direct I/O to it needs a multiple of ${alignment.offsetBytes}`,
      `grow it (truncate -s %${alignment.offsetBytes} ${path}), or do without direct I/O`,
    );
  }
  return { ...disk, sizeBytes };
}

function openFlags({ isBlockDevice, readOnly, direct, awaited }: Facts): number {
  let flags = (readOnly ? OpenFlags.O_RDONLY : OpenFlags.O_RDWR) | OpenFlags.O_NOCTTY;
  // Of a device O_EXCL says: not while it is mounted, or part of something else.
  if (isBlockDevice && !readOnly && !awaited) flags |= OpenFlags.O_EXCL;
  if (direct) flags |= OpenFlags.O_DIRECT;
  return flags;
}

function createFile(path: string, sizeBytes: number): void {
  checkDiskSize(path, sizeBytes);
  const flags = OpenFlags.O_CREAT | OpenFlags.O_EXCL | OpenFlags.O_RDWR | OpenFlags.O_NOFOLLOW;
  const fd = openat(AT_FDCWD, Buffer.from(`${path}\0`), flags, 0o600);
  if (fd === -Errno.EEXIST) return;
  const error = fd < 0 ? fd : ftruncate(fd, sizeBytes);
  if (fd >= 0) closeFd(fd);
  if (error < 0) throw errorFor(path, error);
}

/** @throws BlockBackendError NOT_SUPPORTED where the file cannot be read and written directly */
function directAlignment(fd: number, facts: Facts): Alignment {
  const error = fstatx(fd, 0, StatxMask.STATX_DIOALIGN, statxAddress);
  const known = error === 0 && (statx.getUint32(STATX.mask, true) & StatxMask.STATX_DIOALIGN) !== 0;
  if (!known) {
    const sector = facts.isBlockDevice ? blockQuery(fd, BlockQuery.BLKSSZGET) : 0;
    return sector > 0 ? { offsetBytes: sector, memoryBytes: sector } : SAFE_ALIGNMENT;
  }
  const offsetBytes = statx.getUint32(STATX.dioOffsetAlign, true);
  if (offsetBytes === 0) throw cannotDirect(facts.path);
  return {
    offsetBytes: Math.max(offsetBytes, SECTOR_BYTES),
    memoryBytes: statx.getUint32(STATX.dioMemAlign, true),
  };
}

function cannotDirect(path: string): BlockBackendError {
  return new BlockBackendError(
    'NOT_SUPPORTED',
    `the file system of ${path} has no direct I/O`,
    'do without it',
  );
}

function errorFor(path: string, failure: number): BlockBackendError {
  switch (-failure) {
    case Errno.ENOENT:
    case Errno.ENOTDIR:
    case Errno.ENXIO:
    case Errno.ENODEV:
      return new BlockBackendError(
        'BACKEND_MISSING',
        `there is no ${path}`,
        'create it, or check the spelling',
      );
    case Errno.EBUSY:
      return new BlockBackendError(
        'BACKEND_BUSY',
        `${path} is in use by the host`,
        'unmount it first, or attach it read-only',
      );
    case Errno.EINVAL:
      return cannotDirect(path);
    default: {
      const reason = getSystemErrorMap().get(failure)?.[1] ?? `error ${-failure}`;
      return new BlockBackendError('BACKEND_REFUSED', `cannot open ${path}: ${reason}`);
    }
  }
}
