/**
 * What the 9p server needs of a file system: one small interface, for the host's directories and for anything written in
 * JavaScript. `FsNode` and `OpenFile` are base classes that answer EOPNOTSUPP (or EROFS), so that a file system implements
 * what it has. An answer is a result, or a negative errno number; a method may answer at once or with a promise of the same.
 * Promises resolve to failures rather than reject: a rejection is a bug, which the server answers with EIO and reports.
 *
 * Concurrency: the server runs operations at the same time, on one node or file as well, but for `readdir`: an open directory
 * has one under way at most. It never uses a node or file after `release` or `close`, and it lets a call under way finish
 * before it calls those. The objects that a call is given (buffers, sinks, changes, locks) are the server's again once it answers;
 * arrays that a call answers are the server's to keep.
 */
import { Errno, type Failure } from '../../errno.js';
import type { IoVector } from '../../io-vector.js';
import type { GivenDescriptor, GivenDescriptors, StateDestination } from '../../state-descriptors.js';
import type { AttributeChanges, Attributes, FileSystemStatistics } from './attributes.js';
import { NOTHING_KEPT, type Given, type Kept } from './kept.js';

export { Attributes, FileSystemStatistics, SetAttr, type AttributeChanges } from './attributes.js';

export type MaybePromise<T> = T | Promise<T>;

export function isPromise<T>(answer: MaybePromise<T>): answer is Promise<T> {
  return typeof answer === 'object' && answer !== null && typeof (answer as Promise<T>).then === 'function';
}

/** Goes on with an answer, at once where it is there. */
export function mapAnswer<T, U>(
  answer: MaybePromise<T>,
  next: (answer: T) => MaybePromise<U>,
): MaybePromise<U> {
  return isPromise(answer) ? answer.then(next) : next(answer);
}

/**
 * A file name, link target or xattr name as raw bytes, one character (U+0000 to U+00FF) a byte: immutable, comparable,
 * a map's key. Names of directory entries hold no '/' or NUL and are neither '', '.' nor '..': the server has seen to it.
 */
export type ByteString = string;

/** `st_mode` bits (Linux, `stat(2)`). */
export const FileMode = {
  S_IFMT: 0o170000,
  S_IFSOCK: 0o140000,
  S_IFLNK: 0o120000,
  S_IFREG: 0o100000,
  S_IFBLK: 0o060000,
  S_IFDIR: 0o040000,
  S_IFCHR: 0o020000,
  S_IFIFO: 0o010000,
  S_ISUID: 0o4000,
  S_ISGID: 0o2000,
  S_ISVTX: 0o1000,
} as const;

/** Open flags as Linux's 9P2000.L client sends them (`P9_DOTL_*`, generic Linux values in octal). */
export const OpenFlag = {
  O_RDONLY: 0o0,
  O_WRONLY: 0o1,
  O_RDWR: 0o2,
  O_ACCMODE: 0o3,
  O_CREAT: 0o100,
  O_EXCL: 0o200,
  O_NOCTTY: 0o400,
  O_TRUNC: 0o1000,
  O_APPEND: 0o2000,
  O_NONBLOCK: 0o4000,
  O_DSYNC: 0o10000,
  O_DIRECT: 0o40000,
  O_LARGEFILE: 0o100000,
  O_DIRECTORY: 0o200000,
  O_NOFOLLOW: 0o400000,
  O_NOATIME: 0o1000000,
  O_SYNC: 0o4000000,
} as const;

/**
 * Who a new file belongs to. A file system that cannot give files away makes them its own user's. A uid of 2^32 - 1 means that
 * the client named no user: as with chown(2), the owner stays whoever it is.
 */
export interface Owner {
  readonly uid: number;
  readonly gid: number;
}

/** The answer of `create`: the node and the file opened on it. */
export interface Created {
  readonly node: FsNode;
  readonly file: OpenFile;
}

/** Takes directory entries; answers false, without taking this one, once it is full. */
export interface DirectorySink {
  /**
   * `cookie` is the position after this entry: `readdir` given it goes on with the next. `type` is the `d_type` (DT_*).
   */
  entry(name: ByteString, inodeLow: number, inodeHigh: number, type: number, cookie: number): boolean;
  /**
   * As `entry`, for a file system that has the name as bytes, from `start` up to `end`. A sink has it where it would only make bytes of
   * a string again: a string for each entry takes longer than all else about it.
   */
  rawEntry?(
    bytes: Uint8Array,
    start: number,
    end: number,
    inodeLow: number,
    inodeHigh: number,
    type: number,
    cookie: number,
  ): boolean;
}

/** A byte-range lock, as Tlock and Tgetlock carry it (9P2000.L). `lengthBytes` 0 means to the end. */
export interface Lock {
  type: number;
  startBytes: number;
  lengthBytes: number;
  /** The lock's owner is this process of this client: its locks never exclude each other, through whichever file it sets them. */
  processId: number;
  clientId: ByteString;
  /** The client would wait (P9_LOCK_FLAGS_BLOCK). A file system that never waits ignores it and answers P9_LOCK_BLOCKED. */
  wait?: boolean;
  /**
   * The client may not write: nothing is to be opened for writing on its behalf, which would keep the host from executing the file. An
   * exclusive lock is held as a shared one then; among the client's own processes the client sees to exclusion itself.
   */
  readOnly?: boolean;
}

