import {
  OpenFile,
  FileMode,
  OpenFlag,
  type AttributeChanges,
  type Attributes,
  type DirectorySink,
  type Interruptible,
  type Lock,
  type MaybePromise,
} from '../../../../../devices/9p/fs/file-system.js';
import { Errno, type Failure } from '../../../../../devices/errno.js';
import type { IoVector } from '../../../../../devices/io-vector.js';
import { applyChanges, fillAttributes, type Inode, resized } from './inode.js';
import type { MemoryFileSystem } from './memory-file-system.js';

export class MemoryFile extends OpenFile {
  readonly #fs: MemoryFileSystem;
  readonly #inode: Inode;
  readonly #flags: number;
  #open = true;
  #lock: { type: number; processId: number; clientId: string } | undefined;
  /** Reads and locks that wait to be interrupted, by what they were given. */
  readonly #blocked = new Map<Interruptible, (failure: Failure) => void>();

  constructor(fs: MemoryFileSystem, inode: Inode, flags: number) {
    super();
    this.#fs = fs;
    this.#inode = inode;
    this.#flags = flags;
    fs.liveFiles++;
  }

  #run<T>(operation: string, detail: string, act: () => T): MaybePromise<Awaited<T> | Failure> {
    if (!this.#open) throw new Error(`${operation} on a file that was closed`);
    return this.#fs.run(operation, detail, act) as MaybePromise<Awaited<T> | Failure>;
  }

  override read(offset: number, into: IoVector): MaybePromise<number> {
    if (this.#inode.target === 'blocks')
      return new Promise((resolve) => this.#blocked.set(into, resolve)) satisfies Promise<number>;
    return this.#run('read', String(offset), () => {
      const { data } = this.#inode;
      const lengthBytes = Math.max(0, Math.min(into.byteLength, data.length - offset));
      return into.scatter(0, data, offset, lengthBytes);
    });
  }

  override interrupt(operation: Interruptible): void {
    if (this.#fs.interruptInstead !== undefined) return this.#fs.interruptInstead();
    this.#blocked.get(operation)?.(-Errno.EINTR);
    this.#blocked.delete(operation);
  }

  override write(offset: number, from: IoVector): MaybePromise<number> {
    return this.#run('write', String(offset), () => {
      const start = (this.#flags & OpenFlag.O_APPEND) !== 0 ? this.#inode.data.length : offset;
      if (start + from.byteLength > 1 << 20) return -Errno.EFBIG;
      this.#inode.data = resized(
        this.#inode.data,
        Math.max(this.#inode.data.length, start + from.byteLength),
      );
      return from.gather(0, this.#inode.data, start, from.byteLength);
    });
  }

  override readdir(cookie: number, sink: DirectorySink): MaybePromise<number> {
    return this.#run('readdir', String(cookie), () => {
      if (this.#fs.readdirInstead !== undefined) return this.#fs.readdirInstead(cookie, sink);
      const inode = this.#inode;
      const all: [string, Inode][] = [['.', inode], ['..', inode.parent], ...inode.entries];
      for (let i = cookie; i < all.length; i++) {
        const [name, entry] = all[i];
        const type = (entry.mode & FileMode.S_IFMT) >> 12;
        if (!sink.entry(name, entry.number, 0, type, i + 1)) break;
      }
      return 0;
    });
  }

  override getattr(out: Attributes): MaybePromise<number> {
    return this.#run('file.getattr', '', () => fillAttributes(this.#inode, out));
  }

  override setattr(changes: AttributeChanges): MaybePromise<number> {
    return this.#run('file.setattr', '', () => applyChanges(this.#inode, changes));
  }

  override fsync(dataOnly: boolean): MaybePromise<number> {
    return this.#run('fsync', String(dataOnly), () => 0);
  }

  override lock(lock: Lock): MaybePromise<number> {
    return this.#run<MaybePromise<number>>(
      'lock',
      `${lock.type} ${lock.startBytes} ${lock.lengthBytes}${lock.readOnly === true ? ' read-only' : ''}`,
      () => {
        if (this.#inode.target === 'locked')
          return lock.wait === true ? new Promise((resolve) => this.#blocked.set(lock, resolve)) : 1;
        if (this.#lock !== undefined && this.#lock.clientId !== lock.clientId) return 1;
        this.#lock =
          lock.type === 2
            ? undefined
            : { type: lock.type, processId: lock.processId, clientId: lock.clientId };
        return 0;
      },
    );
  }

  override getlock(lock: Lock): MaybePromise<number> {
    return this.#run('getlock', '', () => {
      Object.assign(lock, this.#lock ?? { type: 2 });
      return 0;
    });
  }

  override close(): MaybePromise<void> {
    if (!this.#open) throw new Error('closed twice');
    this.#open = false;
    const answer = this.#fs.run('close', '', () => {
      this.#fs.liveFiles--;
    });
    return typeof answer === 'number' ? undefined : (answer as MaybePromise<void>);
  }
}
