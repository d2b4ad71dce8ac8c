/**
 * Byte-range locks as 9P2000.L has them (POSIX): a lock's owner is a process of a client, not an open file. So each owner of locks on
 * a file gets an open file description of its own, and holds there what the host's processes and other guests are to see as
 * open-file-description locks: two processes of a guest that share a fid exclude each other, and one process that has a file open
 * twice does not exclude itself.
 */
import { closeFd, ofdGetLock, ofdSetLock, OpenFlags, type ConflictingLock } from '../../../../host/index.js';
import { Errno } from '../../../errno.js';
import type { GivenDescriptor } from '../../../state-descriptors.js';
import { LockStatus, LockType, type ByteString, type HeldLock, type Lock } from '../file-system.js';
import { LockRanges } from '../lock-ranges.js';
import type { ExportContext } from './export-context.js';
import type { Identity } from './statx-buffer.js';
import { lockWaiters } from './lock-waiters.js';

/** An open file that locks are set through. */
export interface LockableFile {
  readonly fd: number;
  /** O_ACCMODE bits that it was opened with. */
  readonly accessMode: number;
  readonly identity: Identity;
}

interface LockOwner {
  readonly key: string;
  readonly fd: number;
  readonly processId: number;
  readonly clientId: ByteString;
  readonly ranges: LockRanges;
  /** The owner's open files through which it has set locks: with the last of them its locks go. */
  readonly files: Set<LockableFile>;
}

const OPEN_FLAGS = OpenFlags.O_NONBLOCK | OpenFlags.O_NOCTTY;

const conflict: ConflictingLock = { type: 0, start: 0, length: 0 };

/** All locks of one export. */
export class FileLocks {
  readonly #context: ExportContext;
  readonly #owners = new Map<string, LockOwner>();
  readonly #ownersOfFile = new Map<LockableFile, Set<LockOwner>>();

  constructor(context: ExportContext) {
    this.#context = context;
  }

  /**
   * A LockStatus; never waits. -ENOLCK where no descriptor is left for the owner, -EBADF where the host does not let it lock. `held` is an
   * owner's from elsewhere, which has the lock.
   */
  set(file: LockableFile, lock: Lock, held?: GivenDescriptor): number {
    const key = keyOf(file, lock);
    const known = this.#owners.get(key);
    if (lock.type === LockType.P9_LOCK_TYPE_UNLCK)
      return known === undefined ? LockStatus.P9_LOCK_SUCCESS : this.#unlock(known, lock);
    const readOnly = lock.readOnly === true;
    const owner = known ?? this.#openOwner(key, file, lock, held);
    if (typeof owner === 'number') return owner;
    const type = readOnly ? LockType.P9_LOCK_TYPE_RDLCK : lock.type;
    const answer = ofdSetLock(owner.fd, type, lock.startBytes, lock.lengthBytes);
    if (answer === 0) this.#note(owner, file, { ...lock, type });
    else if (owner.files.size === 0) this.#closeOwner(owner);
    if (answer === -Errno.EAGAIN || answer === -Errno.EACCES) return LockStatus.P9_LOCK_BLOCKED;
    return answer < 0 ? answer : LockStatus.P9_LOCK_SUCCESS;
  }

  /**
   * Turns `lock` into the lock in its way. Asked about no type, as Linux's client always does, it answers for a write lock. The kernel
   * does not say who holds such a lock.
   */
  get(file: LockableFile, lock: Lock): number {
    const asked = lock.type === LockType.P9_LOCK_TYPE_UNLCK ? LockType.P9_LOCK_TYPE_WRLCK : lock.type;
    // Through the owner's own description its own locks are not in its way.
    const fd = this.#owners.get(keyOf(file, lock))?.fd ?? file.fd;
    const answer = ofdGetLock(fd, asked, lock.startBytes, lock.lengthBytes, conflict);
    if (answer < 0) return answer;
    lock.type = conflict.type;
    if (conflict.type === LockType.P9_LOCK_TYPE_UNLCK) return 0;
    lock.startBytes = conflict.start;
    lock.lengthBytes = conflict.length;
    lock.processId = 0;
    lock.clientId = '';
    return 0;
  }

