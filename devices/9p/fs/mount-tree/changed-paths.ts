import { EVERYTHING } from '../change-listener.js';
import type { ByteString } from '../file-system.js';
import type { TreeChild } from './tree-child.js';

/** Most paths that one reader is to be told: of those that come beyond them, the latest. */
const PATHS_MAX = 1024;

export interface ChangedPath {
  readonly child: TreeChild;
  readonly path: ByteString;
}

/** What has changed on the host and was not told to a reader yet: each path once, however often it changed. */
export class ChangedPaths {
  /** Of each child, from what changed first. Where some were dropped, {@link EVERYTHING} is among them. */
  readonly #paths = new Map<TreeChild, Set<ByteString>>();
  #count = 0;

  add(child: TreeChild, path: ByteString): void {
    let paths = this.#paths.get(child);
    if (paths === undefined) this.#paths.set(child, (paths = new Set()));
    if (paths.has(path)) return;
    if (this.#count >= PATHS_MAX) this.#dropOldest(paths);
    paths.add(path);
    this.#count++;
  }

  /** The next one of a child that is there still, which is told now. */
  take(): ChangedPath | undefined {
    for (const [child, paths] of this.#paths) {
      const path = child.removed ? undefined : nextOf(paths);
      if (path !== undefined) {
        this.#delete(paths, path);
        return { child, path };
      }
      this.#count -= paths.size;
      this.#paths.delete(child);
    }
    return undefined;
  }

  /** Of a child that has none, nothing is dropped: that many children there are not. */
  #dropOldest(paths: Set<ByteString>): void {
    for (const path of paths) {
      if (path === EVERYTHING) continue;
      this.#delete(paths, path);
      if (!paths.has(EVERYTHING)) this.#count++;
      paths.add(EVERYTHING);
      return;
    }
  }

  #delete(paths: Set<ByteString>, path: ByteString): void {
    paths.delete(path);
    this.#count--;
  }
}

/** What was dropped came first. */
function nextOf(paths: Set<ByteString>): ByteString | undefined {
  return paths.has(EVERYTHING) ? EVERYTHING : paths.values().next().value;
}
