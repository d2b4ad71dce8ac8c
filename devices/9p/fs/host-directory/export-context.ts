/** What the nodes and files of one export share. */
import { hasOpenat2, openat, openat2, OpenFlags, reopen, ResolveFlags } from '../../../../host/index.js';
import { Errno } from '../../../errno.js';
import type { ChangeWatch } from './change-watch.js';
import { FileLocks } from './file-locks.js';
import { HandleCache } from './handle-cache.js';
import { DeviceTraits } from './device-traits.js';
import { scratch } from './scratch.js';

/** The kernel itself holds each look-up to one entry of the directory: nothing above it, no link of any kind. */
const BENEATH =
  ResolveFlags.RESOLVE_BENEATH | ResolveFlags.RESOLVE_NO_MAGICLINKS | ResolveFlags.RESOLVE_NO_SYMLINKS;

const PATH_HANDLE = OpenFlags.O_PATH | OpenFlags.O_NOFOLLOW;

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
  readonly name = scratch.name;
  readonly otherName = scratch.otherName;
  readonly reopenName = scratch.reopenName;
  readonly statx = scratch.statx;
  readonly changeName = scratch.changeName;
  readonly changeStatx = scratch.changeStatx;
  readonly directoryStatx = scratch.directoryStatx;
  readonly iovecs = scratch.iovecs;
  readonly locks = new FileLocks(this);
  /** Open files and directories, and descriptors of lock owners. */
  openFiles = 0;
  /** Where somebody wants to be told of changes on the host. */
  watch: ChangeWatch | null = null;
  readonly #openat2 = hasOpenat2();
  readonly #traits = new Map<number, DeviceTraits>();

  constructor(limits: ExportLimits) {
    this.limits = limits;
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
    const opened = openat(fd, scratch.self.address, flags, 0);
    // '.' takes half the time of a path in /proc, and the right to search the directory, which listing it does not.
    return opened === -Errno.EACCES || this.#madeRoom(opened) ? this.reopen(fd, flags) : opened;
  }

  /** What is known of the file system on a device, for all files there. */
  traitsOf(device: number): DeviceTraits {
    let traits = this.#traits.get(device);
    if (traits === undefined) this.#traits.set(device, (traits = new DeviceTraits()));
    return traits;
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
