/** Wakes whoever keeps manifests in step, when manifests or the directories that they name come, go or change. */
import { dirname, resolve } from 'node:path';
import { watch, type FSWatcher } from 'chokidar';

/**
 * Watches the folders on the way to each path, from the top on, and of what is in them only what leads on: so a path is known to come and to
 * go also where a folder above it is renamed. What is inside of a path is not told.
 */
export class WatchedPaths {
  private readonly onChange: () => void;
  private watcher: FSWatcher | undefined;
  private key = '';

  /** `onChange` hears of changes, often several times for one. A directory that takes the place of another at once may go unnoticed. */
  constructor(onChange: () => void) {
    this.onChange = onChange;
  }

  /** Watches these from now on. */
  async set(paths: readonly string[]): Promise<void> {
    const ways = new Set(paths.flatMap((path) => wayTo(resolve(path))));
    const key = JSON.stringify([...ways].sort());
    if (key === this.key) return;
    await this.close();
    this.key = key;
    const tops = [...ways].filter((path) => dirname(dirname(path)) === dirname(path));
    this.watcher = watch(tops, { ignoreInitial: true, ignored: (path) => !ways.has(path) });
    this.watcher.on('all', this.onChange);
    // What cannot be watched is noticed when somebody looks the next time.
    this.watcher.on('error', () => undefined);
    await new Promise<void>((done) => this.watcher?.once('ready', done));
    // Nobody tells what happened before.
    this.onChange();
  }

  async close(): Promise<void> {
    this.key = '';
    await this.watcher?.close();
    this.watcher = undefined;
  }
}

/** The path, and the folders above it, without the root. */
function wayTo(path: string): string[] {
  const above = dirname(path);
  return above === path ? [] : [path, ...wayTo(above)];
}
