/** How attributes of a file are changed in the object: by its path, or by an open descriptor where it has no path any more. */
import { Errno, isFailure } from '../../../errno.js';
import { FileMode, OpenFlag } from '../file-system.js';
import { call, callFor } from './calls.js';
import type { NodeFsLike } from './node-fs-like.js';
import { objectFlags } from './open-flags.js';

type Time = number | Date;

/** Each answers 0 or a negative errno, -EOPNOTSUPP where the object has no function for it. */
export interface ChangeTarget {
  truncate(sizeBytes: number): Promise<number>;
  chmod(mode: number): Promise<number>;
  chown(uid: number, gid: number): Promise<number>;
  utimes(atime: Time, mtime: Time): Promise<number>;
}

export const UNSUPPORTED = Promise.resolve(-Errno.EOPNOTSUPP);

/** The file at `path`, of S_IFMT `type`; a path stays true as long as its user shares the path lock. */
export function pathTarget(fs: NodeFsLike, path: string, type: number): ChangeTarget {
  const isLink = type === FileMode.S_IFLNK;
  return {
    truncate: (sizeBytes) => truncatePath(fs, path, sizeBytes),
    chmod: (mode) =>
      fs.chmod === undefined || isLink ? UNSUPPORTED : call((done) => fs.chmod?.(path, mode, done)),
    chown: (uid, gid) => {
      if (fs.lchown !== undefined) return call((done) => fs.lchown?.(path, uid, gid, done));
      return fs.chown === undefined || isLink
        ? UNSUPPORTED
        : call((done) => fs.chown?.(path, uid, gid, done));
    },
    utimes: (atime, mtime) => {
      if (fs.lutimes !== undefined) return call((done) => fs.lutimes?.(path, atime, mtime, done));
      return fs.utimes === undefined || isLink
        ? UNSUPPORTED
        : call((done) => fs.utimes?.(path, atime, mtime, done));
    },
  };
}

export function descriptorTarget(fs: NodeFsLike, fd: number): ChangeTarget {
  return {
    truncate: (sizeBytes) =>
      fs.ftruncate === undefined ? UNSUPPORTED : call((done) => fs.ftruncate?.(fd, sizeBytes, done)),
    chmod: (mode) => (fs.fchmod === undefined ? UNSUPPORTED : call((done) => fs.fchmod?.(fd, mode, done))),
    chown: (uid, gid) =>
      fs.fchown === undefined ? UNSUPPORTED : call((done) => fs.fchown?.(fd, uid, gid, done)),
    utimes: (atime, mtime) =>
      fs.futimes === undefined ? UNSUPPORTED : call((done) => fs.futimes?.(fd, atime, mtime, done)),
  };
}

async function truncatePath(fs: NodeFsLike, path: string, sizeBytes: number): Promise<number> {
  const flags = objectFlags(OpenFlag.O_WRONLY, fs.constants);
  const fd = await callFor<number>((done) => fs.open(path, flags, 0, done));
  if (isFailure(fd)) return fd;
  const answer = await descriptorTarget(fs, fd).truncate(sizeBytes);
  await call((done) => fs.close(fd, done));
  return answer;
}
