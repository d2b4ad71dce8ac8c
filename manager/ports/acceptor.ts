/** Accepts on a listening socket, of whichever family, for as long as it is open. */
import { getSystemErrorName } from 'node:util';
import { Errno } from '../../devices/errno.js';
import { acceptConnection, closeFd, EpollEvents, type Reactor } from '../../host/index.js';

/** How long the listener does not accept after that failed. */
const ACCEPT_PAUSE_MS = 1000;

export interface AcceptorOptions {
  /** The address, for the log. */
  readonly name: string;
  readonly reactor: Reactor;
  /** Takes over a connected, non-blocking socket. */
  readonly onConnection: (fd: number) => void;
  readonly log: (message: string) => void;
}

export class Acceptor {
  readonly #options: AcceptorOptions;
  #fd = -1;
  #timer: NodeJS.Timeout | undefined;

  constructor(options: AcceptorOptions) {
    this.#options = options;
  }

  get isOpen(): boolean {
    return this.#fd >= 0;
  }

  /** Takes the listening socket over. 0, or a negative errno and the socket is the caller's still. */
  open(fd: number): number {
    this.#fd = fd;
    const error = this.resume();
    if (error !== 0) this.#fd = -1;
    return error;
  }

  /** The listening socket; -1 while there is none. */
  get fd(): number {
    return this.#fd;
  }

  /** Accepts nobody until `resume`: who connects waits. */
  pause(): void {
    clearTimeout(this.#timer);
    this.#options.reactor.remove(this.#fd);
  }

  /** Goes on after `pause`, or begins on a socket that `adopt` took. 0 or a negative errno. */
  resume(): number {
    return this.#options.reactor.add(this.#fd, EpollEvents.EPOLLIN, () => this.#acceptAll());
  }

  /** Takes the listening socket over, and accepts nobody yet. */
  adopt(fd: number): void {
    this.#fd = fd;
  }

  close(): void {
    if (this.#fd < 0) return;
    clearTimeout(this.#timer);
    this.#options.reactor.remove(this.#fd);
    closeFd(this.#fd);
    this.#fd = -1;
  }

  #acceptAll(): void {
    while (this.#fd >= 0) {
      const fd = acceptConnection(this.#fd);
      if (fd >= 0) this.#options.onConnection(fd);
      else if (fd === -Errno.EAGAIN) return;
      else return this.#pause(fd);
    }
  }

  /**
   * Nearly always the process is out of descriptors: then the waiting client cannot even be refused, and its event would come
   * again at once, for ever.
   */
  #pause(error: number): void {
    const { reactor, log, name } = this.#options;
    log(`${name}: cannot accept a connection now: ${getSystemErrorName(error)}`);
    const fd = this.#fd;
    reactor.modify(fd, 0);
    this.#timer = setTimeout(() => reactor.modify(fd, EpollEvents.EPOLLIN), ACCEPT_PAUSE_MS).unref();
  }
}