  /** What the owners that have set locks through this file hold; undefined where it is too much to tell. */
  heldThrough(file: LockableFile): HeldLock[] | undefined {
    const held: HeldLock[] = [];
    for (const owner of this.#ownersOfFile.get(file) ?? []) {
      const locks = owner.ranges.locks({ processId: owner.processId, clientId: owner.clientId });
      if (locks === undefined) return undefined;
      for (const lock of locks) held.push({ ...lock, descriptor: owner.fd });
    }
    return held;
  }

  /** Gives up the locks of owners that have set them through this file alone. */
  fileClosed(file: LockableFile): void {
    const owners = this.#ownersOfFile.get(file);
    if (owners === undefined) return;
    this.#ownersOfFile.delete(file);
    for (const owner of owners) {
      owner.files.delete(file);
      if (owner.files.size === 0) this.#closeOwner(owner);
    }
    lockWaiters.released();
  }

  #unlock(owner: LockOwner, lock: Lock): number {
    const { type, startBytes, lengthBytes } = lock;
    // All of it, which is how a file is unlocked when it is closed: nothing is left to hold.
    const answer =
      startBytes === 0 && lengthBytes === 0
        ? this.#forget(owner)
        : ofdSetLock(owner.fd, type, startBytes, lengthBytes);
    if (answer >= 0) owner.ranges.note(lock);
    lockWaiters.released();
    return answer < 0 ? answer : LockStatus.P9_LOCK_SUCCESS;
  }

  #forget(owner: LockOwner): number {
    for (const file of owner.files) {
      const owners = this.#ownersOfFile.get(file);
      owners?.delete(owner);
      if (owners?.size === 0) this.#ownersOfFile.delete(file);
    }
    this.#closeOwner(owner);
    return 0;
  }

  #note(owner: LockOwner, file: LockableFile, lock: Lock): void {
    owner.ranges.note(lock);
    owner.files.add(file);
    const owners = this.#ownersOfFile.get(file);
    if (owners === undefined) this.#ownersOfFile.set(file, new Set([owner]));
    else owners.add(owner);
  }

  /** Opens the file for its owner, to read and write where that is allowed: flock(2) locks files that are open to read only. */
  #openOwner(
    key: string,
    file: LockableFile,
    lock: Lock,
    held: GivenDescriptor | undefined,
  ): LockOwner | number {
    const context = this.#context;
    const { processId, clientId } = lock;
    const readOnly = lock.readOnly === true;
    if (context.openFiles >= context.limits.maxOpenFiles) return -Errno.ENOLCK;
    let fd = this.#adopt(file, held);
    if (fd < 0) fd = context.reopen(file.fd, (readOnly ? OpenFlags.O_RDONLY : OpenFlags.O_RDWR) | OPEN_FLAGS);
    if (fd < 0) fd = context.reopen(file.fd, file.accessMode | OPEN_FLAGS);
    if (fd < 0) return fd === -Errno.EMFILE || fd === -Errno.ENFILE ? -Errno.ENOLCK : fd;
    const ranges = new LockRanges();
    const owner = { key, fd, processId, clientId, ranges, files: new Set<LockableFile>() };
    context.openFiles++;
    this.#owners.set(key, owner);
    return owner;
  }

  /** An owner's descriptor from elsewhere, or -1. */
  #adopt({ identity }: LockableFile, held: GivenDescriptor | undefined): number {
    if (held === undefined || this.#context.statx.load(held.fd) < 0) return -1;
    return this.#context.statx.isOf(identity) ? held.take() : -1;
  }

  #closeOwner(owner: LockOwner): void {
    this.#owners.delete(owner.key);
    closeFd(owner.fd);
    this.#context.openFiles--;
  }
}

function keyOf({ identity }: LockableFile, { processId, clientId }: Lock): string {
  return `${identity.device}:${identity.inodeHigh}:${identity.inodeLow}:${processId}:${clientId}`;
}
