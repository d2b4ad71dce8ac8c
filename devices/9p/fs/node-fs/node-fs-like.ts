/**
 * The callback functions of `node:fs` that a file system is made of here: what memfs, unionfs and Node's own module have in
 * common. Paths are absolute and separated by '/'. A function that may be missing is an operation that answers EOPNOTSUPP.
 */

/** Called once, with an error that has a `code` such as 'ENOENT', or with null. */
export type Done = (error: unknown) => void;
/** The result is missing where there is an error. */
export type DoneWith<T> = (error: unknown, result?: T) => void;

/** `fs.Stats` has numbers, and with the option `bigint`, these. */
export type StatNumber = number | bigint;

/** What is used of `fs.Stats`. Times are in milliseconds, with fractions where the object knows them. */
export interface NodeFsStats {
  readonly mode: StatNumber;
  readonly uid: StatNumber;
  readonly gid: StatNumber;
  readonly nlink: StatNumber;
  readonly rdev: StatNumber;
  readonly size: StatNumber;
  readonly blksize?: StatNumber;
  readonly blocks?: StatNumber;
  readonly dev: StatNumber;
  readonly ino: StatNumber;
  readonly atimeMs: StatNumber;
  readonly mtimeMs: StatNumber;
  readonly ctimeMs: StatNumber;
}

/** What is used of `fs.StatsFs`. */
export interface NodeFsStatistics {
  readonly type: StatNumber;
  readonly bsize: StatNumber;
  readonly blocks: StatNumber;
  readonly bfree: StatNumber;
  readonly bavail: StatNumber;
  readonly files: StatNumber;
  readonly ffree: StatNumber;
}

/** `fs.constants`: open flags differ between systems. */
export interface NodeFsConstants {
  readonly O_RDONLY: number;
  readonly O_WRONLY: number;
  readonly O_RDWR: number;
  readonly O_CREAT: number;
  readonly O_EXCL: number;
  readonly O_TRUNC: number;
  readonly O_APPEND: number;
  readonly O_SYNC?: number;
  readonly O_DSYNC?: number;
  readonly O_NOFOLLOW?: number;
  readonly O_NONBLOCK?: number;
}

export interface NodeFsLike {
  /** Linux's are assumed where it is missing. */
  readonly constants?: NodeFsConstants;

  lstat(path: string, done: DoneWith<NodeFsStats>): void;
  readdir(path: string, done: DoneWith<readonly unknown[]>): void;
  open(path: string, flags: number, mode: number, done: DoneWith<number>): void;
  close(fd: number, done: Done): void;
  fstat(fd: number, done: DoneWith<NodeFsStats>): void;
  read(
    fd: number,
    buffer: Uint8Array,
    offset: number,
    length: number,
    position: number,
    done: DoneWith<number>,
  ): void;

  write?(
    fd: number,
    buffer: Uint8Array,
    offset: number,
    length: number,
    position: number,
    done: DoneWith<number>,
  ): void;
  ftruncate?(fd: number, size: number, done: Done): void;
  fsync?(fd: number, done: Done): void;
  fdatasync?(fd: number, done: Done): void;
  mkdir?(path: string, mode: number, done: Done): void;
  rmdir?(path: string, done: Done): void;
  unlink?(path: string, done: Done): void;
  rename?(from: string, to: string, done: Done): void;
  link?(existing: string, path: string, done: Done): void;
  symlink?(target: string, path: string, done: Done): void;
  readlink?(path: string, done: DoneWith<unknown>): void;
  chmod?(path: string, mode: number, done: Done): void;
  fchmod?(fd: number, mode: number, done: Done): void;
  /** Preferred to `chown`, which follows symbolic links. */
  lchown?(path: string, uid: number, gid: number, done: Done): void;
  chown?(path: string, uid: number, gid: number, done: Done): void;
  fchown?(fd: number, uid: number, gid: number, done: Done): void;
  utimes?(path: string, atime: number | Date, mtime: number | Date, done: Done): void;
  lutimes?(path: string, atime: number | Date, mtime: number | Date, done: Done): void;
  futimes?(fd: number, atime: number | Date, mtime: number | Date, done: Done): void;
  statfs?(path: string, done: DoneWith<NodeFsStatistics>): void;
}
