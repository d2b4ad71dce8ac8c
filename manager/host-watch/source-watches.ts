import type { HostDirectory } from '../../devices/9p/fs/host-directory/host-directory.js';
import { HostError, type Reactor } from '../../host/index.js';
import type { LogMethod } from '../logging/log.js';
import { HostWatcher } from './host-watcher.js';
import { LIMITED, type Watched } from './watched.js';

/** The watches of a device process. The queue that they share is made for the first of them, and stays. */
export class SourceWatches {
  private readonly newWatcher: () => HostWatcher;
  private readonly log: LogMethod;
  private watcher: HostWatcher | undefined;

  constructor(reactor: Reactor, log: LogMethod, newWatcher = (): HostWatcher => new HostWatcher(reactor)) {
    this.newWatcher = newWatcher;
    this.log = log;
  }

  /** Tells changes in a directory that was just opened. What the system does not allow is said, and no reason to refuse a mount. */
  begin(directory: HostDirectory, watched: Watched): void {
    try {
      this.watcher ??= this.newWatcher();
    } catch (error) {
      if (!(error instanceof HostError)) throw error;
      watched.problem = `nothing is watched: ${error.message} (sysctl fs.inotify.max_user_instances)`;
      this.log(watched.problem);
      return;
    }
    watched.watch = directory.watch({
      source: this.watcher,
      listener: watched.onChange,
      onLimit: () => this.log(LIMITED),
    });
  }
}
