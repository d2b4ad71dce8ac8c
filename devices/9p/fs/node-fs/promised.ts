/** Objects with the functions of `node:fs/promises`, as objects with callbacks: one kind is all that a file system is made of. */
import type {
  Done,
  DoneWith,
  NodeFsConstants,
  NodeFsLike,
  NodeFsStatistics,
  NodeFsStats,
} from './node-fs-like.js';

type Time = number | Date;

/** What is used of `fs.promises.FileHandle`. */
export interface NodeFsHandle {
  close(): Promise<void>;
  stat(): Promise<NodeFsStats>;
  read(buffer: Uint8Array, offset: number, length: number, position: number): Promise<{ bytesRead: number }>;
  write?(
    buffer: Uint8Array,
    offset: number,
    length: number,
    position: number,
  ): Promise<{ bytesWritten: number }>;
  truncate?(size: number): Promise<void>;
  sync?(): Promise<void>;
  datasync?(): Promise<void>;
  chmod?(mode: number): Promise<void>;
  chown?(uid: number, gid: number): Promise<void>;
  utimes?(atime: Time, mtime: Time): Promise<void>;
}

/**
 * The functions of `node:fs/promises` that a file system is made of here. One that may be missing, here or of a handle, is an operation
 * that answers EOPNOTSUPP.
 */
export interface NodeFsPromises {
  /** Linux's are assumed where it is missing. */
  readonly constants?: NodeFsConstants;

  lstat(path: string): Promise<NodeFsStats>;
  readdir(path: string): Promise<readonly unknown[]>;
  open(path: string, flags: number, mode: number): Promise<NodeFsHandle>;

  mkdir?(path: string, mode: number): Promise<unknown>;
  rmdir?(path: string): Promise<void>;
  unlink?(path: string): Promise<void>;
  rename?(from: string, to: string): Promise<void>;
  link?(existing: string, path: string): Promise<void>;
  symlink?(target: string, path: string): Promise<void>;
  readlink?(path: string): Promise<unknown>;
  chmod?(path: string, mode: number): Promise<void>;
  /** Preferred to `chown`, which follows symbolic links. */
  lchown?(path: string, uid: number, gid: number): Promise<void>;
  chown?(path: string, uid: number, gid: number): Promise<void>;
  utimes?(path: string, atime: Time, mtime: Time): Promise<void>;
  lutimes?(path: string, atime: Time, mtime: Time): Promise<void>;
  statfs?(path: string): Promise<NodeFsStatistics>;
}

/** Those of `node:fs/promises` have no functions on descriptors. */
export function hasCallbacks(fs: NodeFsLike | NodeFsPromises): fs is NodeFsLike {
  return 'fstat' in fs && typeof fs.fstat === 'function';
}

export function callbacksOf(fs: NodeFsPromises): NodeFsLike {
  return { constants: fs.constants, ...pathFunctions(fs), ...descriptorFunctions(fs) } as NodeFsLike;
}

/** Names of functions that take paths and call back with no more than they resolve to. */
const PATH_FUNCTIONS = [
  'lstat',
  'readdir',
  'mkdir',
  'rmdir',
  'unlink',
  'rename',
  'link',
  'symlink',
  'readlink',
  'chmod',
  'lchown',
  'chown',
  'utimes',
  'lutimes',
  'statfs',
] as const;

type PathFunction = (...parameters: unknown[]) => void;

/** Those that the object has. */
function pathFunctions(fs: NodeFsPromises): Record<string, PathFunction> {
  const functions: Record<string, PathFunction> = {};
  const own = fs as object as Partial<Record<string, (...parameters: unknown[]) => Promise<unknown>>>;
  for (const name of PATH_FUNCTIONS) {
    if (own[name] === undefined) continue;
    functions[name] = (...parameters) => {
      const done = parameters.pop() as DoneWith<unknown>;
      settle(own[name]?.(...parameters) ?? Promise.reject(UNSUPPORTED), done);
    };
  }
  return functions;
}

/** Descriptors are numbers of ours: a handle need not have one. */
function descriptorFunctions(fs: NodeFsPromises): Partial<NodeFsLike> {
  const handles = new Map<number, NodeFsHandle>();
  let next = 0;
  const opened = (handle: NodeFsHandle): number => {
    handles.set(++next, handle);
    return next;
  };
  /** Settles with what becomes of the handle's function, or says that it has none. */
  const on = <T>(
    fd: number,
    done: DoneWith<T>,
    begin: (handle: NodeFsHandle) => Promise<T> | undefined,
  ): void => {
    const handle = handles.get(fd);
    if (handle === undefined) done({ code: 'EBADF' });
    else settle(begin(handle) ?? Promise.reject(UNSUPPORTED), done);
  };
  return {
    open: (path, flags, mode, done) => settle(fs.open(path, flags, mode).then(opened), done),
    close: (fd, done) => {
      on(fd, done, (handle) => handle.close());
      handles.delete(fd);
    },
    fstat: (fd, done) => on(fd, done, (handle) => handle.stat()),
    read: (fd, buffer, offset, length, position, done) =>
      on(fd, done, (handle) =>
        handle.read(buffer, offset, length, position).then(({ bytesRead }) => bytesRead),
      ),
    write: (fd, buffer, offset, length, position, done) =>
      on(fd, done, (handle) =>
        handle.write?.(buffer, offset, length, position).then(({ bytesWritten }) => bytesWritten),
      ),
    ftruncate: (fd, size, done) => on(fd, done, (handle) => handle.truncate?.(size)),
    fsync: (fd, done) => on(fd, done, (handle) => handle.sync?.()),
    fdatasync: (fd, done) => on(fd, done, (handle) => handle.datasync?.()),
    fchmod: (fd, mode, done) => on(fd, done, (handle) => handle.chmod?.(mode)),
    fchown: (fd, uid, gid, done) => on(fd, done, (handle) => handle.chown?.(uid, gid)),
    futimes: (fd, atime, mtime, done) => on(fd, done, (handle) => handle.utimes?.(atime, mtime)),
  };
}

const UNSUPPORTED = Object.assign(new Error('the handle has no such function'), { code: 'EOPNOTSUPP' });

function settle<T>(promise: Promise<T>, done: Done & DoneWith<T>): void {
  void promise.then((result) => done(null, result), done);
}
