/** What the nodes and files of one export share: limits, and the buffers that make calls free of allocation. */
import {
  hasOpenat2,
  IOV_MAX,
  IovecBuffer,
  openat,
  openat2,
  OpenFlags,
  reopen,
  ResolveFlags,
} from '../../../../host/index.js';
import { Errno } from '../../../errno.js';
import { FileLocks } from './file-locks.js';
import { HandleCache } from './handle-cache.js';
import { NameBuffer } from './name-buffer.js';
import { StatxBuffer } from './statx-buffer.js';
import { DeviceTraits } from './device-traits.js';

/** The kernel itself holds each look-up to one entry of the directory: nothing above it, no link of any kind. */
const BENEATH =
  ResolveFlags.RESOLVE_BENEATH | ResolveFlags.RESOLVE_NO_MAGICLINKS | ResolveFlags.RESOLVE_NO_SYMLINKS;

const PATH_HANDLE = OpenFlags.O_PATH | OpenFlags.O_NOFOLLOW;

/** Fills of 32 KiB: some 800 entries a system call. */
export const DIRECTORY_BUFFER_BYTES = 32 * 1024;

/** XATTR_SIZE_MAX and XATTR_LIST_MAX. */
export const XATTR_MAX_BYTES = 64 * 1024;

/** Buffers kept for the next user; what is beyond this is left to the garbage collector. */
const POOLED_BUFFERS = 16;

export interface ExportLimits {
  /** O_PATH descriptors of nodes. */
  readonly maxHandles: number;
  /** Open files and directories. */
  readonly maxOpenFiles: number;
  readonly allowDeviceNodes: boolean;
  /** Whether the process may give files away, and so does for each new one. */
  readonly privileged: boolean;
}

export class ExportContext {
  readonly limits: ExportLimits;
  readonly handles: HandleCache;
  readonly name = new NameBuffer();
  /** A second name (rename) or a target (symlink). */
  readonly otherName = new NameBuffer();
  /** For opening nodes again, which may happen while the other two are in use. */
  readonly reopenName = new NameBuffer();
  readonly statx = new StatxBuffer();
  /** Of a directory, while the other one holds what is new in it. */
  readonly directoryStatx = new StatxBuffer();
  /** For synchronous calls; asynchronous ones take some from the pool. */
  readonly iovecs = new IovecBuffer(IOV_MAX);
  readonly locks = new FileLocks(this);
  /** Open files and directories, and descriptors of lock owners. */
  openFiles = 0;
  readonly #openat2 = hasOpenat2();
  readonly #self = new NameBuffer();
  readonly #iovecPool: IovecBuffer[] = [];
  readonly #directoryBuffers: Buffer[] = [];
  readonly #traits = new Map<number, DeviceTraits>();
  #attributeValue: Buffer | null = null;

  constructor(limits: ExportLimits) {
    this.limits = limits;
    this.#self.setTarget('.');
    this.handles = new HandleCache(limits.maxHandles);
  }

  /**
   * An O_PATH descriptor of the entry `name` (the address of a checked name) of a directory; of a symbolic link itself
   * where it is one. It opens nothing for reading or writing, so that FIFOs and devices do not notice.
   */
  openEntry(dirFd: number, name: number): number {
    const fd = this.#openBeneath(dirFd, name, PATH_HANDLE, 0);
    return this.#madeRoom(fd) ? this.#openBeneath(dirFd, name, PATH_HANDLE, 0) : fd;
  }

  /** Creates a regular file that is not there yet, and opens it. */
  createEntry(dirFd: number, name: number, flags: number, mode: number): number {
    const all = flags | OpenFlags.O_CREAT | OpenFlags.O_EXCL | OpenFlags.O_NOFOLLOW;
    const fd = this.#openBeneath(dirFd, name, all, mode);
    return this.#madeRoom(fd) ? this.#openBeneath(dirFd, name, all, mode) : fd;
  }

  /** Opens the file behind a descriptor once more; only for what is known to be a regular file or a directory. */
  reopen(fd: number, flags: number): number {
    const opened = reopen(fd, flags);
    return this.#madeRoom(opened) ? reopen(fd, flags) : opened;
  }

  /** Opens the directory behind a descriptor once more, to be listed. */
  openListing(fd: number): number {
    const flags = OpenFlags.O_RDONLY | OpenFlags.O_DIRECTORY;
    const opened = openat(fd, this.#self.address, flags, 0);
    // '.' takes half the time of a path in /proc, and the right to search the directory, which listing it does not.
    return opened === -Errno.EACCES || this.#madeRoom(opened) ? this.reopen(fd, flags) : opened;
  }

  /** What is known of the file system on a device, for all files there. */
  traitsOf(device: number): DeviceTraits {
    let traits = this.#traits.get(device);
    if (traits === undefined) this.#traits.set(device, (traits = new DeviceTraits()));
    return traits;
  }

  takeIovecs(): IovecBuffer {
    return this.#iovecPool.pop() ?? new IovecBuffer(IOV_MAX);
  }

  giveIovecs(iovecs: IovecBuffer): void {
    if (this.#iovecPool.length < POOLED_BUFFERS) this.#iovecPool.push(iovecs);
  }

  takeDirectoryBuffer(): Buffer {
    return this.#directoryBuffers.pop() ?? Buffer.allocUnsafeSlow(DIRECTORY_BUFFER_BYTES);
  }

  giveDirectoryBuffer(buffer: Buffer): void {
    if (this.#directoryBuffers.length < POOLED_BUFFERS) this.#directoryBuffers.push(buffer);
  }

  /** Room for any attribute's value or list of names, until the next call. */
  get attributeValue(): Buffer {
    this.#attributeValue ??= Buffer.alloc(XATTR_MAX_BYTES);
    return this.#attributeValue;
  }

  #openBeneath(dirFd: number, name: number, flags: number, mode: number): number {
    // Without openat2 the name is one checked component and its last link is not followed: the same, but for the kernel's word.
    return this.#openat2 ? openat2(dirFd, name, flags, mode, BENEATH) : openat(dirFd, name, flags, mode);
  }

  /** True where a call ran out of descriptors and is worth another try. The newest handles, which it works with, stay open. */
  #madeRoom(answer: number): boolean {
    return (answer === -Errno.EMFILE || answer === -Errno.ENFILE) && this.handles.shrink();
  }
}
