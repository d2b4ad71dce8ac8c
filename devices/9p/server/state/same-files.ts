/**
 * Whether files are the ones that another server knew. Inode numbers are the same then. Device numbers need not be: after a start of
 * the host, or in another process, a device may have another one. So each of the other server's devices has to be one of ours, and none
 * of ours two of theirs.
 */
import type { Attributes } from '../../fs/file-system.js';
import { InodePrefixes, type InodePrefix } from '../../fs/inode-prefixes.js';

const HALF = 0xffff;

export class SameFiles {
  readonly #byPrefix: ReadonlyMap<number, InodePrefix>;
  /** The other server's devices → ours, and back. */
  readonly #ours = new Map<number, number>();
  readonly #theirs = new Map<number, number>();

  constructor(prefixes: readonly InodePrefix[]) {
    this.#byPrefix = new Map(prefixes.map((each) => [each.prefix, each]));
  }

  /** Whether the file is the one whose qid's path was this one. */
  isSame({ device, inodeLow, inodeHigh }: Attributes, pathLow: number, pathHigh: number): boolean {
    const known = this.#byPrefix.get(pathHigh >>> 16);
    if (known === undefined || inodeLow >>> 0 !== pathLow) return false;
    if ((inodeHigh & HALF) !== (pathHigh & HALF) || inodeHigh >>> 16 !== known.bits) return false;
    const ours = this.#ours.get(known.device) ?? device;
    const theirs = this.#theirs.get(device) ?? known.device;
    if (ours !== device || theirs !== known.device) return false;
    this.#ours.set(known.device, device);
    this.#theirs.set(device, known.device);
    return true;
  }

  /** What keeps the paths of all files that were seen; undefined where the list contradicts itself. */
  prefixes(): InodePrefixes | undefined {
    const prefixes = new InodePrefixes();
    for (const each of this.#byPrefix.values()) {
      const device = this.#ours.get(each.device);
      // Of a device that no fid is on: its files get a new number when they are met.
      if (device !== undefined && !prefixes.add({ ...each, device })) return undefined;
    }
    return prefixes;
  }
}
