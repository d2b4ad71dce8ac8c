/** inotify(7): being told of changes in directories. */
import { Errno, result, resultOrThrow } from './errors.js';
import { procPath } from './files/proc-path.js';
import * as libc from './libc.js';
import { NativeBuffer } from './native-buffer.js';

const IN_NONBLOCK = 0o4000;
const IN_CLOEXEC = 0o2000000;

/** Event bits, and flags of a watch, as in inotify(7). */
export const InotifyMask = {
  IN_MODIFY: 0x002,
  IN_ATTRIB: 0x004,
  IN_CLOSE_WRITE: 0x008,
  IN_MOVED_FROM: 0x040,
  IN_MOVED_TO: 0x080,
  IN_CREATE: 0x100,
  IN_DELETE: 0x200,
  IN_DELETE_SELF: 0x400,
  IN_MOVE_SELF: 0x800,
  IN_UNMOUNT: 0x2000,
  /** Events were lost; its watch descriptor is -1. */
  IN_Q_OVERFLOW: 0x4000,
  /** The watch is gone: it was removed, or its directory was. */
  IN_IGNORED: 0x8000,
  IN_ONLYDIR: 0x1000000,
  /** Nothing of files that have no name any more. */
  IN_EXCL_UNLINK: 0x4000000,
} as const;

/** struct inotify_event: wd[4] mask[4] cookie[4] len[4] name[len], NUL-padded. */
const EVENT = { wd: 0, mask: 4, len: 12, name: 16 } as const;
const BUFFER_BYTES = 64 * 1024;

/** One event: of what, what happened (InotifyMask), and the entry's name as a string of one character a byte, '' for the directory itself. */
export type InotifyListener = (wd: number, mask: number, name: string) => void;

/** One queue of events, and its watches. The descriptor is readable while there are events. */
export class Inotify {
  readonly fd: number;
  readonly #buffer = new NativeBuffer(BUFFER_BYTES);

  /** @throws HostError EMFILE where the user has as many instances as may be (fs.inotify.max_user_instances) */
  constructor() {
    this.fd = resultOrThrow(result(libc.inotify_init1(IN_NONBLOCK | IN_CLOEXEC)), 'inotify_init1', 'watch');
  }

  /**
   * Watches the very directory behind `dirFd` (O_PATH will do), which may be closed afterwards: no path is looked up, so nobody can
   * swap it. The same watch for the same directory. Its descriptor, or -ENOSPC where the user has as many watches as may be
   * (fs.inotify.max_user_watches), -EACCES where it may not be read, -ENOTDIR, -ENOMEM.
   */
  add(dirFd: number, mask: number): number {
    return result(libc.inotify_add_watch(this.fd, procPath(dirFd), mask | InotifyMask.IN_ONLYDIR));
  }

  /** Its IN_IGNORED comes after what was queued before. 0, or -EINVAL where there is no such watch any more. */
  remove(wd: number): number {
    return result(libc.inotify_rm_watch(this.fd, wd));
  }

  /** Takes what is queued, 64 KiB at most, and tells it in order. True where there may be more. */
  read(listener: InotifyListener): boolean {
    const { bytes, view, address } = this.#buffer;
    const length = result(libc.read(this.fd, address, BUFFER_BYTES));
    if (length < 0) return length === -Errno.EINTR;
    for (let at = 0; at < length;) {
      const nameBytes = view.getUint32(at + EVENT.len, true);
      const name = text(bytes, at + EVENT.name, nameBytes);
      listener(view.getInt32(at + EVENT.wd, true), view.getUint32(at + EVENT.mask, true), name);
      at += EVENT.name + nameBytes;
    }
    return length > 0;
  }

  close(): void {
    libc.close(this.fd);
  }
}

function text(bytes: Uint8Array, start: number, length: number): string {
  let end = start;
  while (end < start + length && bytes[end] !== 0) end++;
  return Buffer.from(bytes.buffer, start, end - start).toString('latin1');
}
