/**
 * Who may write to an image: one at a time, for two guests that write to one disk destroy it. The lock is of the kind that QEMU takes, and keeps
 * us and it apart, save that one who only reads does not notice a QEMU that was there first. File systems without locks go without.
 *
 * A guest that moves from one process to another has its disk open in both. The one that it moves to waits: it says so by a shared flock(2), which has
 * nothing to do with the lock itself. The one that it moves from lets go once no driver runs, where somebody waits; otherwise a disk is locked
 * for as long as it is open. And it says in which cache mode its driver was, by a shared lock on a byte that no disk has: VMMs do not move that.
 */
import { flock, FlockOperation, LockType, ofdGetLock, ofdSetLock } from '../../../../host/index.js';
import { Errno } from '../../../errno.js';
import { BlockBackendError } from '../errors.js';

/** What is locked, and how. */
interface Locked {
  readonly fd: number;
  readonly path: string;
  readonly readOnly: boolean;
  readonly isBlockDevice: boolean;
}

/** The lock is on all bytes below; on these two, whoever let go of it leaves word until it closes the disk. */
const LEFT_WRITE_BACK = 2 ** 52;
const LEFT_WRITE_THROUGH = LEFT_WRITE_BACK + 1;

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
  #writeBackBefore: boolean | undefined;

  constructor(disk: Locked, isHeld: boolean) {
    this.#disk = disk;
    this.#isHeld = isHeld;
  }

  get isHeld(): boolean {
    return this.#isHeld;
  }

  /** Whether the driver before had a write-back cache, as who let go of the disk has said; undefined where nobody has. */
  get writeBackBefore(): boolean | undefined {
    return this.#writeBackBefore;
  }

  /** A driver is about to use the disk. False where it is somebody else's. */
  take(): boolean {
    if (this.#isHeld) return true;
    const { fd } = this.#disk;
    if (!tryLock(this.#disk)) return false;
    flock(fd, FlockOperation.LOCK_UN);
    ofdSetLock(fd, LockType.F_UNLCK, LEFT_WRITE_BACK, 2);
    this.#writeBackBefore = wordLeft(fd);
    return (this.#isHeld = true);
  }

  /** No driver uses it, and nothing is under way on it. The last one had a write-back cache, or did not. */
  offer(writeBack: boolean): void {
    if (!this.#isHeld || !isAwaited(this.#disk)) return;
    const { fd } = this.#disk;
    ofdSetLock(fd, LockType.F_RDLCK, writeBack ? LEFT_WRITE_BACK : LEFT_WRITE_THROUGH, 1);
    ofdSetLock(fd, LockType.F_UNLCK, 0, LEFT_WRITE_BACK);
    this.#isHeld = false;
  }
}

/** Where several have left word, write-through is what does no harm. */
function wordLeft(fd: number): boolean | undefined {
  if (isMarked(fd, LEFT_WRITE_THROUGH)) return false;
  return isMarked(fd, LEFT_WRITE_BACK) ? true : undefined;
}

function isMarked(fd: number, byte: number): boolean {
  const found = { type: LockType.F_UNLCK as number, start: 0, length: 0 };
  return ofdGetLock(fd, LockType.F_WRLCK, byte, 1, found) === 0 && found.type !== LockType.F_UNLCK;
}

/** False where another one has it. */
function tryLock({ fd, readOnly }: Locked): boolean {
  const error = ofdSetLock(fd, readOnly ? LockType.F_RDLCK : LockType.F_WRLCK, 0, LEFT_WRITE_BACK);
  return error !== -Errno.EAGAIN && error !== -Errno.EACCES;
}

/** Whether somebody waits for it. Of block devices nobody knows, for udev takes this kind of lock on them for its own ends. */
function isAwaited({ fd, readOnly, isBlockDevice }: Locked): boolean {
  if (readOnly || isBlockDevice) return false;
  if (flock(fd, FlockOperation.LOCK_EX | FlockOperation.LOCK_NB) < 0) return true;
  flock(fd, FlockOperation.LOCK_UN);
  return false;
}
