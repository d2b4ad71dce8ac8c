/**
 * Numbers of the 9P protocol: intro(5) of Plan 9, and 9P2000.L as Linux speaks it (`include/net/9p/9p.h`).
 */

/** Message types. A T-message comes from the client; its R-message is the next number. */
export const MessageType = {
  Tlerror: 6,
  Rlerror: 7,
  Tstatfs: 8,
  Rstatfs: 9,
  Tlopen: 12,
  Rlopen: 13,
  Tlcreate: 14,
  Rlcreate: 15,
  Tsymlink: 16,
  Rsymlink: 17,
  Tmknod: 18,
  Rmknod: 19,
  Trename: 20,
  Rrename: 21,
  Treadlink: 22,
  Rreadlink: 23,
  Tgetattr: 24,
  Rgetattr: 25,
  Tsetattr: 26,
  Rsetattr: 27,
  Txattrwalk: 30,
  Rxattrwalk: 31,
  Txattrcreate: 32,
  Rxattrcreate: 33,
  Treaddir: 40,
  Rreaddir: 41,
  Tfsync: 50,
  Rfsync: 51,
  Tlock: 52,
  Rlock: 53,
  Tgetlock: 54,
  Rgetlock: 55,
  Tlink: 70,
  Rlink: 71,
  Tmkdir: 72,
  Rmkdir: 73,
  Trenameat: 74,
  Rrenameat: 75,
  Tunlinkat: 76,
  Runlinkat: 77,
  Tversion: 100,
  Rversion: 101,
  Tauth: 102,
  Rauth: 103,
  Tattach: 104,
  Rattach: 105,
  Rerror: 107,
  Tflush: 108,
  Rflush: 109,
  Twalk: 110,
  Rwalk: 111,
  Topen: 112,
  Ropen: 113,
  Tcreate: 114,
  Rcreate: 115,
  Tread: 116,
  Rread: 117,
  Twrite: 118,
  Rwrite: 119,
  Tclunk: 120,
  Rclunk: 121,
  Tremove: 122,
  Rremove: 123,
  Tstat: 124,
  Rstat: 125,
  Twstat: 126,
  Rwstat: 127,
} as const;
export type MessageType = (typeof MessageType)[keyof typeof MessageType];

/** `mode` of Topen and Tcreate: open(5), and OAPPEND of 9P2000.u. */
export const OpenMode = {
  OREAD: 0,
  OWRITE: 1,
  ORDWR: 2,
  OEXEC: 3,
  OTRUNC: 0x10,
  /** Close on exec(2): the client's own affair. */
  OCEXEC: 0x20,
  ORCLOSE: 0x40,
  OAPPEND: 0x80,
} as const;

/** `perm` of Tcreate and `mode` of a stat, above the nine permissions: stat(5), and from DMSYMLINK on 9P2000.u. */
export const DirMode = {
  DMDIR: 0x8000_0000,
  DMAPPEND: 0x4000_0000,
  DMEXCL: 0x2000_0000,
  DMMOUNT: 0x1000_0000,
  DMAUTH: 0x0800_0000,
  DMTMP: 0x0400_0000,
  DMSYMLINK: 0x0200_0000,
  DMLINK: 0x0100_0000,
  DMDEVICE: 0x0080_0000,
  DMNAMEDPIPE: 0x0020_0000,
  DMSOCKET: 0x0010_0000,
  DMSETUID: 0x0008_0000,
  DMSETGID: 0x0004_0000,
  DMSETVTX: 0x0001_0000,
} as const;

/** `qid.type`: what kind of file a qid names. */
export const QidType = { P9_QTDIR: 0x80, P9_QTSYMLINK: 0x02, P9_QTFILE: 0x00 } as const;

/** The tag of Tversion, which is outside any session. */
export const P9_NOTAG = 0xffff;
/** "No fid": the afid of a Tattach without authentication. */
export const P9_NOFID = 0xffff_ffff;
/** "No user" in n_uname. */
export const P9_NONUNAME = 0xffff_ffff;
/** Most names in one Twalk. */
export const P9_MAXWELEM = 16;
/** Room that a client leaves for the header of a Twrite or Rread when it cuts I/O to msize. */
export const P9_IOHDRSZ = 24;

/** size[4] type[1] tag[2] */
export const HEADER_BYTES = 7;
/** type[1] version[4] path[8] */
export const QID_BYTES = 13;
/** size[4] Rlerror tag[2] ecode[4]: any reply buffer must have room for it. */
export const RLERROR_BYTES = 11;
/** size[4] Rerror tag[2] ename[s] errno[4], with an empty ename; 9P2000's has no errno. */
export const RERROR_BYTES = 13;
/** size[4] Rversion tag[2] msize[4] version[s], with the longest of the versions that are spoken. */
export const RVERSION_MAX_BYTES = 21;
/** size[4] Rread tag[2] count[4], before the data. Rreaddir's is the same. */
export const RREAD_HEADER_BYTES = 11;
/** size[4] Twrite tag[2] fid[4] offset[8] count[4], before the data. */
export const TWRITE_HEADER_BYTES = 23;
/** qid[13] offset[8] type[1] and the name's length[2], before the name. */
export const DIRECTORY_ENTRY_HEADER_BYTES = 24;

/** Smallest msize that the server agrees to; Linux's client refuses to go lower, too. */
export const MSIZE_MIN_BYTES = 4096;
/** Longest version, user and lock owner that are listened to; Linux's are a host name at most. */
export const LABEL_MAX_BYTES = 255;
/** Longest name of a directory entry or extended attribute: NAME_MAX and XATTR_NAME_MAX. */
export const NAME_MAX_BYTES = 255;
/** Longest path, of a symbolic link's target or an aname: PATH_MAX without its NUL. */
export const PATH_MAX_BYTES = 4095;
/** Longest value, and longest list of names, of extended attributes: XATTR_SIZE_MAX and XATTR_LIST_MAX. */
export const XATTR_SIZE_MAX_BYTES = 65536;
/**
 * Longest request but for the data of a Twrite, rounded up: a Tsymlink with the longest name and target. A longer one holds
 * something that is over a limit.
 */
export const REQUEST_MAX_BYTES = 8192;

/** `request_mask` and `valid` of Tgetattr and Rgetattr: the fields that stat(2) has. */
export const P9_GETATTR_BASIC = 0x7ff;
/** When the file was made. */
export const P9_GETATTR_BTIME = 0x800;

/** `flags` of Tlock. */
export const LockFlag = { P9_LOCK_FLAGS_BLOCK: 1, P9_LOCK_FLAGS_RECLAIM: 2 } as const;

/** The only flag of Tunlinkat. */
export const AT_REMOVEDIR = 0x200;

/** `d_type` in a directory entry. */
export const DirentType = { DT_DIR: 4, DT_LNK: 10 } as const;

/** Flags of Txattrcreate, as of setxattr(2). */
export const XattrFlag = { XATTR_CREATE: 1, XATTR_REPLACE: 2 } as const;

export const VERSION_9P2000_L = '9P2000.L';
export const VERSION_9P2000_U = '9P2000.u';
export const VERSION_9P2000 = '9P2000';
/** The version that Rversion answers where the server speaks none that was asked for. */
export const VERSION_UNKNOWN = 'unknown';
