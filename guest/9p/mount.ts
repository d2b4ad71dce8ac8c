import { GuestError } from '../errors.js';
import { Client9p, type AttachOptions } from './client.js';
import { AT_REMOVEDIR, OpenFlags } from './constants.js';
import type { Bytes } from './cursor.js';
import { listDirectory, makeDirectories, removeTree } from './directory.js';
import { FileHandle } from './file-handle.js';
import type { AttributeChanges, FileSystemStatistics } from './messages.js';
import { openPath } from './open.js';
import { opensForWriting, toOpenFlags, type OpenMode } from './open-flags.js';
import { Operations, type OperationOptions, type OperationRunner } from './operations.js';
import { toText } from './path.js';
import { PathWalker, type NameInDirectory } from './path-walker.js';
import { DirectoryEntry, Stats } from './stats.js';
import { toFileTime, type Time } from './times.js';
import type { Transport9p } from './transport.js';

/** msize unless asked otherwise: what Linux's virtio transport can do at most. */
export const DEFAULT_MSIZE = 512_000;

/** Modes of what is made, unless given: 0777 and 0666 under a umask of 022. */
const DIRECTORY_MODE = 0o755;
const FILE_MODE = 0o644;

export interface MountOptions extends AttachOptions {
  /** Largest message to propose, in bytes; the server and the transport may have less. Default 512000. */
  readonly msize?: number;
  /** Refuse whatever changes the file system with EROFS, without asking the server. */
  readonly readOnly?: boolean;
  /** Group of what is made; default 0. */
  readonly gid?: number;
  /** Gives up on a device that does not answer: the transport is closed, and the mount rejects with the signal's reason. */
  readonly signal?: AbortSignal;
}

/** Options of calls that make something. */
export interface CreateOptions extends OperationOptions {
  /** Permissions, as they are. */
  readonly mode?: number;
}

/**
 * A mounted 9p file system, with the calls of Node's `fs/promises`. Paths are relative to its root (a leading '/' is ignored) and
 * follow symbolic links; names that are no UTF-8 are given as bytes. Calls may run at the same time, in any number. They reject
 * with a GuestError: the server's errno, ENODEV once the device was pulled out, EIO if it broke, ENOTCONN after `unmount`.
 */
export class Mount {
  /** The protocol itself, for what has no call here: its fids are the caller's to clunk. */
  readonly client: Client9p;
  readonly readOnly: boolean;
  readonly #transport: Transport9p;
  readonly #rootFid: number;
  readonly #walker: PathWalker;
  readonly #gid: number;
  readonly #operations = new Operations();
  readonly #handles = new Set<FileHandle>();
  readonly #onUnmount: () => Promise<void>;
  #unmounted: Promise<void> | undefined;

  private constructor(
    client: Client9p,
    transport: Transport9p,
    root: { readonly fid: number; readonly walker: PathWalker },
    options: MountOptions,
    onUnmount: () => Promise<void>,
  ) {
    this.client = client;
    this.#transport = transport;
    this.#rootFid = root.fid;
    this.#walker = root.walker;
    this.readOnly = options.readOnly ?? false;
    this.#gid = options.gid ?? 0;
    this.#onUnmount = onUnmount;
  }

  /** Starts a session over a transport that carries no other. `onUnmount` runs once the mount no longer needs it. */
  static async connect(
    transport: Transport9p,
    options: MountOptions = {},
    onUnmount: () => Promise<void> = () => Promise.resolve(),
  ): Promise<Mount> {
    const { signal, msize = DEFAULT_MSIZE } = options;
    signal?.throwIfAborted();
    const client = new Client9p(transport);
    const giveUp = () => void transport.close();
    signal?.addEventListener('abort', giveUp, { once: true });
    try {
      await client.version(msize);
      const fid = client.takeFid();
      const qid = await client.attach(fid, options);
      const walker = new PathWalker(client, fid, qid);
      return new Mount(client, transport, { fid, walker }, options, onUnmount);
    } catch (error) {
      signal?.throwIfAborted();
      throw error;
    } finally {
      signal?.removeEventListener('abort', giveUp);
    }
  }

  /** The whole file, as bytes or (with an encoding) as text. */
  readFile(path: Bytes, encoding?: null, options?: OperationOptions): Promise<Uint8Array>;
  readFile(path: Bytes, encoding: 'utf8', options?: OperationOptions): Promise<string>;
  async readFile(
    path: Bytes,
    encoding?: 'utf8' | null,
    options: OperationOptions = {},
  ): Promise<Uint8Array | string> {
    const bytes = await this.#withFile(path, 'r', options, (file) => file.readFile(options));
    return encoding === 'utf8' ? toText(bytes) : bytes;
  }

  /** Makes the file hold `data` and nothing else. */
  writeFile(path: Bytes, data: Bytes, options: CreateOptions = {}): Promise<void> {
    return this.#withFile(path, 'w', options, (file) => file.write(data, 0, options));
  }

  appendFile(path: Bytes, data: Bytes, options: CreateOptions = {}): Promise<void> {
    return this.#withFile(path, 'a', options, (file) => file.write(data, undefined, options));
  }

