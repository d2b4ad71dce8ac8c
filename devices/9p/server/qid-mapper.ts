/**
 * Qid paths: one 64-bit number for each file of an export, though the export may span devices whose inode numbers collide.
 *
 * A path's low 48 bits are the inode's; its high 16 bits stand for the pair of device and high 16 inode bits. A pair gets
 * its own inode bits where they are free, so that the paths of the first device are its inode numbers, and the lowest free number
 * where not. No two pairs share a number, so no two files share a path, and a file's path never changes.
 */
import { Errno } from '../../errno.js';
import { FileMode } from '../fs/file-system.js';
import type { Attributes } from '../fs/file-system.js';
import { QidType } from '../protocol/constants.js';
import type { Qid } from '../protocol/replies.js';

const PREFIXES = 0x1_0000;

export class QidMapper {
  /** device → high 16 inode bits → prefix. */
  readonly #prefixes = new Map<number, Map<number, number>>();
  readonly #taken = new Uint8Array(PREFIXES);
  #nextFree = 0;
  /** The last pair looked up: nearly always the next one, too. */
  #lastDevice = -1;
  #lastBits = 0;
  #lastPrefix = 0;

  /**
   * Fills `qid` from a file's attributes; -EOVERFLOW where the export has used up the 65,536 pairs. The version mixes size
   * and modification time: a hint that something changed. Linux looks at it only in its caching modes. It has 31 bits so
   * that it stays a small integer, which needs no memory of its own.
   */
  map(attributes: Attributes, qid: Qid): number {
    qid.type = qidTypeOf(attributes.mode);
    const mixed = Math.imul(attributes.mtimeSeconds | 0, 1_000_003) ^ attributes.mtimeNanoseconds;
    qid.version = (Math.imul(mixed, 31) ^ (attributes.sizeBytes | 0)) >>> 1;
    return this.mapInode(attributes.device, attributes.inodeLow, attributes.inodeHigh, qid);
  }

  /** Fills the path alone. */
  mapInode(device: number, inodeLow: number, inodeHigh: number, qid: Qid): number {
    const bits = inodeHigh >>> 16;
    const prefix =
      device === this.#lastDevice && bits === this.#lastBits ? this.#lastPrefix : this.#prefix(device, bits);
    if (prefix < 0) return prefix;
    qid.pathLow = inodeLow >>> 0;
    qid.pathHigh = ((prefix << 16) | (inodeHigh & 0xffff)) >>> 0;
    return 0;
  }

  #prefix(device: number, bits: number): number {
    let ofDevice = this.#prefixes.get(device);
    if (ofDevice === undefined) this.#prefixes.set(device, (ofDevice = new Map<number, number>()));
    let prefix = ofDevice.get(bits);
    if (prefix === undefined) {
      prefix = this.#allocate(bits);
      if (prefix < 0) return prefix;
      ofDevice.set(bits, prefix);
    }
    this.#lastDevice = device;
    this.#lastBits = bits;
    this.#lastPrefix = prefix;
    return prefix;
  }

  #allocate(wanted: number): number {
    let prefix = wanted;
    if (this.#taken[prefix] !== 0) {
      while (this.#nextFree < PREFIXES && this.#taken[this.#nextFree] !== 0) this.#nextFree++;
      if (this.#nextFree === PREFIXES) return -Errno.EOVERFLOW;
      prefix = this.#nextFree;
    }
    this.#taken[prefix] = 1;
    return prefix;
  }
}

/** Directories and symbolic links are told apart, all else is a file. */
function qidTypeOf(mode: number): number {
  const format = mode & FileMode.S_IFMT;
  if (format === FileMode.S_IFDIR) return QidType.P9_QTDIR;
  return format === FileMode.S_IFLNK ? QidType.P9_QTSYMLINK : QidType.P9_QTFILE;
}
