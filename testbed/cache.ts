import { mkdir, mkdtemp, readdir, rename, rm, stat } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { withFileLock } from './file-lock.js';
import type { Activity } from './progress.js';

/** Builds an entry's files in `directory`, which is renamed into place afterwards: nothing may point at its own path. */
export type Build = (directory: string) => Promise<void>;

/**
 * Folders that are built once and then only read. An entry appears whole, by a rename, or not at all. Two processes never
 * build the same entry at once: the second waits for the first, and then finds it there.
 */
export class Cache {
  readonly root: string;

  constructor(root: string) {
    this.root = root;
  }

  /** The user's cache: `$CHASSIS_CACHE`, or `chassis` in `$XDG_CACHE_HOME`, or `~/.cache/chassis`. */
  static ofUser(environment: NodeJS.ProcessEnv = process.env): Cache {
    const own = environment.CHASSIS_CACHE;
    if (own) return new Cache(own);
    return new Cache(join(environment.XDG_CACHE_HOME || join(homedir(), '.cache'), 'chassis'));
  }

  /**
   * The folder of an entry, built by `build` where it is missing. An abort or a failure leaves nothing behind.
   * @param name a plain file name; give it a new one when what `build` makes changes its layout.
   */
  async entry(name: string, activity: Activity, build: Build): Promise<string> {
    const path = join(this.root, name);
    if (await exists(path)) return path;
    return this.locked(name, activity, async () => {
      if (!(await exists(path))) await this.#publish(name, path, activity, build);
      return path;
    });
  }

  /** Runs `work` while no other process holds the lock of this name. The lock dies with the process. */
  async locked<T>(name: string, activity: Activity, work: () => Promise<T>): Promise<T> {
    await mkdir(this.root, { recursive: true });
    return withFileLock(join(this.root, `.${name}.lock`), activity, work);
  }

  async #publish(name: string, path: string, { signal }: Activity, build: Build): Promise<void> {
    const prefix = `.${name}.tmp-`;
    await this.#removeStale(prefix);
    const directory = await mkdtemp(join(this.root, prefix));
    try {
      await build(directory);
      signal?.throwIfAborted();
      await rename(directory, path);
    } finally {
      await rm(directory, { recursive: true, force: true });
    }
  }

  /** We hold the entry's lock, so whatever carries its prefix was left by a process that was killed. */
  async #removeStale(prefix: string): Promise<void> {
    const names = (await readdir(this.root)).filter((name) => name.startsWith(prefix));
    await Promise.all(names.map((name) => rm(join(this.root, name), { recursive: true, force: true })));
  }
}

async function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
}
