/**
 * Changes of the host's directories, for all exports of a process: one inotify queue, which is emptied some times a second while something
 * happens and never otherwise. In between the kernel gathers, and joins what repeats; what its queue has no room for is told as a loss.
 */
import type { ChangeSource, ChangeWatch } from '../../devices/9p/fs/host-directory/change-watch.js';
import { EpollEvents, Inotify, InotifyMask, type Reactor } from '../../host/index.js';

/** How long changes are gathered. */
const GATHER_MS = 50;
/** Most reads of one go, of 64 KiB each: as much as the kernel's queue holds by default. What is left waits for the next. */
const READS_MAX = 16;

const {
  IN_MODIFY,
  IN_ATTRIB,
  IN_CLOSE_WRITE,
  IN_MOVED_FROM,
  IN_MOVED_TO,
  IN_CREATE,
  IN_DELETE,
  IN_DELETE_SELF,
  IN_MOVE_SELF,
  IN_EXCL_UNLINK,
  IN_Q_OVERFLOW,
  IN_IGNORED,
} = InotifyMask;
const MASK =
  IN_MODIFY |
  IN_ATTRIB |
  IN_CLOSE_WRITE |
  IN_MOVED_FROM |
  IN_MOVED_TO |
  IN_CREATE |
  IN_DELETE |
  IN_DELETE_SELF |
  IN_MOVE_SELF |
  IN_EXCL_UNLINK;

export class HostWatcher implements ChangeSource {
  readonly #reactor: Reactor;
  readonly #inotify: Inotify;
  /** Who watches the directory: two exports of it have one watch. */
  readonly #watches = new Map<number, Set<ChangeWatch>>();
  readonly #touched = new Set<ChangeWatch>();
  #timer: NodeJS.Timeout | undefined;

  /** @throws HostError where the user has as many inotify instances as may be */
  constructor(reactor: Reactor) {
    this.#reactor = reactor;
    this.#inotify = new Inotify();
    reactor.add(this.#inotify.fd, EpollEvents.EPOLLIN, () => this.#gather());
  }

  watch(fd: number, watch: ChangeWatch): number {
    const wd = this.#inotify.add(fd, MASK);
    if (wd < 0) return wd;
    const sharing = this.#watches.get(wd);
    if (sharing === undefined) this.#watches.set(wd, new Set([watch]));
    else sharing.add(watch);
    return wd;
  }

  unwatch(wd: number, watch: ChangeWatch): void {
    const sharing = this.#watches.get(wd);
    if (sharing?.delete(watch) !== true || sharing.size > 0) return;
    this.#watches.delete(wd);
    this.#inotify.remove(wd);
  }

  close(): void {
    clearTimeout(this.#timer);
    this.#reactor.remove(this.#inotify.fd);
    this.#inotify.close();
  }

  /** Something has happened: to be looked at a little later, and not to be woken for meanwhile. */
  #gather(): void {
    this.#reactor.modify(this.#inotify.fd, 0);
    this.#timer = setTimeout(() => this.#empty(), GATHER_MS);
  }

  #empty(): void {
    for (let reads = 0; reads < READS_MAX && this.#inotify.read(this.#take); reads++);
    for (const watch of this.#touched) watch.flush();
    this.#touched.clear();
    this.#reactor.modify(this.#inotify.fd, EpollEvents.EPOLLIN);
  }

  readonly #take = (wd: number, mask: number, name: string): void => {
    if ((mask & IN_Q_OVERFLOW) !== 0) {
      this.#loseEvents();
      return;
    }
    for (const watch of this.#watches.get(wd) ?? []) {
      watch.note(wd, mask, name);
      this.#touched.add(watch);
    }
    // Its number may be another directory's one day.
    if ((mask & IN_IGNORED) !== 0) this.#watches.delete(wd);
  };

  #loseEvents(): void {
    for (const sharing of this.#watches.values()) {
      for (const watch of sharing) {
        watch.noteLoss();
        this.#touched.add(watch);
      }
    }
  }
}
