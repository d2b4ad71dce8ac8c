/**
 * Inode numbers for objects that have none, or the same one twice, as a union of two volumes has. A guest takes files with one
 * number for one file.
 */
import { FileMode } from '../file-system.js';
import { number, typeOf, whole } from './stats.js';
import type { NodeFsStats } from './node-fs-like.js';

/** An inode number in two halves. */
export interface InodeNumber {
  readonly low: number;
  readonly high: number;
}

/** A live node, by what the object calls its inode. */
export interface InodeHolder {
  path(): string | undefined;
}

const TWO_32 = 0x1_0000_0000;
/** Marks the numbers made here: objects count from 1. */
const MADE_HERE = 0x8000_0000;
const FNV_OFFSET_BASIS = 0x811c9dc5;
const FNV_PRIME = 0x01000193;
/** Starts the second of two hashes, which together make one of 63 bits. */
const OTHER_BASIS = 0x2f0b4c47;

/** Device and inode number as the object tells them, or undefined where it has none. */
export function inodeKey(stats: NodeFsStats): string | undefined {
  const inode = number(stats.ino);
  return inode > 0 ? `${number(stats.dev)}:${inode}` : undefined;
}

export class InodeNumbers {
  readonly #holders = new Map<string, InodeHolder>();

  /** The number of the file at `path`: the object's, or one made from the path where that is no use. */
  numberOf(path: string, stats: NodeFsStats): InodeNumber {
    const key = inodeKey(stats);
    if (key === undefined || this.#isTaken(key, path, stats)) return numberFromPath(path);
    const inode = whole(stats.ino);
    return { low: inode % TWO_32, high: Math.floor(inode / TWO_32) };
  }

  /** Remembers whose inode `key` is, unless somebody has it. */
  hold(key: string, holder: InodeHolder): void {
    if (!this.#holders.has(key)) this.#holders.set(key, holder);
  }

  letGo(key: string, holder: InodeHolder): void {
    if (this.#holders.get(key) === holder) this.#holders.delete(key);
  }

  /** True where another file has the number: one at another path, and this one has no other names. */
  #isTaken(key: string, path: string, stats: NodeFsStats): boolean {
    const holder = this.#holders.get(key);
    if (holder === undefined || holder.path() === path) return false;
    return typeOf(stats) === FileMode.S_IFDIR || number(stats.nlink) <= 1;
  }
}

function numberFromPath(path: string): InodeNumber {
  return { low: fnv1a(path, FNV_OFFSET_BASIS), high: (fnv1a(path, OTHER_BASIS) | MADE_HERE) >>> 0 };
}

function fnv1a(text: string, basis: number): number {
  let hash = basis;
  for (let i = 0; i < text.length; i++) hash = Math.imul(hash ^ text.charCodeAt(i), FNV_PRIME);
  return hash >>> 0;
}
