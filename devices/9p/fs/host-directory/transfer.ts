/**
 * Moving a vector's bytes to and from a file: inline while the page cache has room or data, on a thread of libuv's pool from
 * there on. Both answer the bytes moved, less than all only at the end of the file or where an error came up; the error itself is
 * the answer of the next call.
 */
import {
  addressOf,
  preadv,
  preadv2,
  preadvAsync,
  pwritev,
  pwritev2,
  pwritevAsync,
  RwfFlags,
  type Completion,
  type IovecBuffer,
} from '../../../../host/index.js';
import { Errno } from '../../../errno.js';
import type { IoVector } from '../../../io-vector.js';
import type { MaybePromise } from '../file-system.js';
import { ReadWay, type DeviceTraits } from './device-traits.js';
import type { ExportContext } from './export-context.js';
import { scratch } from './scratch.js';
import { isMemoryBacked } from './statistics.js';

/** An inline write that took this long was made to wait for the disk: the page cache has too much unwritten data. */
const STALL_MS = 5;
/** So many writes go to a thread before one is tried inline again. */
const WRITES_AFTER_STALL = 64;

type VectorCall = (fd: number, iovecs: IovecBuffer, count: number, offset: number, done: Completion) => void;

/** How data of one open file moves. */
export class DataPath {
  readonly context: ExportContext;
  /** What was learnt about the file system, shared by its files. */
  readonly traits: DeviceTraits;
  readonly fd: number;
  /** O_SYNC or O_DSYNC: every write waits for the disk. */
  readonly synchronous: boolean;
  asyncWritesLeft = 0;

  constructor(context: ExportContext, traits: DeviceTraits, fd: number, synchronous: boolean) {
    this.context = context;
    this.traits = traits;
    this.fd = fd;
    this.synchronous = synchronous;
  }
}

export function readVector(path: DataPath, offset: number, into: IoVector): MaybePromise<number> {
  const { iovecs } = path.context;
  const { traits } = path;
  let done = 0;
  while (done < into.byteLength) {
    if (traits.reads === ReadWay.thread) return moveOnThread(preadvAsync, path, offset, into, done);
    const count = fillIovecs(iovecs, into, done);
    const moved =
      traits.reads === ReadWay.inline
        ? preadv(path.fd, iovecs, count, offset + done)
        : preadv2(path.fd, iovecs, count, offset + done, RwfFlags.RWF_NOWAIT);
    if (moved === -Errno.EAGAIN) return moveOnThread(preadvAsync, path, offset, into, done);
    if (moved === -Errno.EOPNOTSUPP && traits.reads === ReadWay.noWait) {
      traits.reads = isMemoryBacked(path.fd) ? ReadWay.inline : ReadWay.thread;
    }
    // A short read is the end of the file or of what is cached: only another one tells.
    else if (moved <= 0) return done > 0 ? done : moved;
    else done += moved;
  }
  return done;
}

export function writeVector(path: DataPath, offset: number, from: IoVector): MaybePromise<number> {
  const { iovecs } = path.context;
  const { traits } = path;
  let done = 0;
  while (done < from.byteLength) {
    if (writesOnThread(path)) return moveOnThread(pwritevAsync, path, offset, from, done);
    const count = fillIovecs(iovecs, from, done);
    const moved = writeInline(path, count, offset + done);
    if (moved === -Errno.EAGAIN) return moveOnThread(pwritevAsync, path, offset, from, done);
    if (moved === -Errno.EOPNOTSUPP && traits.writesWithoutWaiting) traits.writesWithoutWaiting = false;
    else if (moved <= 0) return done > 0 ? done : moved;
    else done += moved;
  }
  return done;
}

function writesOnThread(path: DataPath): boolean {
  if (path.synchronous) return true;
  if (path.asyncWritesLeft === 0) return false;
  path.asyncWritesLeft--;
  return true;
}

/** Into the page cache: a copy, unless the kernel holds writers back. Then the next writes wait on threads. */
function writeInline(path: DataPath, count: number, offset: number): number {
  const { iovecs } = path.context;
  if (path.traits.writesWithoutWaiting) return pwritev2(path.fd, iovecs, count, offset, RwfFlags.RWF_NOWAIT);
  const start = performance.now();
  const moved = pwritev(path.fd, iovecs, count, offset);
  if (performance.now() - start > STALL_MS) path.asyncWritesLeft = WRITES_AFTER_STALL;
  return moved;
}

/** Goes on from byte `done` of the vector, with iovecs of its own: the shared ones serve others meanwhile. */
async function moveOnThread(
  call: VectorCall,
  path: DataPath,
  offset: number,
  vector: IoVector,
  done: number,
): Promise<number> {
  const { fd } = path;
  const iovecs = scratch.takeIovecs();
  let moved = done;
  while (moved < vector.byteLength) {
    const count = fillIovecs(iovecs, vector, moved);
    const at = offset + moved;
    const answer = await new Promise<number>((resolve) => {
      call(fd, iovecs, count, at, resolve);
    });
    if (answer <= 0) {
      if (moved === 0) moved = answer;
      break;
    }
    moved += answer;
  }
  scratch.giveIovecs(iovecs);
  return moved;
}

/** Points the iovecs at the vector's bytes from `from` on, as many segments as fit; answers how many it set. */
function fillIovecs(iovecs: IovecBuffer, vector: IoVector, from: number): number {
  const { offsets, lengths, addresses, bytes } = vector;
  let skip = from;
  let count = 0;
  for (let i = 0; i < vector.count && count < iovecs.capacity; i++) {
    const length = lengths[i];
    if (skip >= length) {
      skip -= length;
      continue;
    }
    // Memory of JavaScript's own stays in place, too, as long as the vector holds it.
    const address = addresses[i] === 0 ? addressOf(bytes[i]) + offsets[i] : addresses[i];
    iovecs.set(count++, address + skip, length - skip);
    skip = 0;
  }
  return count;
}
