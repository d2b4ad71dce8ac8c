/**
 * An open regular file of the host. Data moves between the page cache and the guest's memory in one system call, here and now
 * where nothing has to be waited for, and on a thread where the disk is needed.
 */
import { OpenFlags, statusFlags } from '../../../../host/index.js';
import { Errno } from '../../../errno.js';
import { IoVector } from '../../../io-vector.js';
import type { GivenDescriptor } from '../../../state-descriptors.js';
import {
  LockStatus,
  LockType,
  OpenFlag,
  type HeldLock,
  type Interruptible,
  type Lock,
  type MaybePromise,
} from '../file-system.js';
import { NOTHING_KEPT, type Kept } from '../kept.js';
import type { ExportContext } from './export-context.js';
import type { LockableFile } from './file-locks.js';
import { HostOpenFile, type OpenedNode } from './host-open-file.js';
import { lockWaiters } from './lock-waiters.js';
import { dropSetId } from './set-id.js';
import type { Identity } from './statx-buffer.js';
import { DataPath, readVector, writeVector } from './transfer.js';

/**
 * The host's flags for the guest's, or -EINVAL for an access mode that is none.
 *
 * O_DIRECT is left out: it asks for an alignment that holds in the guest, and need not here. O_NONBLOCK makes a file under somebody's
 * lease an error instead of a wait that would stop the whole device.
 */
export function hostOpenFlags(flags: number): number {
  const access = flags & OpenFlag.O_ACCMODE;
  if (access === OpenFlag.O_ACCMODE) return -Errno.EINVAL;
  let host: number = access | OpenFlags.O_NONBLOCK | OpenFlags.O_NOCTTY;
  if ((flags & OpenFlag.O_TRUNC) !== 0) host |= OpenFlags.O_TRUNC;
  if ((flags & OpenFlag.O_APPEND) !== 0) host |= OpenFlags.O_APPEND;
  if ((flags & OpenFlag.O_NOATIME) !== 0) host |= OpenFlags.O_NOATIME;
  if ((flags & OpenFlag.O_DSYNC) !== 0) host |= OpenFlags.O_DSYNC;
  if ((flags & OpenFlag.O_SYNC) !== 0) host |= OpenFlags.O_SYNC;
  return host;
}

/** What matters of the flags that a file was opened with. */
const KEPT_FLAGS =
  OpenFlag.O_ACCMODE | OpenFlags.O_APPEND | OpenFlags.O_DSYNC | OpenFlags.O_SYNC | OpenFlags.O_PATH;

/** Whether `fd` was opened as the guest's `flags` ask for. */
export function isOpenedWith(fd: number, flags: number): boolean {
  const host = hostOpenFlags(flags);
  return host >= 0 && (statusFlags(fd) & KEPT_FLAGS) === (host & KEPT_FLAGS);
}

export class HostFile extends HostOpenFile implements LockableFile {
  readonly accessMode: number;
  readonly #data: DataPath;

  /** Takes over `fd`, opened with the guest's `flags`. */
  constructor(context: ExportContext, fd: number, node: OpenedNode, flags: number) {
    super(context, fd, node);
    const synchronous = (flags & (OpenFlag.O_SYNC | OpenFlag.O_DSYNC)) !== 0;
    this.accessMode = flags & OpenFlag.O_ACCMODE;
    this.#data = new DataPath(context, context.traitsOf(node.device), fd, synchronous);
  }

  get identity(): Identity {
    return this.node;
  }

  override read(offset: number, into: IoVector): MaybePromise<number> {
    return readVector(this.#data, offset, into);
  }

  override write(offset: number, from: IoVector): MaybePromise<number> {
    const error = dropSetId(this.context, this.fd);
    this.written = true;
    return error < 0 ? error : writeVector(this.#data, offset, from);
  }

  override lock(lock: Lock): MaybePromise<number> {
    if (!isLockType(lock.type)) return -Errno.EINVAL;
    const { locks } = this.context;
    const status = locks.set(this, lock);
    if (status !== LockStatus.P9_LOCK_BLOCKED || lock.wait !== true) return status;
    return lockWaiters.wait(lock, () => locks.set(this, lock));
  }

  override getlock(lock: Lock): number {
    return isLockType(lock.type) ? this.context.locks.get(this, lock) : -Errno.EINVAL;
  }

  override locks(): readonly HeldLock[] | undefined {
    return this.context.locks.heldThrough(this);
  }

  override relock(lock: Lock, descriptor: GivenDescriptor | undefined): number {
    return isLockType(lock.type) ? this.context.locks.set(this, lock, descriptor) : -Errno.EINVAL;
  }

  override keep(): Kept {
    return { ...NOTHING_KEPT, descriptor: this.fd };
  }

  /** Reads and writes end by themselves. */
  override interrupt(operation: Interruptible): void {
    if (!(operation instanceof IoVector)) lockWaiters.interrupt(operation);
  }

  override close(): void {
    this.context.locks.fileClosed(this);
    super.close();
  }
}

function isLockType(type: number): boolean {
  return type >= LockType.P9_LOCK_TYPE_RDLCK && type <= LockType.P9_LOCK_TYPE_UNLCK;
}
