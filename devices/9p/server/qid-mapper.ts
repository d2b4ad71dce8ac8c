/**
 * Qid paths: one 64-bit number for each file of an export, though the export may span devices whose inode numbers collide. A
 * file's path never changes.
 */
import { FileMode } from '../fs/file-system.js';
import type { Attributes } from '../fs/file-system.js';
import { InodePrefixes, type InodePrefix } from '../fs/inode-prefixes.js';
import { QidType } from '../protocol/constants.js';
import type { Qid } from '../protocol/replies.js';

export class QidMapper {
  readonly #prefixes: InodePrefixes;

  /** `prefixes` are those of a server whose client is handed over: its files keep their paths. */
  constructor(prefixes = new InodePrefixes()) {
    this.#prefixes = prefixes;
  }

  /** It grows at its end. */
  get prefixes(): readonly InodePrefix[] {
    return this.#prefixes.list();
  }

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
    const high = this.#prefixes.highHalf(device, inodeHigh);
    if (high < 0) return high;
    qid.pathLow = inodeLow >>> 0;
    qid.pathHigh = high;
    return 0;
  }
}

/** Directories and symbolic links are told apart, all else is a file. */
export function qidTypeOf(mode: number): number {
  const format = mode & FileMode.S_IFMT;
  if (format === FileMode.S_IFDIR) return QidType.P9_QTDIR;
  return format === FileMode.S_IFLNK ? QidType.P9_QTSYMLINK : QidType.P9_QTFILE;
}