/** A lock as it is held. */
export interface HeldLock extends Lock {
  /** The host's descriptor that holds it: the file system's still. -1 where there is none. */
  readonly descriptor: number;
}

/** What names an operation that may wait: the very buffer or lock that the call under way was given. */
export type Interruptible = IoVector | Lock;

export const LockType = { P9_LOCK_TYPE_RDLCK: 0, P9_LOCK_TYPE_WRLCK: 1, P9_LOCK_TYPE_UNLCK: 2 } as const;
export const LockStatus = {
  P9_LOCK_SUCCESS: 0,
  P9_LOCK_BLOCKED: 1,
  P9_LOCK_ERROR: 2,
  P9_LOCK_GRACE: 3,
} as const;

export interface FileSystem {
  /** The root, for one Tattach. Each answer is released on its own. ENOENT and the like where the directory has vanished. */
  attach(): MaybePromise<FsNode | Failure>;
  /** Releases everything; nodes and files are gone by then. */
  close(): MaybePromise<void>;
  /**
   * What another file system over the same files has to know before it goes on for this one: counters, numbers that it gave. Or why it
   * cannot, for the operator: that may pass. One that is without has nothing to tell, and may go anywhere. Called at any moment, and nothing is
   * waited for. What wraps another one asks that, too.
   */
  saveState?(to: StateDestination): Uint8Array | string;
  /**
   * Takes over what `saveState` told, while no client has a node: before anything of the client's is looked for. The bytes come from outside.
   * Answers why it cannot. One that could, and whose client could not be had after all, is good for another try, or to be closed.
   */
  restoreState?(bytes: Uint8Array, descriptors?: GivenDescriptors): MaybePromise<string | undefined>;
}

const UNSUPPORTED = -Errno.EOPNOTSUPP;

/** A file-system object: what a fid names. It stays the same object when it is renamed or unlinked. */
export abstract class FsNode {
  /** Fills `out`. */
  abstract getattr(out: Attributes): MaybePromise<number>;

  /** The child `name`; symbolic links are answered as themselves, never followed. May fill `out` with the child's attributes. */
  walk(_name: ByteString, _out?: Attributes): MaybePromise<FsNode | Failure> {
    return -Errno.ENOTDIR;
  }
  /** The name in its directory that this node was last known by; '' where the file system does not tell. */
  entryName(): ByteString {
    return '';
  }
  /**
   * The names that lead from the export's root to this node; none for the root itself. Undefined where no name does any more, or where
   * the file system does not tell: then a client that has the node can only be handed over to another server by what `keep` tells.
   */
  names(): readonly ByteString[] | undefined {
    return undefined;
  }
  /** The names that led here last, where none do any more. */
  lastNames(): readonly ByteString[] {
    return this.names() ?? [];
  }
  /**
   * What leads here without a name. -ESTALE where nothing does, for the client neither; another errno where the client has the file, and it
   * cannot be told to others.
   */
  keep(): Kept | Failure {
    return UNSUPPORTED;
  }
  /** An entry that this directory had, and has no more, by what `keep` told of it elsewhere. `name` are its last names from here, with '/'. */
  regain(_name: ByteString, _given: Given): MaybePromise<FsNode | Failure> {
    return UNSUPPORTED;
  }
  /**
   * Goes on with a file that was open elsewhere with these flags, in which O_TRUNC and the like are gone: by what its `keep` told, or opens the
   * node anew. What may not be opened any more may still be open.
   */
  reopen(flags: number, _given: Given): MaybePromise<OpenFile | Failure> {
    return this.open(flags);
  }
  /** As `open`, for a client that had it open elsewhere, with these flags, in a process that was killed: nobody could tell any more of it. */
  openAgain(flags: number): MaybePromise<OpenFile | Failure> {
    return this.open(flags);
  }
  /** The directory above, or a fresh reference to this one where it is the export's root. */
  parent(): MaybePromise<FsNode | Failure> {
    return UNSUPPORTED;
  }
  setattr(_changes: AttributeChanges): MaybePromise<number> {
    return -Errno.EROFS;
  }
  /**
   * Opens this node. `flags` are OpenFlag bits without O_CREAT and O_EXCL. Directories open for `readdir`. May fill `out` with the
   * opened file's attributes.
   */
  open(_flags: number, _out?: Attributes): MaybePromise<OpenFile | Failure> {
    return UNSUPPORTED;
  }
  /**
   * Creates a regular file in this directory and opens it; EEXIST with O_EXCL where it is there, else opens what is there. This
   * and the three below may fill `out` with the new file's attributes.
   */
  create(
    _name: ByteString,
    _flags: number,
    _mode: number,
    _owner: Owner,
    _out?: Attributes,
  ): MaybePromise<Created | Failure> {
    return -Errno.EROFS;
  }
  mkdir(_name: ByteString, _mode: number, _owner: Owner, _out?: Attributes): MaybePromise<FsNode | Failure> {
    return -Errno.EROFS;
  }
  symlink(
    _name: ByteString,
    _target: ByteString,
    _owner: Owner,
    _out?: Attributes,
  ): MaybePromise<FsNode | Failure> {
    return -Errno.EROFS;
  }
  mknod(
    _name: ByteString,
    _mode: number,
    _rdev: number,
    _owner: Owner,
    _out?: Attributes,
  ): MaybePromise<FsNode | Failure> {
    return -Errno.EROFS;
  }
  /** Makes `name` in this directory another name of `target`, a node of the same file system. */
  link(_name: ByteString, _target: FsNode): MaybePromise<number> {
    return -Errno.EROFS;
  }
  readlink(): MaybePromise<ByteString | Failure> {
    return -Errno.EINVAL;
  }
  /** Removes `name` from this directory: a directory (which must be empty) where `directory`, anything else where not. */
  unlink(_name: ByteString, _directory: boolean): MaybePromise<number> {
    return -Errno.EROFS;
  }
  /** Moves `name` of this directory to `newName` in `newDirectory`, a node of the same file system. */
  rename(_name: ByteString, _newDirectory: FsNode, _newName: ByteString): MaybePromise<number> {
    return -Errno.EROFS;
  }
  /** Removes this node itself, wherever it is now (Tremove). ESTALE where its name no longer leads to it. */
  remove(): MaybePromise<number> {
    return UNSUPPORTED;
  }
  /** Moves this node itself (Trename). */
  renameTo(_newDirectory: FsNode, _newName: ByteString): MaybePromise<number> {
    return UNSUPPORTED;
  }
  statfs(_out: FileSystemStatistics): MaybePromise<number> {
    return UNSUPPORTED;
  }
  /** The value of an extended attribute. */
  getxattr(_name: ByteString): MaybePromise<Uint8Array | Failure> {
    return UNSUPPORTED;
  }
  /** All names, each followed by NUL, as listxattr(2) gives them. */
  listxattr(): MaybePromise<Uint8Array | Failure> {
    return UNSUPPORTED;
  }
  /** `flags` are XATTR_CREATE (1) and XATTR_REPLACE (2). */
  setxattr(_name: ByteString, _value: Uint8Array, _flags: number): MaybePromise<number> {
    return UNSUPPORTED;
  }
  removexattr(_name: ByteString): MaybePromise<number> {
    return UNSUPPORTED;
  }
  /** One more holder of this node (a cloned fid). Each is matched by one `release`. */
  abstract retain(): void;
  abstract release(): void;
}

