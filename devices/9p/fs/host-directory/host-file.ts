/**
 * An open regular file of the host. Data moves between the page cache and the guest's memory in one system call, here and now
 * where nothing has to be waited for, and on a thread where the disk is needed.
 */
import { ofdGetLock, ofdSetLock, OpenFlags, type ConflictingLock } from '../../../../host/index.js';
import { Errno } from '../../../errno.js';
import type { IoVector } from '../../../io-vector.js';
import { FileMode, LockStatus, LockType, OpenFlag, type Lock, type MaybePromise } from '../file-system.js';
import type { ExportContext } from './export-context.js';
import { HostOpenFile } from './host-open-file.js';
import { dropSetId } from './set-id.js';
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

const conflict: ConflictingLock = { type: 0, start: 0, length: 0 };

export class HostFile extends HostOpenFile {
  readonly #data: DataPath;

  /** Takes over `fd`, opened with the guest's `flags`. */
  constructor(context: ExportContext, fd: number, flags: number) {
    super(context, fd, FileMode.S_IFREG);
    this.#data = new DataPath(context, fd, (flags & (OpenFlag.O_SYNC | OpenFlag.O_DSYNC)) !== 0);
  }

  override read(offset: number, into: IoVector): MaybePromise<number> {
    return readVector(this.#data, offset, into);
  }

  override write(offset: number, from: IoVector): MaybePromise<number> {
    const error = dropSetId(this.context, this.fd);
    return error < 0 ? error : writeVector(this.#data, offset, from);
  }

  /** An open-file-description lock: other fids and the host's own processes see it. */
  override lock({ type, startBytes, lengthBytes }: Lock): number {
    if (!isLockType(type)) return -Errno.EINVAL;
    const answer = ofdSetLock(this.fd, type, startBytes, lengthBytes);
    if (answer === -Errno.EAGAIN || answer === -Errno.EACCES) return LockStatus.P9_LOCK_BLOCKED;
    return answer < 0 ? answer : LockStatus.P9_LOCK_SUCCESS;
  }

  override getlock(lock: Lock): number {
    if (lock.type !== LockType.P9_LOCK_TYPE_RDLCK && lock.type !== LockType.P9_LOCK_TYPE_WRLCK)
      return -Errno.EINVAL;
    const answer = ofdGetLock(this.fd, lock.type, lock.startBytes, lock.lengthBytes, conflict);
    if (answer < 0) return answer;
    lock.type = conflict.type;
    if (conflict.type === LockType.P9_LOCK_TYPE_UNLCK) return 0;
    lock.startBytes = conflict.start;
    lock.lengthBytes = conflict.length;
    // The kernel does not say which process holds such a lock.
    lock.processId = 0;
    lock.clientId = '';
    return 0;
  }
}

function isLockType(type: number): boolean {
  return type >= LockType.P9_LOCK_TYPE_RDLCK && type <= LockType.P9_LOCK_TYPE_UNLCK;
}
