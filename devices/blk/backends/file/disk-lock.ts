/**
 * Who may write to an image: one at a time, for two guests that write to one disk destroy it. The lock is of the kind that QEMU takes, and keeps
 * us and it apart, save that one who only reads does not notice a QEMU that was there first. File systems without locks go without.
 *
 * A guest that moves from one process to another has its disk open in both. The one that it moves to waits: it says so by a shared flock(2), which has
 * nothing to do with the lock itself. The one that it moves from lets go once no driver runs, where somebody waits; otherwise a disk is locked
 * for as long as it is open.
 */
import { flock, FlockOperation, LockType, ofdSetLock } from '../../../../host/index.js';
import { Errno } from '../../../errno.js';
import { BlockBackendError } from '../errors.js';

/** What is locked, and how. */
interface Locked {
  readonly fd: number;
  readonly path: string;
  readonly readOnly: boolean;
  readonly isBlockDevice: boolean;
}

/** @throws BlockBackendError BACKEND_BUSY */
export function lockDisk(disk: Locked): void {
  const { path, readOnly } = disk;
  if (isAwaited(disk)) {
    throw new BlockBackendError(
      'BACKEND_BUSY',
      `${path} is what a guest is moving with`,
      'wait until it has moved, or remove the chassis that it moves to',
    );
  }
  if (tryLock(disk)) return;
  throw new BlockBackendError(
    'BACKEND_BUSY',
    readOnly ? `${path} is in use by somebody who writes to it` : `${path} is in use`,
    'detach it there first, or put an overlay over a read-only disk',
  );
}

/** Of a disk that is somebody else's as yet: its lock is for `DiskLock.take` to get. */
export function awaitDisk({ fd }: Pick<Locked, 'fd'>): void {
  flock(fd, FlockOperation.LOCK_SH | FlockOperation.LOCK_NB);
}

/** The lock of a disk that is open. */
export class DiskLock {
  readonly #disk: Locked;
  #isHeld: boolean;

  constructor(disk: Locked, isHeld: boolean) {
    this.#disk = disk;
    this.#isHeld = isHeld;
  }

  get isHeld(): boolean {
    return this.#isHeld;
  }

  /** A driver is about to use the disk. False where it is somebody else's. */
  take(): boolean {
    if (this.#isHeld) return true;
    if (!tryLock(this.#disk)) return false;
    flock(this.#disk.fd, FlockOperation.LOCK_UN);
    return (this.#isHeld = true);
  }

  /** No driver uses it, and nothing is under way on it. */
  offer(): void {
    if (!this.#isHeld || !isAwaited(this.#disk)) return;
    ofdSetLock(this.#disk.fd, LockType.F_UNLCK, 0, 0);
    this.#isHeld = false;
  }
}

/** False where another one has it. */
function tryLock({ fd, readOnly }: Locked): boolean {
  const error = ofdSetLock(fd, readOnly ? LockType.F_RDLCK : LockType.F_WRLCK, 0, 0);
  return error !== -Errno.EAGAIN && error !== -Errno.EACCES;
}

/** Whether somebody waits for it. Of block devices nobody knows, for udev takes this kind of lock on them for its own ends. */
function isAwaited({ fd, readOnly, isBlockDevice }: Locked): boolean {
  if (readOnly || isBlockDevice) return false;
  if (flock(fd, FlockOperation.LOCK_EX | FlockOperation.LOCK_NB) < 0) return true;
  flock(fd, FlockOperation.LOCK_UN);
  return false;
}
