/** Paths of an overlay that a commit or discard is about, with all that is below them. */
import type { ByteString } from '../file-system.js';

export class Selection {
  readonly #paths: Set<ByteString>;

  /** Paths start with '/'; '/' is everything. */
  constructor(paths: readonly ByteString[] = ['/']) {
    this.#paths = new Set(paths.map((path) => (path.endsWith('/') ? path.slice(0, -1) : path)));
  }

  /** True where this path, or one above it, was chosen. '' is the root. */
  has(path: ByteString): boolean {
    for (let at = path; ; at = at.slice(0, at.lastIndexOf('/'))) {
      if (this.#paths.has(at)) return true;
      if (at === '') return false;
    }
  }

  /** True where something at or below this path was chosen. */
  reaches(path: ByteString): boolean {
    if (this.has(path)) return true;
    for (const chosen of this.#paths) if (chosen.startsWith(`${path}/`)) return true;
    return false;
  }

  add(path: ByteString): void {
    this.#paths.add(path);
  }
}
