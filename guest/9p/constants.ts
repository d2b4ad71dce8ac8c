/** 9P2000.L, as diod's protocol text and the Linux kernel's `net/9p` define it. */

/** Message types. A reply's is its request's plus one. */
export const MessageType = {
  Rlerror: 7,
  Tstatfs: 8,
  Tlopen: 12,
  Tlcreate: 14,
  Tsymlink: 16,
  Tmknod: 18,
  Trename: 20,
  Treadlink: 22,
  Tgetattr: 24,
  Tsetattr: 26,
  Txattrwalk: 30,
  Txattrcreate: 32,
  Treaddir: 40,
  Tfsync: 50,
  Tlock: 52,
  Tgetlock: 54,
  Tlink: 70,
  Tmkdir: 72,
  Trenameat: 74,
  Tunlinkat: 76,
  Tversion: 100,
  Tauth: 102,
  Tattach: 104,
  Tflush: 108,
  Twalk: 110,
  Tread: 116,
  Twrite: 118,
  Tclunk: 120,
  Tremove: 122,
} as const;

export const VERSION_9P2000_L = '9P2000.L';

/** The tag of Tversion, and "no fid". */
export const NOTAG = 0xffff;
export const NOFID = 0xffff_ffff;
/** "No numeric user" in Tattach and Tauth. */
export const NONUNAME = 0xffff_ffff;

/** size[4] type[1] tag[2] */
export const HEADER_BYTES = 7;
/** What Tread, Rread, Twrite and Treaddir need besides their data, generously, as Linux reckons it (P9_IOHDRSZ). */
export const IO_HEADER_BYTES = 24;
/** The smallest msize that every message but those with long names or data fits. */
export const MIN_MSIZE = 4096;
/** Names in one Twalk. */
export const MAX_WALK_ELEMENTS = 16;

/** Bits of a qid's type. */
export const QidType = {
  QTDIR: 0x80,
  QTAPPEND: 0x40,
  QTEXCL: 0x20,
  QTMOUNT: 0x10,
  QTAUTH: 0x08,
  QTTMP: 0x04,
  QTSYMLINK: 0x02,
  QTFILE: 0x00,
} as const;

/** Tlopen's and Tlcreate's flags (`P9_DOTL_*`). */
export const OpenFlags = {
  O_RDONLY: 0o0,
  O_WRONLY: 0o1,
  O_RDWR: 0o2,
  O_ACCMODE: 0o3,
  O_CREAT: 0o100,
  O_EXCL: 0o200,
  O_TRUNC: 0o1000,
  O_APPEND: 0o2000,
  O_DSYNC: 0o10000,
  O_LARGEFILE: 0o100000,
  O_DIRECTORY: 0o200000,
  O_NOFOLLOW: 0o400000,
  O_SYNC: 0o4000000,
} as const;

/** Tgetattr's request_mask (`P9_GETATTR_*`): all of `stat(2)`. */
export const GETATTR_BASIC = 0x7ff;

/** Tsetattr's valid (`P9_ATTR_*`). */
export const SetattrValid = {
  MODE: 1 << 0,
  UID: 1 << 1,
  GID: 1 << 2,
  SIZE: 1 << 3,
  ATIME: 1 << 4,
  MTIME: 1 << 5,
  CTIME: 1 << 6,
  ATIME_SET: 1 << 7,
  MTIME_SET: 1 << 8,
} as const;

/** Tunlinkat's flag for directories (`P9_DOTL_AT_REMOVEDIR`). */
export const AT_REMOVEDIR = 0x200;

/** Tlock and Tgetlock. */
export const LockType = { RDLCK: 0, WRLCK: 1, UNLCK: 2 } as const;
export const LockFlags = { BLOCK: 1, RECLAIM: 2 } as const;
export const LockStatus = { SUCCESS: 0, BLOCKED: 1, ERROR: 2, GRACE: 3 } as const;

/** `st_mode`'s file types. */
export const FileTypeMode = {
  S_IFMT: 0o170000,
  S_IFSOCK: 0o140000,
  S_IFLNK: 0o120000,
  S_IFREG: 0o100000,
  S_IFBLK: 0o060000,
  S_IFDIR: 0o040000,
  S_IFCHR: 0o020000,
  S_IFIFO: 0o010000,
} as const;
