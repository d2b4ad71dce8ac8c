/**
 * The bound on O_PATH descriptors: a guest may hold a million fids, the process has a few thousand descriptors.
 *
 * Owners with an open descriptor stand in a list from newest to oldest use; beyond the capacity the oldest is closed, and its
 * owner opens it again when it is asked for. Pinned owners are not in the list: theirs is the only way left to an
 * unlinked file, or a call in progress uses it.
 */
import { closeFd } from '../../../../host/index.js';
import { Errno } from '../../../errno.js';

/** What the cache keeps of an owner: the links live in the owner itself, so that a descriptor costs no object. */
export interface HandleOwner {
  /** The O_PATH descriptor, or -1 while it is closed. Only the cache changes it. */
  fd: number;
  pins: number;
  newer: HandleOwner | null;
  older: HandleOwner | null;
}

/** The list never gets shorter than this by pins: a walk down from an ancestor needs its parent's descriptor. */
export const MIN_LISTED_HANDLES = 16;

export class HandleCache {
  readonly capacity: number;
  #newest: HandleOwner | null = null;
  #oldest: HandleOwner | null = null;
  #listed = 0;
  #pinned = 0;

  /** @param capacity most descriptors, pinned ones included; at least twice {@link MIN_LISTED_HANDLES} */
  constructor(capacity: number) {
    this.capacity = Math.max(capacity, 2 * MIN_LISTED_HANDLES);
  }

  /** Descriptors open now. */
  get size(): number {
    return this.#listed + this.#pinned;
  }

  /** Gives `owner`, which has none, the descriptor `fd`; closes the oldest ones beyond the capacity. */
  add(owner: HandleOwner, fd: number): void {
    owner.fd = fd;
    this.#link(owner);
    this.#evictDownTo(this.capacity);
  }

  /** Notes that the descriptor of `owner` was used. */
  touch(owner: HandleOwner): void {
    if (owner.pins > 0 || owner === this.#newest) return;
    this.#unlink(owner);
    this.#link(owner);
  }

  /** Keeps the descriptor of `owner`, which is open, until as many `unpin` calls. 0, or -EMFILE where too many are kept. */
  pin(owner: HandleOwner): number {
    if (owner.pins === 0) {
      if (this.#pinned >= this.capacity - MIN_LISTED_HANDLES) return -Errno.EMFILE;
      this.#unlink(owner);
      this.#pinned++;
    }
    owner.pins++;
    return 0;
  }

  unpin(owner: HandleOwner): void {
    if (--owner.pins > 0) return;
    this.#pinned--;
    this.#link(owner);
    this.#evictDownTo(this.capacity);
  }

  /** Closes the descriptor of `owner`, pinned or not. */
  drop(owner: HandleOwner): void {
    if (owner.fd < 0) return;
    if (owner.pins > 0) {
      owner.pins = 0;
      this.#pinned--;
    } else {
      this.#unlink(owner);
    }
    closeFd(owner.fd);
    owner.fd = -1;
  }

  /** Makes room after an EMFILE that others in the process have caused. False where there was nothing to close. */
  shrink(): boolean {
    const before = this.#listed;
    this.#evictDownTo(this.size >> 1);
    return this.#listed < before;
  }

  #evictDownTo(size: number): void {
    while (this.size > size && this.#listed > MIN_LISTED_HANDLES && this.#oldest !== null)
      this.drop(this.#oldest);
  }

  #link(owner: HandleOwner): void {
    owner.older = this.#newest;
    owner.newer = null;
    if (this.#newest === null) this.#oldest = owner;
    else this.#newest.newer = owner;
    this.#newest = owner;
    this.#listed++;
  }

  #unlink(owner: HandleOwner): void {
    if (owner.newer === null) this.#newest = owner.older;
    else owner.newer.older = owner.older;
    if (owner.older === null) this.#oldest = owner.newer;
    else owner.older.newer = owner.newer;
    owner.newer = null;
    owner.older = null;
    this.#listed--;
  }
}
