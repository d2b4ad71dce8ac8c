/**
 * A directory of the host as a file system for guests: the border that the guest must not cross.
 *
 * The guest's names are looked up one component at a time below descriptors, never as paths; symbolic links are data; what is
 * opened for use is a regular file or a directory, found out before it is opened. So neither `..`, nor links, nor a
 * process of the host that swaps files meanwhile leads outside. Needs /proc.
 *
 * A daemon running as root gives new files to the guest's users. An unprivileged one makes them its own, and the kernel's
 * permissions bound what the guest can do.
 */
import { existsSync, readFileSync } from 'node:fs';
import { getSystemErrorName } from 'node:util';
import { AT_FDCWD, closeFd, geteuid, openat, OpenFlags, reopen, StatxMask } from '../../../../host/index.js';
import { Errno, type Failure } from '../../../errno.js';
import type { GivenDescriptors, StateDestination } from '../../../state-descriptors.js';
import { StateReader } from '../../../state-reader.js';
import { StateWriter } from '../../../state-writer.js';
import type { FileSystem } from '../file-system.js';
import { ChangeWatch, type ChangeWatchOptions } from './change-watch.js';
import { ExportContext, type ExportLimits } from './export-context.js';
import { HostNode } from './host-node.js';
import { watchAgain } from './regained.js';

export interface HostDirectoryOptions {
  /** Most O_PATH descriptors that the guest's fids hold; others are opened again when they are used. Default: up to 4,096. */
  readonly maxHandles?: number;
  /** Most open files and directories; beyond them opening fails with EMFILE. Default: up to 4,096. */
  readonly maxOpenFiles?: number;
  /** Lets the guest make device nodes, which then are devices on the host too. Default: false. */
  readonly allowDeviceNodes?: boolean;
}

/** Why a directory cannot be exported; `message` is for the operator. */
export class HostDirectoryError extends Error {
  /** ENOENT, ENOTDIR, EACCES, or another errno's name. */
  readonly code: string;
  readonly path: string;

  constructor(code: string, path: string, reason: string) {
    super(`${path}: ${reason}`);
    this.name = 'HostDirectoryError';
    this.code = code;
    this.path = path;
  }
}

/** Descriptors for each of the two kinds, at most. */
const MAX_DESCRIPTORS = 4096;
/** Both kinds of one export leave three quarters of the process's descriptors to others. */
const SHARE_OF_LIMIT = 8;
/** The usual limit, where /proc does not tell. */
const DEFAULT_DESCRIPTOR_LIMIT = 1024;

export class HostDirectory implements FileSystem {
  readonly #context: ExportContext;
  #root: HostNode;

  private constructor(context: ExportContext, root: HostNode) {
    this.#context = context;
    this.#root = root;
  }

  /**
   * Exports the directory at `path`, which may be or pass through symbolic links: the operator chose it. The export stays with
   * this directory when it is renamed.
   *
   * @throws HostDirectoryError ENOENT, ENOTDIR, EACCES where the process may not list it, or what else open(2) says
   */
  static async open(path: string, options: HostDirectoryOptions = {}): Promise<HostDirectory> {
    if (path.includes('\0')) throw new HostDirectoryError('EINVAL', path, 'a path cannot contain NUL');
    const fd = openat(AT_FDCWD, Buffer.from(`${path}\0`), OpenFlags.O_PATH | OpenFlags.O_DIRECTORY, 0);
    if (fd < 0) throw errorFor(path, fd);
    const context = new ExportContext(limitsFor(options));
    const listable = tryListing(fd);
    const error = listable < 0 ? listable : context.statx.load(fd);
    if (error < 0) {
      closeFd(fd);
      throw errorFor(path, error);
    }
    const root = new HostNode(context, null, '');
    context.handles.add(root, fd);
    context.handles.pin(root);
    return new HostDirectory(context, root);
  }

