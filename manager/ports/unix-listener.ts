/** A unix socket that VMMs connect to, of whichever port. */
import { lstatSync, unlinkSync } from 'node:fs';
import { getSystemErrorName } from 'node:util';
import { Errno } from '../../devices/errno.js';
import { acceptUnix, closeFd, EpollEvents, HostError, listenUnix, type Reactor } from '../../host/index.js';

/** How long the listener does not accept after that failed. */
const ACCEPT_PAUSE_MS = 1000;

export interface UnixListenerOptions {
  /** Where the socket is made; at most 107 bytes. */
  readonly path: string;
  readonly reactor: Reactor;
  /** Takes over a connected, non-blocking socket. */
  readonly onConnection: (fd: number) => void;
  readonly log: (message: string) => void;
}

export class UnixListener {
  readonly #options: UnixListenerOptions;
  #fd = -1;
  /** Of the socket file that we made: another server may have put its own in the place since. */
  #inode = 0;
  #acceptTimer: NodeJS.Timeout | undefined;

  constructor(options: UnixListenerOptions) {
    this.#options = options;
  }

  /** Makes the socket and accepts on it. @throws HostError for a path that is too long, in use, or cannot be made */
  listen(): void {
    const { path, reactor } = this.#options;
    if (this.#fd >= 0) throw new Error(`already listening on ${path}`);
    const fd = listenUnix(path);
    const error = reactor.add(fd, EpollEvents.EPOLLIN, () => this.#acceptAll());
    if (error !== 0) {
      closeFd(fd);
      unlinkSync(path);
      throw HostError.from(error, 'epoll_ctl', path);
    }
    this.#fd = fd;
    this.#inode = lstatSync(path).ino;
  }

  /** Stops listening and removes the socket; `listen` may be called again. */
  close(): void {
    if (this.#fd < 0) return;
    clearTimeout(this.#acceptTimer);
    const { path, reactor } = this.#options;
    reactor.remove(this.#fd);
    closeFd(this.#fd);
    this.#fd = -1;
    if (lstatSync(path, { throwIfNoEntry: false })?.ino === this.#inode) unlinkSync(path);
  }

  #acceptAll(): void {
    while (this.#fd >= 0) {
      const fd = acceptUnix(this.#fd);
      if (fd >= 0) this.#options.onConnection(fd);
      else if (fd === -Errno.EAGAIN) return;
      else return this.#pauseAccepting(fd);
    }
  }

  /**
   * Nearly always the process is out of descriptors: then the waiting client cannot even be refused, and its event would come
   * again at once, for ever.
   */
  #pauseAccepting(error: number): void {
    const { reactor, log, path } = this.#options;
    log(`${path}: cannot accept a connection now: ${getSystemErrorName(error)}`);
    const fd = this.#fd;
    reactor.modify(fd, 0);
    this.#acceptTimer = setTimeout(() => reactor.modify(fd, EpollEvents.EPOLLIN), ACCEPT_PAUSE_MS).unref();
  }
}
