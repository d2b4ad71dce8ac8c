/** What files and file systems say of themselves, and what a guest may change of that. */

/** `stat(2)` of a node. A caller-owned object that `getattr` fills in. */
export class Attributes {
  /**
   * Set by a call that filled these beside its answer (`walk`, `open`, `create`, `mkdir`, `symlink`, `mknod` with `out`), which spares its
   * caller a `getattr`. The caller clears it before. `getattr` itself leaves it alone.
   */
  filled = false;
  mode = 0;
  uid = 0;
  gid = 0;
  nlink = 0;
  /** Device number of a device node, in glibc's 64-bit encoding, which fits 2^53 for all that Linux makes. */
  rdev = 0;
  sizeBytes = 0;
  blockSizeBytes = 4096;
  /** In units of 512 bytes. */
  blocks = 0;
  atimeSeconds = 0;
  atimeNanoseconds = 0;
  mtimeSeconds = 0;
  mtimeNanoseconds = 0;
  ctimeSeconds = 0;
  ctimeNanoseconds = 0;
  /** When the file was made; a file system that does not know leaves `hasBtime` false. */
  hasBtime = false;
  btimeSeconds = 0;
  btimeNanoseconds = 0;
  /** The inode number in two halves: all 64 bits are in use on some file systems. */
  inodeLow = 0;
  inodeHigh = 0;
  /** The device that the inode number belongs to, so that an export may span file systems. */
  device = 0;
}

/** Which fields of `AttributeChanges` apply: the valid mask of Tsetattr, verbatim. */
export const SetAttr = {
  P9_ATTR_MODE: 1 << 0,
  P9_ATTR_UID: 1 << 1,
  P9_ATTR_GID: 1 << 2,
  P9_ATTR_SIZE: 1 << 3,
  P9_ATTR_ATIME: 1 << 4,
  P9_ATTR_MTIME: 1 << 5,
  P9_ATTR_CTIME: 1 << 6,
  /** With it the time is the one given; without it, now. */
  P9_ATTR_ATIME_SET: 1 << 7,
  P9_ATTR_MTIME_SET: 1 << 8,
} as const;

export interface AttributeChanges {
  valid: number;
  mode: number;
  uid: number;
  gid: number;
  sizeBytes: number;
  atimeSeconds: number;
  atimeNanoseconds: number;
  mtimeSeconds: number;
  mtimeNanoseconds: number;
}

/** `statfs(2)`. Counts beyond 2^53 are clamped by the file system. */
export class FileSystemStatistics {
  type = 0;
  blockSizeBytes = 4096;
  blocks = 0;
  blocksFree = 0;
  blocksAvailable = 0;
  files = 0;
  filesFree = 0;
  /** 64 bits in two halves. */
  idLow = 0;
  idHigh = 0;
  nameLengthBytes = 255;
}
