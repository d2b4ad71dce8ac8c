/** Tsetattr on a node:fs-compatible object: size, owner, mode and times, in the order in which none undoes another. */
import { Errno, isFailure } from '../../../errno.js';
import { FileMode, SetAttr, type AttributeChanges, type Owner } from '../file-system.js';
import { SET_ID_BITS, withoutSetId } from '../set-id-bits.js';
import type { ChangeTarget } from './change-target.js';
import type { FileAccount, Measure } from '../file-account.js';
import type { KeptAttributes } from './kept-attributes.js';
import type { NodeFsContext } from './node-fs-context.js';
import type { NodeFsStats } from './node-fs-like.js';
import { number, typeOf } from './stats.js';

/** uid_t and gid_t that chown(2) leaves as they are. Not all objects know them. */
const UNCHANGED = 0xffff_ffff;
const NANOSECONDS_A_SECOND = 1_000_000_000;
const NANOSECONDS_A_MILLISECOND = 1_000_000;

/** A file about to be changed. */
export interface Subject {
  readonly target: ChangeTarget;
  readonly stats: NodeFsStats;
  /** Where owner and permissions are kept here rather than in the object. */
  readonly kept: KeptAttributes | undefined;
}

/** A file whose size may be changed too. */
export interface SizedSubject extends Subject {
  /** Where its size is counted, and how to ask for it. */
  readonly account: FileAccount | undefined;
  readonly measure: Measure;
}

export async function changeAttributes(
  context: NodeFsContext,
  subject: SizedSubject,
  changes: AttributeChanges,
): Promise<number> {
  const { valid } = changes;
  let error = 0;
  if ((valid & SetAttr.P9_ATTR_SIZE) !== 0) error = await changeSize(context, subject, changes.sizeBytes);
  if (error === 0) error = await changeOwner(context, subject, changes);
  if (error === 0 && (valid & SetAttr.P9_ATTR_MODE) !== 0)
    error = await changeMode(context, subject, changes.mode);
  return error === 0 ? changeTimes(subject, changes) : error;
}

/** Linux drops set-id bits when a file is written, cut or given away; an object may not. 0 or a negative errno. */
export async function dropSetId(subject: Subject): Promise<number> {
  const permissions = permissionsOf(subject);
  const left = withoutSetId(permissions);
  return left === permissions ? 0 : setPermissions(subject, left);
}

async function changeSize(context: NodeFsContext, subject: SizedSubject, sizeBytes: number): Promise<number> {
  const type = typeOf(subject.stats);
  if (type === FileMode.S_IFDIR) return -Errno.EISDIR;
  if (type !== FileMode.S_IFREG || sizeBytes < 0) return -Errno.EINVAL;
  const refused = context.checkSize(sizeBytes);
  if (refused < 0) return refused;
  const error = await dropSetId(subject);
  if (error < 0) return error;
  const truncate = (): Promise<number> => subject.target.truncate(sizeBytes);
  return subject.account === undefined
    ? truncate()
    : subject.account.resize(sizeBytes, subject.measure, truncate);
}

async function changeOwner(
  context: NodeFsContext,
  subject: Subject,
  { valid, uid, gid }: AttributeChanges,
): Promise<number> {
  if ((valid & (SetAttr.P9_ATTR_UID | SetAttr.P9_ATTR_GID)) === 0) return 0;
  const before = ownerOf(context, subject);
  const owner: Owner = {
    uid: (valid & SetAttr.P9_ATTR_UID) === 0 ? before.uid : uid,
    gid: (valid & SetAttr.P9_ATTR_GID) === 0 ? before.gid : gid,
  };
  if (typeOf(subject.stats) !== FileMode.S_IFDIR) {
    const error = await dropSetId(subject);
    if (error < 0) return error;
  }
  return setOwner(context, subject, owner);
}

function ownerOf(context: NodeFsContext, { stats, kept }: Subject): Owner {
  if (typeof context.ownership !== 'string') return context.ownership;
  return kept ?? { uid: number(stats.uid), gid: number(stats.gid) };
}

/** -EPERM where everything belongs to one owner, who is another. */
export function setOwner(context: NodeFsContext, subject: Subject, given: Owner): Promise<number> | number {
  const before = ownerOf(context, subject);
  const owner: Owner = {
    uid: given.uid === UNCHANGED ? before.uid : given.uid,
    gid: given.gid === UNCHANGED ? before.gid : given.gid,
  };
  if (before.uid === owner.uid && before.gid === owner.gid) return 0;
  if (typeof context.ownership !== 'string') return -Errno.EPERM;
  if (subject.kept === undefined) return subject.target.chown(owner.uid, owner.gid);
  subject.kept.uid = owner.uid;
  subject.kept.gid = owner.gid;
  return 0;
}

function changeMode(context: NodeFsContext, subject: Subject, mode: number): Promise<number> | number {
  if (typeOf(subject.stats) === FileMode.S_IFLNK) return -Errno.EOPNOTSUPP;
  if ((mode & SET_ID_BITS) !== 0) context.setIdEpoch++;
  return setPermissions(subject, mode & 0o7777);
}

function permissionsOf({ stats, kept }: Subject): number {
  return kept?.permissions ?? number(stats.mode) & 0o7777;
}

export function setPermissions({ target, kept }: Subject, permissions: number): Promise<number> | number {
  if (kept === undefined) return target.chmod(permissions);
  kept.permissions = permissions;
  return 0;
}

/** The object sets both times or none: the one that stays is set to what it was. */
async function changeTimes({ target, stats }: Subject, changes: AttributeChanges): Promise<number> {
  const { valid } = changes;
  const { P9_ATTR_ATIME, P9_ATTR_ATIME_SET, P9_ATTR_MTIME, P9_ATTR_MTIME_SET } = SetAttr;
  if ((valid & (P9_ATTR_ATIME | P9_ATTR_MTIME)) === 0) return 0;
  let atime: number | Date = time(number(stats.atimeMs));
  let mtime: number | Date = time(number(stats.mtimeMs));
  if ((valid & P9_ATTR_ATIME) !== 0) {
    atime = givenTime((valid & P9_ATTR_ATIME_SET) !== 0, changes.atimeSeconds, changes.atimeNanoseconds);
  }
  if ((valid & P9_ATTR_MTIME) !== 0) {
    mtime = givenTime((valid & P9_ATTR_MTIME_SET) !== 0, changes.mtimeSeconds, changes.mtimeNanoseconds);
  }
  const answer = isTime(atime) && isTime(mtime) ? await target.utimes(atime, mtime) : -Errno.EINVAL;
  return isFailure(answer) ? answer : 0;
}

function givenTime(isSet: boolean, seconds: number, nanoseconds: number): number | Date {
  if (!isSet) return time(Date.now());
  if (!(nanoseconds >= 0 && nanoseconds < NANOSECONDS_A_SECOND)) return NaN;
  return time(seconds * 1000 + nanoseconds / NANOSECONDS_A_MILLISECOND);
}

/** Node cuts times to microseconds; with this they are rounded. */
const HALF_A_MICROSECOND = 0.5e-6;

/** Seconds, or a Date before 1970: `fs.utimes` takes negative numbers for now. */
function time(milliseconds: number): number | Date {
  return milliseconds < 0 ? new Date(milliseconds) : milliseconds / 1000 + HALF_A_MICROSECOND;
}

function isTime(value: number | Date): boolean {
  return Number.isFinite(Number(value));
}
