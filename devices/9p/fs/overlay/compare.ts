/** Whether a file of the upper layer differs from the one of the lower layer that it was made from. */
import { isFailure, type Failure } from '../../../errno.js';
import { sameBytes } from '../../../same-bytes.js';
import { Attributes, FileMode, OpenFlag, type FsNode, type OpenFile } from '../file-system.js';
import { namesIn } from '../xattr-names.js';
import { vectorOf } from './copy-node.js';
import { typeOf } from './layer.js';
import { BYTES_A_TURN, Pace } from './pace.js';

const CHUNK_BYTES = 64 * 1024;
/** The coarsest unit that a layer keeps times in. */
const TIME_UNIT_NANOSECONDS = 1_000_000;

export type Difference = 'content' | 'metadata' | 'none';

/** Both have the same type. Of directories only the metadata counts. */
export async function compare(upper: FsNode, lower: FsNode): Promise<Difference | Failure> {
  const above = new Attributes();
  const below = new Attributes();
  const error = (await upper.getattr(above)) || (await lower.getattr(below));
  if (error < 0) return error;
  const same = await hasSameContent(upper, above, lower, below);
  if (isFailure(same)) return same;
  if (!same) return 'content';
  if (!hasSameOwnerAndMode(above, below)) return 'metadata';
  // Others' times change as their entries do, or cannot be set everywhere.
  if (typeOf(above) === FileMode.S_IFREG && !isSameTime(above, below)) return 'metadata';
  return (await hasSameXattrs(upper, lower)) ? 'none' : 'metadata';
}

function hasSameOwnerAndMode(above: Attributes, below: Attributes): boolean {
  const isSameOwner = above.uid === below.uid && above.gid === below.gid;
  // A link's mode means nothing, and differs between file systems.
  return isSameOwner && (above.mode === below.mode || typeOf(above) === FileMode.S_IFLNK);
}

function isSameTime(above: Attributes, below: Attributes): boolean {
  const seconds = above.mtimeSeconds - below.mtimeSeconds;
  const nanoseconds = seconds * 1e9 + above.mtimeNanoseconds - below.mtimeNanoseconds;
  return Math.abs(nanoseconds) < TIME_UNIT_NANOSECONDS;
}

async function hasSameContent(
  upper: FsNode,
  above: Attributes,
  lower: FsNode,
  below: Attributes,
): Promise<boolean | Failure> {
  switch (typeOf(above)) {
    case FileMode.S_IFREG:
      return above.sizeBytes === below.sizeBytes ? hasSameData(upper, lower) : false;
    case FileMode.S_IFLNK:
      return (await upper.readlink()) === (await lower.readlink());
    default:
      return above.rdev === below.rdev;
  }
}

async function hasSameData(upper: FsNode, lower: FsNode): Promise<boolean | Failure> {
  const above = await upper.open(OpenFlag.O_RDONLY);
  if (isFailure(above)) return above;
  const below = await lower.open(OpenFlag.O_RDONLY);
  const same = isFailure(below) ? below : await compareData(above, below);
  if (!isFailure(below)) await below.close();
  await above.close();
  return same;
}

async function compareData(above: OpenFile, below: OpenFile): Promise<boolean | Failure> {
  const chunk = new Uint8Array(CHUNK_BYTES);
  const other = new Uint8Array(CHUNK_BYTES);
  const pace = new Pace(BYTES_A_TURN);
  for (let at = 0; ;) {
    const length = await above.read(at, vectorOf(chunk, CHUNK_BYTES));
    const otherLength = await below.read(at, vectorOf(other, CHUNK_BYTES));
    if (length < 0 || otherLength < 0) return Math.min(length, otherLength);
    if (length !== otherLength) return false;
    if (length === 0) return true;
    for (let i = 0; i < length; i++) if (chunk[i] !== other[i]) return false;
    at += length;
    await pace.spend(2 * length);
  }
}

/** A layer without extended attributes has lost none. */
async function hasSameXattrs(upper: FsNode, lower: FsNode): Promise<boolean> {
  const above = await upper.listxattr();
  const below = await lower.listxattr();
  if (isFailure(above) || isFailure(below)) return true;
  const names = namesIn(above).sort();
  if (names.join('\0') !== namesIn(below).sort().join('\0')) return false;
  for (const name of names) {
    const value = await upper.getxattr(name);
    const other = await lower.getxattr(name);
    if (isFailure(value) || isFailure(other)) return false;
    if (!sameBytes(value, other)) return false;
  }
  return true;
}
