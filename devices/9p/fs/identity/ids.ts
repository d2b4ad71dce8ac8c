/** How users and groups of the guest and of the host stand for each other. */
import { Errno, type Failure } from '../../../errno.js';
import type { Owner } from '../file-system.js';

/** The ids `guest` to `guest + count - 1` stand for those from `host` on. */
export interface IdRange {
  readonly guest: number;
  readonly host: number;
  readonly count: number;
}

/** Whose files of the host are that no id of the guest stands for: nobody's. */
export const OVERFLOW_ID = 65_534;
/** uid_t and gid_t that chown(2) leaves as they are. */
export const UNCHANGED = 0xffff_ffff;
const IDS = 2 ** 32;
/** As many as Linux takes for a user namespace. */
const RANGES_MAX = 340;

/** Ranges that cannot be; `message` is for the operator. */
export class IdentityError extends Error {
  constructor(reason: string) {
    super(reason);
    this.name = 'IdentityError';
  }
}

/** One kind of ids, users or groups. */
export class IdMap {
  readonly #ranges: readonly IdRange[];

  /** @throws IdentityError where ranges are no ranges of ids, or overlap on either side */
  constructor(ranges: readonly IdRange[]) {
    if (ranges.length > RANGES_MAX)
      throw new IdentityError(`there are more than ${RANGES_MAX} ranges of ids`);
    for (const [i, range] of ranges.entries()) {
      checkRange(range);
      for (const other of ranges.slice(0, i))
        if (overlaps(range, other, 'guest') || overlaps(range, other, 'host'))
          throw new IdentityError(`${describe(range)} and ${describe(other)} overlap`);
    }
    this.#ranges = ranges;
  }

  toGuest(id: number): number {
    for (const { guest, host, count } of this.#ranges)
      if (id >= host && id < host + count) return guest + (id - host);
    return OVERFLOW_ID;
  }

  /** -EINVAL where the guest's id stands for nothing. */
  toHost(id: number): number {
    if (id === UNCHANGED) return id;
    for (const { guest, host, count } of this.#ranges)
      if (id >= guest && id < guest + count) return host + (id - guest);
    return -Errno.EINVAL;
  }
}

function checkRange(range: IdRange): void {
  const { guest, host, count } = range;
  const isWhole = [guest, host, count].every(Number.isSafeInteger);
  // 2^32 - 1 is no id.
  if (!isWhole || guest < 0 || host < 0 || count < 1 || guest + count >= IDS || host + count >= IDS)
    throw new IdentityError(`${describe(range)} is no range of ids`);
}

function describe({ guest, host, count }: IdRange): string {
  return `guest ${guest}, host ${host}, count ${count}`;
}

function overlaps(a: IdRange, b: IdRange, side: 'guest' | 'host'): boolean {
  return a[side] < b[side] + b.count && b[side] < a[side] + a.count;
}

/** Both kinds of ids, as a mount translates them. */
export interface Translation {
  uidToGuest(uid: number): number;
  gidToGuest(gid: number): number;
  /** What chown gets: the host's ids, UNCHANGED where one is to stay, or why not. */
  changedUid(uid: number): number;
  changedGid(gid: number): number;
  /** Whose a new file is; -EOVERFLOW for somebody who is nobody on the host, as Linux says on mapped mounts. */
  ownerOfNew(owner: Owner): Owner | Failure;
  /** Entries of POSIX ACLs can be translated. */
  readonly hasAcls: boolean;
}

export class MappedIds implements Translation {
  readonly hasAcls = true;
  readonly #uids: IdMap;
  readonly #gids: IdMap;

  /** @throws IdentityError */
  constructor(uids: readonly IdRange[], gids: readonly IdRange[]) {
    this.#uids = new IdMap(uids);
    this.#gids = new IdMap(gids);
  }

  uidToGuest(uid: number): number {
    return this.#uids.toGuest(uid);
  }

  gidToGuest(gid: number): number {
    return this.#gids.toGuest(gid);
  }

  changedUid(uid: number): number {
    return this.#uids.toHost(uid);
  }

  changedGid(gid: number): number {
    return this.#gids.toHost(gid);
  }

  ownerOfNew(owner: Owner): Owner | Failure {
    const uid = this.#uids.toHost(owner.uid);
    const gid = this.#gids.toHost(owner.gid);
    return uid < 0 || gid < 0 ? -Errno.EOVERFLOW : { uid, gid };
  }
}

/** All files are `guest`'s, as the guest sees it, and those that it makes are `host`'s. */
export class SquashedIds implements Translation {
  readonly hasAcls = false;
  readonly #guest: Owner;
  readonly #host: Owner;

  constructor(guest: Owner, host: Owner) {
    this.#guest = guest;
    this.#host = host;
  }

  uidToGuest(): number {
    return this.#guest.uid;
  }

  gidToGuest(): number {
    return this.#guest.gid;
  }

  /** Whose they are already they may be given, and stay. */
  changedUid(uid: number): number {
    return uid === this.#guest.uid || uid === UNCHANGED ? UNCHANGED : -Errno.EPERM;
  }

  changedGid(gid: number): number {
    return gid === this.#guest.gid || gid === UNCHANGED ? UNCHANGED : -Errno.EPERM;
  }

  ownerOfNew(): Owner {
    return this.#host;
  }
}