  /** The root; -ENOENT once the directory was removed. */
  attach(): HostNode | Failure {
    const { statx } = this.#context;
    const error = statx.load(this.#root.fd, StatxMask.STATX_NLINK);
    if (error < 0) return error;
    if (statx.nlink === 0) return -Errno.ENOENT;
    this.#root.retain();
    return this.#root;
  }

  /** Tells of changes on the host in directories that a guest has been in from now on, until it is closed. Once. */
  watch(options: ChangeWatchOptions): ChangeWatch {
    return (this.#context.watch = new ChangeWatch(this.#context, options));
  }

  /** The root, which need not be where it was opened any more, and what is watched. */
  saveState({ descriptors }: StateDestination): Uint8Array {
    const writer = new StateWriter();
    writer.write(4, descriptors === undefined ? 0 : descriptors.add(this.#root.fd) + 1);
    writer.list(this.#context.watch?.names ?? [], (names) => writer.list(names, (name) => writer.text(name)));
    return writer.bytes;
  }

  /** What changed on the host since the state was saved is not known: if it is watched, all is said to have changed. */
  restoreState(bytes: Uint8Array, descriptors?: GivenDescriptors): string | undefined {
    const reader = new StateReader(bytes);
    const number = reader.read(4);
    const watched = reader.list(() => reader.list(() => reader.text()));
    if (reader.overrun || reader.leftBytes > 0) return 'the state of a directory has another length';
    const problem = number === 0 ? undefined : this.#adoptRoot(descriptors?.at(number - 1)?.fd ?? -1);
    const { watch } = this.#context;
    if (problem !== undefined || watch === null) return problem;
    for (const names of watched) watchAgain(this.#context, this.#root, names);
    watch.noteLoss();
    watch.flush();
    return undefined;
  }

  /** Goes on with the root that is open there. */
  #adoptRoot(given: number): string | undefined {
    const { statx, handles } = this.#context;
    const fd = given < 0 ? given : reopen(given, OpenFlags.O_PATH | OpenFlags.O_DIRECTORY);
    const error = fd < 0 ? fd : statx.load(fd);
    if (error < 0 || this.#root.is(statx)) {
      if (fd >= 0) closeFd(fd);
      return error < 0 ? `its directory did not come along (errno ${-error})` : undefined;
    }
    this.#root.release();
    this.#root = new HostNode(this.#context, null, '');
    handles.add(this.#root, fd);
    handles.pin(this.#root);
    return undefined;
  }

  close(): void {
    this.#context.watch?.close();
    this.#context.watch = null;
    this.#root.release();
  }
}

/** Opens the directory as guests will have it opened: 0, or why not. */
function tryListing(fd: number): number {
  if (!existsSync('/proc/self/fd')) return -Errno.ENOSYS;
  const listing = reopen(fd, OpenFlags.O_RDONLY | OpenFlags.O_DIRECTORY);
  return listing < 0 ? listing : closeFd(listing);
}

function limitsFor(options: HostDirectoryOptions): ExportLimits {
  const share = Math.min(Math.floor(descriptorLimit() / SHARE_OF_LIMIT), MAX_DESCRIPTORS);
  return {
    maxHandles: options.maxHandles ?? share,
    maxOpenFiles: options.maxOpenFiles ?? share,
    allowDeviceNodes: options.allowDeviceNodes ?? false,
    privileged: geteuid() === 0,
  };
}

/** RLIMIT_NOFILE of this process. */
function descriptorLimit(): number {
  const soft = /^Max open files +(\d+|unlimited)/m.exec(readLimits())?.[1];
  if (soft === undefined) return DEFAULT_DESCRIPTOR_LIMIT;
  return soft === 'unlimited' ? Infinity : Number(soft);
}

function readLimits(): string {
  try {
    return readFileSync('/proc/self/limits', 'latin1');
  } catch {
    return '';
  }
}

const REASONS: ReadonlyMap<number, string> = new Map([
  [Errno.ENOENT, 'no such directory'],
  [Errno.ENOTDIR, 'not a directory'],
  [Errno.EACCES, 'the daemon has no permission to list this directory'],
  [Errno.ELOOP, 'too many symbolic links'],
  [Errno.ENAMETOOLONG, 'the path is too long'],
  [Errno.ENOSYS, 'directories can only be exported where /proc is mounted'],
]);

function errorFor(path: string, failure: Failure): HostDirectoryError {
  const code = getSystemErrorName(failure);
  return new HostDirectoryError(code, path, REASONS.get(-failure) ?? `cannot be opened (${code})`);
}
