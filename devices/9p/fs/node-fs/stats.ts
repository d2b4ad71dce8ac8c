/** `fs.Stats` as attributes. */
import { FileMode, type Attributes } from '../file-system.js';
import type { NodeFsStats } from './node-fs-like.js';

const SECTOR_BYTES = 512;
const DEFAULT_BLOCK_BYTES = 4096;

/** What an object says of a file, in plain numbers: garbage becomes 0. */
export function number(value: number | bigint | undefined): number {
  const result = Number(value ?? 0);
  return Number.isFinite(result) ? result : 0;
}

export function typeOf(stats: NodeFsStats): number {
  return number(stats.mode) & FileMode.S_IFMT;
}

/** Fills all but the inode number. */
export function fillAttributes(out: Attributes, stats: NodeFsStats): void {
  out.mode = number(stats.mode) & 0xffff;
  out.uid = number(stats.uid) >>> 0;
  out.gid = number(stats.gid) >>> 0;
  out.nlink = number(stats.nlink) >>> 0;
  out.rdev = whole(stats.rdev);
  out.sizeBytes = whole(stats.size);
  out.blockSizeBytes = whole(stats.blksize) === 0 ? DEFAULT_BLOCK_BYTES : whole(stats.blksize);
  out.blocks = stats.blocks === undefined ? Math.ceil(out.sizeBytes / SECTOR_BYTES) : whole(stats.blocks);
  out.atimeSeconds = seconds(stats.atimeMs);
  out.atimeNanoseconds = nanoseconds(stats.atimeMs);
  out.mtimeSeconds = seconds(stats.mtimeMs);
  out.mtimeNanoseconds = nanoseconds(stats.mtimeMs);
  out.ctimeSeconds = seconds(stats.ctimeMs);
  out.ctimeNanoseconds = nanoseconds(stats.ctimeMs);
  out.device = whole(stats.dev);
}

/** Counts, clamped to what a Number holds exactly. */
export function whole(value: number | bigint | undefined): number {
  return Math.min(Math.max(Math.trunc(number(value)), 0), Number.MAX_SAFE_INTEGER);
}

function seconds(milliseconds: number | bigint): number {
  return Math.floor(number(milliseconds) / 1000);
}

/** Whole microseconds: what a Number of milliseconds holds today. */
function nanoseconds(milliseconds: number | bigint): number {
  const ms = number(milliseconds);
  const micros = Math.round((ms - Math.floor(ms / 1000) * 1000) * 1000);
  return Math.min(micros, 999_999) * 1000;
}
