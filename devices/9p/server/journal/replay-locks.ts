/** Who holds which locks through which fids, as a journal tells: the same bookkeeping as that of the host's files. */
import { LockType, type ByteString, type Lock } from '../../fs/file-system.js';
import { LockRanges } from '../../fs/lock-ranges.js';

interface Owner {
  readonly key: string;
  readonly processId: number;
  readonly clientId: ByteString;
  readonly ranges: LockRanges;
  readonly fids: Set<number>;
}

export class ReplayLocks {
  readonly #owners = new Map<string, Owner>();
  readonly #ownersOfFid = new Map<number, Set<Owner>>();

  /** A lock was set, changed or given up through a fid of the file with this qid path. */
  note(fid: number, pathLow: number, pathHigh: number, lock: Lock): void {
    const { type, startBytes, lengthBytes, processId, clientId } = lock;
    const key = `${pathHigh}:${pathLow}:${processId}:${clientId}`;
    const known = this.#owners.get(key);
    if (type === LockType.P9_LOCK_TYPE_UNLCK) {
      if (startBytes === 0 && lengthBytes === 0) this.#forget(known);
      else known?.ranges.note(lock);
      return;
    }
    const owner = known ?? { key, processId, clientId, ranges: new LockRanges(), fids: new Set() };
    owner.ranges.note(lock);
    owner.fids.add(fid);
    this.#owners.set(key, owner);
    const owners = this.#ownersOfFid.get(fid) ?? new Set();
    this.#ownersOfFid.set(fid, owners.add(owner));
  }

  fidGone(fid: number): void {
    const owners = this.#ownersOfFid.get(fid);
    if (owners === undefined) return;
    this.#ownersOfFid.delete(fid);
    for (const owner of owners) {
      owner.fids.delete(fid);
      if (owner.fids.size === 0) this.#owners.delete(owner.key);
    }
  }

  heldThrough(fid: number): Lock[] {
    return [...(this.#ownersOfFid.get(fid) ?? [])].flatMap((owner) => owner.ranges.locks(owner) ?? []);
  }

  #forget(owner: Owner | undefined): void {
    if (owner === undefined) return;
    for (const fid of owner.fids) this.#ownersOfFid.get(fid)?.delete(owner);
    this.#owners.delete(owner.key);
  }
}
