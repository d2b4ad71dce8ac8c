/**
 * A memfs volume that gives back the memory of what is removed, without which counting what is there bounds nothing. memfs 4.80 keeps
 * removed directories and files that a rename replaced in its table of inodes, and all the memory of a file that is cut, unless
 * it is cut to nothing.
 */
import type { Volume } from 'memfs';
import { FileMode } from '../file-system.js';
import type { Done, NodeFsLike } from './node-fs-like.js';

/** The volume's functions, for guests; whoever has the volume may go on using it. Each change is made in one go. */
export function memoryVolume(volume: Volume): NodeFsLike {
  const replaced: Partial<NodeFsLike> = {
    rmdir: (path, done) => {
      soon(done, () => {
        removeDirectory(volume, path);
      });
    },
    rename: (from, to, done) => {
      soon(done, () => {
        replace(volume, from, to);
      });
    },
    ftruncate: (fd, sizeBytes, done) => {
      soon(done, () => {
        cut(volume, fd, sizeBytes);
      });
    },
  };
  return Object.assign(Object.create(volume) as NodeFsLike, replaced);
}

function soon(done: Done, work: () => void): void {
  void Promise.resolve()
    .then(work)
    .then(() => {
      done(null);
    }, done);
}

function removeDirectory(volume: Volume, path: string): void {
  const node = volume._core.inodes[Number(volume.lstatSync(path).ino)];
  volume.rmdirSync(path);
  volume._core.deleteNode(node);
}

function replace(volume: Volume, from: string, to: string): void {
  const moved = volume.lstatSync(from);
  const there = volume.lstatSync(to, { throwIfNoEntry: false });
  if (there !== undefined && there.ino !== moved.ino) {
    if ((Number(there.mode) & FileMode.S_IFMT) === FileMode.S_IFDIR) removeDirectory(volume, to);
    else volume.unlinkSync(to);
  }
  volume.renameSync(from, to);
}

/** memfs makes room for the next power of two: a file cut below one is written anew. */
function cut(volume: Volume, fd: number, sizeBytes: number): void {
  const before = Number(volume.fstatSync(fd).size);
  if (sizeBytes >= before || log2(sizeBytes) === log2(before)) {
    volume.ftruncateSync(fd, sizeBytes);
    return;
  }
  const rest = new Uint8Array(sizeBytes);
  volume.readSync(fd, rest, 0, sizeBytes, 0);
  volume.ftruncateSync(fd, 0);
  volume.writeSync(fd, rest, 0, sizeBytes, 0);
}

function log2(sizeBytes: number): number {
  return Math.ceil(Math.log2(Math.max(sizeBytes, 1)));
}