/** An open file or directory. */
export abstract class OpenFile {
  /** Fills `into` from `offset` on; answers the bytes read, 0 at the end. The buffer is the caller's again once it answers. */
  read(_offset: number, _into: IoVector): MaybePromise<number> {
    return -Errno.EISDIR;
  }
  /** Writes all of `from` at `offset` (at the end with O_APPEND); answers the bytes written, less than all where it had to stop. */
  write(_offset: number, _from: IoVector): MaybePromise<number> {
    return -Errno.EBADF;
  }
  /** Gives entries from `cookie` on (0: from the start), '.' and '..' included, until the sink is full or all are given. */
  readdir(_cookie: number, _sink: DirectorySink): MaybePromise<number> {
    return -Errno.ENOTDIR;
  }
  /** The file's own attributes, also when it has no name any more. */
  abstract getattr(out: Attributes): MaybePromise<number>;
  setattr(_changes: AttributeChanges): MaybePromise<number> {
    return -Errno.EROFS;
  }
  /**
   * The client gave up (Tflush, Tclunk of the fid, or it is gone) on the read, write or lock under way with this buffer or lock. An
   * operation that waits for something to happen answers with -EINTR, soon, and has had no effect; any other has nothing to do.
   * Said at most a few times of one operation. Must not throw. The argument is what the call was given, so that
   * nothing has to be made for a call that never waits.
   */
  interrupt(_operation: Interruptible): void {}
  fsync(_dataOnly: boolean): MaybePromise<number> {
    return 0;
  }
  /** Answers a LockStatus. Waits for a lock in the way only where `wait` asks for that, and until `interrupt` at most. */
  lock(_lock: Lock): MaybePromise<number> {
    return UNSUPPORTED;
  }
  /** Turns `lock` into the lock in its way, or into type P9_LOCK_TYPE_UNLCK where there is none. */
  getlock(_lock: Lock): MaybePromise<number> {
    return UNSUPPORTED;
  }
  /**
   * The locks whose owners hold them through this file, for a server that this one's client is handed over to: set again in this order, they
   * are what they are now. Undefined where they are too many to tell.
   */
  locks(): readonly HeldLock[] | undefined {
    return [];
  }
  /** Sets a lock that was held elsewhere, by the descriptor that holds it where one is given: then it was never free. As `lock`, but never waits. */
  relock(lock: Lock, _descriptor: GivenDescriptor | undefined): MaybePromise<number> {
    return this.lock(lock);
  }
  /** What the file is for another server to go on with, beside its node's names. */
  keep(): Kept {
    return NOTHING_KEPT;
  }
  abstract close(): MaybePromise<void>;
}
