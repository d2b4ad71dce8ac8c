/** Unpacks what a guest sends into a new directory of the host, which is nobody else's. */
import { once } from 'node:events';
import { lstat, symlink } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { Unpack } from 'tar';
import { ChassisError } from '../../../manager/control/api.js';
import { ArchiveGuard, type Limits } from './archive-guard.js';

/** Neither set-user-id nor its like: files are the caller's on the host. */
const PERMISSIONS = 0o777;

export class Unpacking {
  readonly guard: ArchiveGuard;
  readonly #directory: string;
  readonly #unpack: Unpack;
  readonly #formerUmask: number;
  readonly #closed: Promise<void>;
  #failure: Error | undefined;

  /** `directory` is empty, and for its user alone until all is there. */
  constructor(directory: string, limits: Limits) {
    this.guard = new ArchiveGuard(limits);
    this.#directory = directory;
    // Modes are the guest's.
    this.#formerUmask = process.umask(0);
    this.#unpack = new Unpack({
      cwd: directory,
      // What the package would mend, and go on with, is no honest archive.
      strict: true,
      preserveOwner: false,
      filter: (path, entry) => this.#admits(path, entry as Parameters<ArchiveGuard['admits']>[0]),
      onReadEntry: (entry) => {
        entry.mode = (entry.mode ?? 0o644) & PERMISSIONS;
        if (entry.type === 'Directory') entry.mode |= 0o700;
      },
    });
    this.#closed = new Promise((resolve) => {
      this.#unpack.once('close', resolve);
      this.#unpack.on('error', (error: Error) => {
        this.#failure ??= error;
        resolve();
      });
    });
  }

  /** Resolves once there is room for more. @throws ChassisError GUEST_REFUSED; nothing more is taken then */
  async write(bytes: Uint8Array): Promise<void> {
    this.#check();
    // The package's stream forgets to say so where it has had an error.
    if (!this.#unpack.write(Buffer.from(bytes)))
      await Promise.race([once(this.#unpack, 'drain'), this.#closed]);
    this.#check();
  }

  /** Resolves once everything is there, symbolic links last. @throws ChassisError GUEST_REFUSED */
  async finish(): Promise<void> {
    this.#unpack.end();
    await this.#closed;
    this.#check();
    for (const [path, target] of this.guard.links) await this.#link(path, target);
  }

  /** Whatever came of it. */
  close(): void {
    process.umask(this.#formerUmask);
  }

  #admits(path: string, entry: Parameters<ArchiveGuard['admits']>[0]): boolean {
    if (this.#failure) return false;
    try {
      return this.guard.admits({ path, type: entry.type, linkpath: entry.linkpath, size: entry.size });
    } catch (error) {
      this.#failure = error as Error;
      return false;
    }
  }

  #check(): void {
    const failure = this.#failure;
    if (!failure) return;
    if (failure instanceof ChassisError) throw failure;
    throw new ChassisError('GUEST_REFUSED', `the guest's archive cannot be unpacked: ${failure.message}`);
  }

  async #link(path: string, target: string): Promise<void> {
    const at = join(this.#directory, path);
    // Links are made one after the other: an earlier one may be where this one's directory should be.
    for (let above = dirname(path); above !== '.'; above = dirname(above)) {
      const found = await lstat(join(this.#directory, above)).catch(() => undefined);
      if (found?.isDirectory() !== true) throw unfit(path);
    }
    await symlink(target, at).catch(() => {
      throw unfit(path);
    });
  }
}

function unfit(path: string): ChassisError {
  return new ChassisError(
    'GUEST_REFUSED',
    `the guest's archive has a link where something else is, or in what is none of its directories: ${JSON.stringify(path.slice(0, 200))}`,
  );
}
