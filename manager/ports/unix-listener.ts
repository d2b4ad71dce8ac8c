/** A unix socket that clients connect to: a port's VMMs, or those of an export. */
import { lstatSync, unlinkSync } from 'node:fs';
import { closeFd, HostError, listenUnix, type Reactor } from '../../host/index.js';
import { Acceptor } from './acceptor.js';

export interface UnixListenerOptions {
  /** Where the socket is made; at most 107 bytes. */
  readonly path: string;
  readonly reactor: Reactor;
  /** Takes over a connected, non-blocking socket. */
  readonly onConnection: (fd: number) => void;
  readonly log: (message: string) => void;
}

export class UnixListener {
  readonly #path: string;
  readonly #acceptor: Acceptor;
  /** Of the socket file that we made: another server may have put its own in the place since. */
  #inode = 0;

  constructor(options: UnixListenerOptions) {
    this.#path = options.path;
    this.#acceptor = new Acceptor({ ...options, name: options.path });
  }

  /** Makes the socket and accepts on it. @throws HostError for a path that is too long, in use, or cannot be made */
  listen(): void {
    if (this.#acceptor.isOpen) throw new Error(`already listening on ${this.#path}`);
    const fd = listenUnix(this.#path);
    const error = this.#acceptor.open(fd);
    if (error !== 0) {
      closeFd(fd);
      unlinkSync(this.#path);
      throw HostError.from(error, 'epoll_ctl', this.#path);
    }
    this.#inode = lstatSync(this.#path).ino;
  }

  /** The listening socket, for a process that is to take it over; -1 while there is none. */
  get fd(): number {
    return this.#acceptor.fd;
  }

  /** Accepts nobody until `resume`: who connects waits. */
  pause(): void {
    if (this.#acceptor.isOpen) this.#acceptor.pause();
  }

  /** Goes on after `pause`, or begins after `adopt`: only from then on the socket file is ours to remove. */
  resume(): void {
    if (!this.#acceptor.isOpen) return;
    this.#acceptor.resume();
    this.#inode = lstatSync(this.#path, { throwIfNoEntry: false })?.ino ?? 0;
  }

  /** Takes over the listening socket of another process, paused. */
  adopt(fd: number): void {
    this.#acceptor.adopt(fd);
  }

  /** Stops listening and removes the socket; `listen` may be called again. */
  close(): void {
    if (!this.#acceptor.isOpen) return;
    this.#acceptor.close();
    if (lstatSync(this.#path, { throwIfNoEntry: false })?.ino === this.#inode) unlinkSync(this.#path);
  }
}