  /** Opens a file, and makes it where the mode says so. */
  open(path: Bytes, mode: OpenMode | number = 'r', options: CreateOptions = {}): Promise<FileHandle> {
    return this.#open(path, mode, options, this.#operations);
  }

  /** Names in a directory, in the server's order, without '.' and '..'. */
  async readdir(path: Bytes, options: OperationOptions = {}): Promise<string[]> {
    return (await this.entries(path, options)).map(({ name }) => name);
  }

  /** `readdir` with types, and names in bytes. */
  entries(path: Bytes, options: OperationOptions = {}): Promise<DirectoryEntry[]> {
    return this.#run('scandir', path, async () => {
      const { fid } = await this.#walker.walk(path, { follow: true, signal: options.signal });
      const entries = await listDirectory(this.client, fid, options.signal);
      return entries.map((entry) => new DirectoryEntry(entry));
    });
  }

  stat(path: Bytes, options: OperationOptions = {}): Promise<Stats> {
    return this.#run('stat', path, () => this.#stat(path, true, options));
  }

  /** `stat` of a symbolic link itself. */
  lstat(path: Bytes, options: OperationOptions = {}): Promise<Stats> {
    return this.#run('lstat', path, () => this.#stat(path, false, options));
  }

  /** True where `stat` finds something; rejects where it fails for another reason than that there is nothing. */
  async exists(path: Bytes, options: OperationOptions = {}): Promise<boolean> {
    try {
      await this.stat(path, options);
      return true;
    } catch (error) {
      if (error instanceof GuestError && (error.code === 'ENOENT' || error.code === 'ENOTDIR')) return false;
      throw error;
    }
  }

  /** With `recursive`, makes missing parents too and is content with a directory that is there already. */
  mkdir(path: Bytes, options: CreateOptions & { readonly recursive?: boolean } = {}): Promise<void> {
    const { mode = DIRECTORY_MODE, recursive = false, signal } = options;
    return this.#change('mkdir', path, async () => {
      if (recursive) {
        return makeDirectories(this.client, this.#walker, path, { mode, gid: this.#gid }, signal);
      }
      await this.#inParent(path, signal, ({ fid, name }) =>
        this.client.mkdir(fid, name, mode, this.#gid, signal),
      );
    });
  }

  /** Removes an empty directory. */
  rmdir(path: Bytes, options: OperationOptions = {}): Promise<void> {
    return this.#unlinkAt('rmdir', path, AT_REMOVEDIR, options);
  }

  /** Removes anything but a directory. */
  unlink(path: Bytes, options: OperationOptions = {}): Promise<void> {
    return this.#unlinkAt('unlink', path, 0, options);
  }

  /**
   * Removes a file, or with `recursive` a directory and what is in it (never what links in it point at). With `force` it is no
   * error where there is nothing.
   */
  rm(
    path: Bytes,
    options: OperationOptions & { readonly recursive?: boolean; readonly force?: boolean } = {},
  ): Promise<void> {
    const { signal } = options;
    return this.#change('rm', path, async () => {
      try {
        await this.#inParent(path, signal, ({ fid, name }) =>
          options.recursive === true
            ? removeTree(this.client, fid, name, signal)
            : this.client.unlinkat(fid, name, 0, signal),
        );
      } catch (error) {
        if (options.force === true && error instanceof GuestError && error.code === 'ENOENT') return;
        throw error;
      }
    });
  }

  rename(from: Bytes, to: Bytes, options: OperationOptions = {}): Promise<void> {
    const { signal } = options;
    return this.#change('rename', from, () =>
      this.#inParent(from, signal, (source) =>
        this.#inParent(to, signal, (target) =>
          this.client.renameat(source.fid, source.name, target.fid, target.name, signal),
        ),
      ),
    );
  }

  /** Makes `path` a symbolic link that says `target`. */
  symlink(target: Bytes, path: Bytes, options: OperationOptions = {}): Promise<void> {
    const { signal } = options;
    return this.#change('symlink', path, () =>
      this.#inParent(path, signal, async ({ fid, name }) => {
        await this.client.symlink(fid, name, target, this.#gid, signal);
      }),
    );
  }

  /** What a symbolic link says. */
  readlink(path: Bytes, options: OperationOptions = {}): Promise<string> {
    const { signal } = options;
    return this.#run('readlink', path, () =>
      this.#withFid(path, false, signal, async (fid) => toText(await this.client.readlink(fid, signal))),
    );
  }

  /** Makes `path` another name of the file `existing`, which is not followed where it is a link. */
  link(existing: Bytes, path: Bytes, options: OperationOptions = {}): Promise<void> {
    const { signal } = options;
    return this.#change('link', existing, () =>
      this.#withFid(existing, false, signal, (fid) =>
        this.#inParent(path, signal, (target) => this.client.link(target.fid, fid, target.name, signal)),
      ),
    );
  }

  truncate(path: Bytes, sizeBytes = 0, options: OperationOptions = {}): Promise<void> {
    return this.#setattr('truncate', path, { sizeBytes }, options);
  }

  /** Sets the permissions; the file's type stays. */
  chmod(path: Bytes, mode: number, options: OperationOptions = {}): Promise<void> {
    return this.#setattr('chmod', path, { mode }, options);
  }

  chown(path: Bytes, uid: number, gid: number, options: OperationOptions = {}): Promise<void> {
    return this.#setattr('chown', path, { uid, gid }, options);
  }

  utimes(path: Bytes, atime: Time, mtime: Time, options: OperationOptions = {}): Promise<void> {
    const changes = { atime: toFileTime(atime), mtime: toFileTime(mtime) };
    return this.#setattr('utimes', path, changes, options);
  }

  statfs(path: Bytes = '/', options: OperationOptions = {}): Promise<FileSystemStatistics> {
    const { signal } = options;
    return this.#run('statfs', path, () =>
      this.#withFid(path, true, signal, (fid) => this.client.statfs(fid, signal)),
    );
  }

  /**
   * Waits for what is under way, closes open files, lets every fid go and then the device. With `force` it does not wait: what
   * is under way fails with EIO, and the device is reset. Unmounting twice is unmounting once, but `force` helps one that waits.
   */
  async unmount(options: { readonly force?: boolean } = {}): Promise<void> {
    if (options.force === true) await this.#transport.close();
    this.#unmounted ??= this.#unmount();
    await this.#unmounted;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.unmount();
  }

  async #unmount(): Promise<void> {
    await this.#operations.end();
    // What cannot be closed any more is gone with the device: nothing is left to be done about it.
    await Promise.allSettled([...this.#handles].map((handle) => handle.close()));
    await Promise.allSettled([this.client.clunk(this.#rootFid)]);
    await this.#onUnmount();
  }

  #run<T>(syscall: string, path: Bytes, work: () => Promise<T>): Promise<T> {
    return this.#operations.run(syscall, toText(path), work);
  }

  /** `#run` for what changes the file system. */
  #change(syscall: string, path: Bytes, work: () => Promise<unknown>): Promise<void> {
    return this.#run(syscall, path, async () => {
      this.#assertWritable();
      await work();
    });
  }

  #assertWritable(): void {
    if (this.readOnly) throw new GuestError('EROFS', { syscall: 'mount' });
  }

  async #withFid<T>(
    path: Bytes,
    follow: boolean,
    signal: AbortSignal | undefined,
    work: (fid: number) => Promise<T>,
  ): Promise<T> {
    const { fid } = await this.#walker.walk(path, { follow, signal });
    try {
      return await work(fid);
    } finally {
      await this.client.clunk(fid);
    }
  }

  async #inParent<T>(
    path: Bytes,
    signal: AbortSignal | undefined,
    work: (place: NameInDirectory) => Promise<T>,
  ): Promise<T> {
    const place = await this.#walker.parent(path, signal);
    try {
      return await work(place);
    } finally {
      await this.client.clunk(place.fid);
    }
  }

  /** One operation from opening to closing. */
  #withFile<T>(
    path: Bytes,
    mode: OpenMode,
    options: CreateOptions,
    work: (file: FileHandle) => Promise<T>,
  ): Promise<T> {
    return this.#operations.hold('open', toText(path), async () => {
      const file = await this.#open(path, mode, options, this.#operations.held);
      try {
        return await work(file);
      } finally {
        await file.close();
      }
    });
  }

  #open(
    path: Bytes,
    mode: OpenMode | number,
    options: CreateOptions,
    operations: OperationRunner,
  ): Promise<FileHandle> {
    return operations.run('open', toText(path), async () => {
      const flags = toOpenFlags(mode) | OpenFlags.O_LARGEFILE;
      if (opensForWriting(flags)) this.#assertWritable();
      const request = { flags, mode: options.mode ?? FILE_MODE, gid: this.#gid, signal: options.signal };
      const fid = await openPath(this.client, this.#walker, path, request);
      const file = { fid, flags, path: toText(path) };
      const closed = (handle: FileHandle) => this.#handles.delete(handle);
      const handle = new FileHandle(this.client, operations, file, closed);
      this.#handles.add(handle);
      return handle;
    });
  }

  #stat(path: Bytes, follow: boolean, { signal }: OperationOptions): Promise<Stats> {
    return this.#withFid(
      path,
      follow,
      signal,
      async (fid) => new Stats(await this.client.getattr(fid, undefined, signal)),
    );
  }

  #setattr(
    syscall: string,
    path: Bytes,
    changes: AttributeChanges,
    { signal }: OperationOptions,
  ): Promise<void> {
    return this.#change(syscall, path, () =>
      this.#withFid(path, true, signal, (fid) => this.client.setattr(fid, changes, signal)),
    );
  }

  #unlinkAt(syscall: string, path: Bytes, flags: number, { signal }: OperationOptions): Promise<void> {
    return this.#change(syscall, path, () =>
      this.#inParent(path, signal, ({ fid, name }) => this.client.unlinkat(fid, name, flags, signal)),
    );
  }
}
