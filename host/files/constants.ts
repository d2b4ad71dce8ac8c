/**
 * Linux constants and structure layouts of the file calls, with the kernel's names; layouts are those of
 * x86-64 and arm64. `O_*` values that differ between the two come from Node.
 */
import { constants } from 'node:fs';

export const AT_FDCWD = -100;

export const AtFlags = {
  AT_SYMLINK_NOFOLLOW: 0x100,
  AT_REMOVEDIR: 0x200,
  AT_SYMLINK_FOLLOW: 0x400,
  AT_NO_AUTOMOUNT: 0x800,
  AT_EMPTY_PATH: 0x1000,
  AT_STATX_FORCE_SYNC: 0x2000,
  AT_STATX_DONT_SYNC: 0x4000,
} as const;

export const OpenFlags = {
  O_RDONLY: constants.O_RDONLY,
  O_WRONLY: constants.O_WRONLY,
  O_RDWR: constants.O_RDWR,
  O_ACCMODE: 0o3,
  O_CREAT: constants.O_CREAT,
  O_EXCL: constants.O_EXCL,
  O_NOCTTY: constants.O_NOCTTY,
  O_TRUNC: constants.O_TRUNC,
  O_APPEND: constants.O_APPEND,
  O_NONBLOCK: constants.O_NONBLOCK,
  O_DSYNC: constants.O_DSYNC,
  O_SYNC: constants.O_SYNC,
  O_DIRECT: constants.O_DIRECT,
  O_DIRECTORY: constants.O_DIRECTORY,
  O_NOFOLLOW: constants.O_NOFOLLOW,
  O_NOATIME: constants.O_NOATIME,
  O_CLOEXEC: 0o2000000,
  O_PATH: 0o10000000,
  O_TMPFILE: 0o20000000 | constants.O_DIRECTORY,
} as const;

/** openat2(2), `open_how.resolve`. */
export const ResolveFlags = {
  RESOLVE_NO_XDEV: 0x01,
  RESOLVE_NO_MAGICLINKS: 0x02,
  RESOLVE_NO_SYMLINKS: 0x04,
  RESOLVE_BENEATH: 0x08,
  RESOLVE_IN_ROOT: 0x10,
} as const;

export const RenameFlags = { RENAME_NOREPLACE: 1, RENAME_EXCHANGE: 2, RENAME_WHITEOUT: 4 } as const;

/** File type bits of a mode. */
export const ModeBits = {
  S_IFMT: constants.S_IFMT,
  S_IFSOCK: constants.S_IFSOCK,
  S_IFLNK: constants.S_IFLNK,
  S_IFREG: constants.S_IFREG,
  S_IFBLK: constants.S_IFBLK,
  S_IFDIR: constants.S_IFDIR,
  S_IFCHR: constants.S_IFCHR,
  S_IFIFO: constants.S_IFIFO,
  S_ISUID: 0o4000,
  S_ISGID: 0o2000,
  S_ISVTX: 0o1000,
} as const;

export const StatxMask = {
  STATX_TYPE: 0x001,
  STATX_MODE: 0x002,
  STATX_NLINK: 0x004,
  STATX_UID: 0x008,
  STATX_GID: 0x010,
  STATX_ATIME: 0x020,
  STATX_MTIME: 0x040,
  STATX_CTIME: 0x080,
  STATX_INO: 0x100,
  STATX_SIZE: 0x200,
  STATX_BLOCKS: 0x400,
  STATX_BASIC_STATS: 0x7ff,
  STATX_BTIME: 0x800,
  STATX_MNT_ID: 0x1000,
  STATX_DIOALIGN: 0x2000,
} as const;

/** Byte offsets in struct statx; a time is seconds i64, nanoseconds u32. */
export const STATX = {
  mask: 0,
  blksize: 4,
  attributes: 8,
  nlink: 16,
  uid: 20,
  gid: 24,
  mode: 28,
  ino: 32,
  size: 40,
  blocks: 48,
  attributesMask: 56,
  atime: 64,
  btime: 80,
  ctime: 96,
  mtime: 112,
  rdevMajor: 128,
  rdevMinor: 132,
  devMajor: 136,
  devMinor: 140,
  mntId: 144,
  /** What O_DIRECT asks of memory and of offsets: bytes, u32 each; 0 where the file cannot. */
  dioMemAlign: 152,
  dioOffsetAlign: 156,
} as const;
export const STATX_BYTES = 256;

/** Byte offsets in struct statfs: u64 each, but fsid (two u32). */
export const STATFS = {
  type: 0,
  bsize: 8,
  blocks: 16,
  bfree: 24,
  bavail: 32,
  files: 40,
  ffree: 48,
  fsid: 56,
  namelen: 64,
  frsize: 72,
  flags: 80,
} as const;
export const STATFS_BYTES = 120;

/**
 * Byte offsets in struct linux_dirent64, as filled by getdents64: u64, u64, u16, u8, then a NUL-terminated
 * name.
 */
export const DIRENT64 = { ino: 0, off: 8, reclen: 16, type: 18, name: 19, alignment: 8 } as const;

/** Byte offsets in the two struct timespec of utimensat: each seconds i64, nanoseconds i64. */
export const UTIMENS = { atimeSec: 0, atimeNsec: 8, mtimeSec: 16, mtimeNsec: 24 } as const;
export const UTIMENS_BYTES = 32;
/** Nanosecond values of utimensat: the current time, and leave as it is. */
export const UTIME_NOW = 0x3fffffff;
export const UTIME_OMIT = 0x3ffffffe;

export const SeekWhence = { SEEK_SET: 0, SEEK_CUR: 1, SEEK_END: 2, SEEK_DATA: 3, SEEK_HOLE: 4 } as const;

export const FallocateMode = {
  FALLOC_FL_KEEP_SIZE: 0x01,
  FALLOC_FL_PUNCH_HOLE: 0x02,
  FALLOC_FL_COLLAPSE_RANGE: 0x08,
  FALLOC_FL_ZERO_RANGE: 0x10,
  FALLOC_FL_INSERT_RANGE: 0x20,
} as const;

/** preadv2 and pwritev2, per call. */
export const RwfFlags = {
  RWF_HIPRI: 0x01,
  RWF_DSYNC: 0x02,
  RWF_SYNC: 0x04,
  RWF_NOWAIT: 0x08,
  RWF_APPEND: 0x10,
} as const;

export const LockType = { F_RDLCK: 0, F_WRLCK: 1, F_UNLCK: 2 } as const;

export const FlockOperation = { LOCK_SH: 1, LOCK_EX: 2, LOCK_NB: 4, LOCK_UN: 8 } as const;

export const XattrFlags = { XATTR_CREATE: 1, XATTR_REPLACE: 2 } as const;
