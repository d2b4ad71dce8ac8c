import type { ChangeWatch } from '../../devices/9p/fs/host-directory/change-watch.js';
import type { ChangeListener } from '../../devices/9p/fs/change-listener.js';
import type { Watching } from '../control/api.js';

/** The watch of a mount's source: asked for before the source is opened, and set up by who opens it. */
export class Watched {
  readonly onChange: ChangeListener;
  watch: ChangeWatch | undefined;
  /** Why nothing is watched, where that is so. */
  problem: string | undefined;

  constructor(onChange: ChangeListener) {
    this.onChange = onChange;
  }

  /** How it goes, for an operator. */
  describe(): Watching {
    const problem = this.problem ?? (this.watch?.limited === true ? LIMITED : undefined);
    return { directories: this.watch?.size ?? 0, ...(problem !== undefined && { problem }) };
  }
}

export const LIMITED =
  'some directories are not watched: the system allows no more watches (sysctl fs.inotify.max_user_watches)';
