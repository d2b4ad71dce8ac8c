/** Tsetattr on the host: size, owner, mode and times, in the order in which none undoes another. */
import {
  addressOf,
  fchmodOPath,
  fchown,
  futimensOPath,
  UTIME_NOW,
  UTIME_OMIT,
  UTIMENS,
  UTIMENS_BYTES,
} from '../../../../host/index.js';
import { Errno } from '../../../errno.js';
import { FileMode, SetAttr, type AttributeChanges } from '../file-system.js';
import type { ExportContext } from './export-context.js';
import { dropSetId } from './set-id.js';

/** uid_t and gid_t that chown(2) leaves as they are. */
const UNCHANGED = 0xffff_ffff;
const NANOSECONDS_A_SECOND = 1_000_000_000;

const times = new DataView(new ArrayBuffer(UTIMENS_BYTES));
const timesAddress = addressOf(new Uint8Array(times.buffer));

/** `type` is the file's S_IFMT; `truncate` cuts the file behind `fd`. All other changes work on any descriptor, O_PATH or not. */
export function changeAttributes(
  context: ExportContext,
  fd: number,
  type: number,
  changes: AttributeChanges,
  truncate: (fd: number, sizeBytes: number) => number,
): number {
  const { valid } = changes;
  let error =
    (valid & SetAttr.P9_ATTR_SIZE) === 0 ? 0 : changeSize(context, fd, type, changes.sizeBytes, truncate);
  if (error === 0) error = changeOwner(fd, changes);
  if (error === 0 && (valid & SetAttr.P9_ATTR_MODE) !== 0) error = changeMode(fd, type, changes.mode);
  return error === 0 ? changeTimes(fd, changes) : error;
}

function changeSize(
  context: ExportContext,
  fd: number,
  type: number,
  sizeBytes: number,
  truncate: (fd: number, sizeBytes: number) => number,
): number {
  if (type === FileMode.S_IFDIR) return -Errno.EISDIR;
  if (type !== FileMode.S_IFREG || sizeBytes < 0) return -Errno.EINVAL;
  if (!Number.isSafeInteger(sizeBytes)) return -Errno.EFBIG;
  // By name in /proc, which works for any descriptor: fchmod(2) refuses an O_PATH one.
  const error = dropSetId(context, fd, fchmodOPath);
  return error < 0 ? error : truncate(fd, sizeBytes);
}

/** The kernel drops set-id bits at a change of owner, whoever asks; a mode in the same request comes after it. */
function changeOwner(fd: number, { valid, uid, gid }: AttributeChanges): number {
  const setUid = (valid & SetAttr.P9_ATTR_UID) !== 0;
  const setGid = (valid & SetAttr.P9_ATTR_GID) !== 0;
  // A lone P9_ATTR_CTIME is the guest's chown(-1, -1), which does nothing but touch ctime.
  if (!setUid && !setGid && valid !== SetAttr.P9_ATTR_CTIME) return 0;
  return fchown(fd, setUid ? uid : UNCHANGED, setGid ? gid : UNCHANGED);
}

function changeMode(fd: number, type: number, mode: number): number {
  // Some file systems would change a symbolic link's mode, which means nothing.
  return type === FileMode.S_IFLNK ? -Errno.EOPNOTSUPP : fchmodOPath(fd, mode & 0o7777);
}

function changeTimes(fd: number, changes: AttributeChanges): number {
  const { valid } = changes;
  if ((valid & (SetAttr.P9_ATTR_ATIME | SetAttr.P9_ATTR_MTIME)) === 0) return 0;
  const { P9_ATTR_ATIME, P9_ATTR_ATIME_SET, P9_ATTR_MTIME, P9_ATTR_MTIME_SET } = SetAttr;
  const atimeNsec = nanoseconds(valid, P9_ATTR_ATIME, P9_ATTR_ATIME_SET, changes.atimeNanoseconds);
  const mtimeNsec = nanoseconds(valid, P9_ATTR_MTIME, P9_ATTR_MTIME_SET, changes.mtimeNanoseconds);
  if (atimeNsec < 0 || mtimeNsec < 0) return -Errno.EINVAL;
  setTime(UTIMENS.atimeSec, changes.atimeSeconds, atimeNsec);
  setTime(UTIMENS.mtimeSec, changes.mtimeSeconds, mtimeNsec);
  return futimensOPath(fd, timesAddress);
}

/** What utimensat(2) wants as tv_nsec; -1 for a number that is none, such as one of its own special values. */
function nanoseconds(valid: number, attribute: number, attributeSet: number, given: number): number {
  if ((valid & attribute) === 0) return UTIME_OMIT;
  if ((valid & attributeSet) === 0) return UTIME_NOW;
  return given >= 0 && given < NANOSECONDS_A_SECOND ? given : -1;
}

function setTime(offset: number, seconds: number, nanoseconds: number): void {
  times.setUint32(offset, seconds >>> 0, true);
  times.setInt32(offset + 4, Math.floor(seconds / 0x1_0000_0000), true);
  times.setUint32(offset + 8, nanoseconds, true);
}
