/**
 * Connections that the daemon makes for a confined process, which has no network: to a switch, passt, or an NBD server. The process says which
 * function wants one, and the daemon knows to whom.
 */
import { closeFd, HostError } from '../../host/index.js';

/** Connected sockets for one function. */
export interface Dialer {
  /** One, which is the caller's, if there is one now; otherwise it is asked for. @throws HostError EAGAIN */
  connect(): number;
  /** One, once it came. @throws Error where none comes in time */
  dial(timeoutMs: number): Promise<number>;
}

/** Sockets of one function that nobody has taken. */
const KEPT_MAX = 16;

export class PeerStock {
  readonly #want: (fn: string) => void;
  readonly #sockets = new Map<string, number[]>();
  readonly #waiting = new Map<string, ((fd: number) => void)[]>();

  /** @param want tells the daemon, if there is one */
  constructor(want: (fn: string) => void) {
    this.#want = want;
  }

  /** Takes over a socket for a function. */
  put(fn: string, fd: number): void {
    const waiting = this.#waiting.get(fn)?.shift();
    if (waiting) return waiting(fd);
    const sockets = this.#sockets.get(fn) ?? [];
    if (sockets.length < KEPT_MAX) this.#sockets.set(fn, [...sockets, fd]);
    else closeFd(fd);
  }

  /** The function is gone. */
  drop(fn: string): void {
    for (const fd of this.#sockets.get(fn) ?? []) closeFd(fd);
    this.#sockets.delete(fn);
    this.#waiting.delete(fn);
  }

  dialer(fn: string): Dialer {
    const take = () => this.#sockets.get(fn)?.shift();
    return {
      connect: () => {
        const fd = take();
        if (fd !== undefined) return fd;
        this.#want(fn);
        throw new HostError('EAGAIN', 'connect', 'the daemon is asked to connect');
      },
      dial: async (timeoutMs) => take() ?? this.#dialed(fn, timeoutMs),
    };
  }

  #dialed(fn: string, timeoutMs: number): Promise<number> {
    this.#want(fn);
    return new Promise((resolve, reject) => {
      const waiting = this.#waiting.get(fn) ?? [];
      this.#waiting.set(fn, waiting);
      const arrived = (fd: number) => {
        clearTimeout(timer);
        resolve(fd);
      };
      const timer = setTimeout(() => {
        waiting.splice(waiting.indexOf(arrived), 1);
        reject(new Error('the daemon does not connect to it'));
      }, timeoutMs);
      waiting.push(arrived);
    });
  }
}
