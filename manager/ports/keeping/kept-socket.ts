/** A front-end's connection while somebody holds it for the next process, should this one be killed: what is told when, and what the socket remembers. */
import { closeFd, createPipe, type Pipe } from '../../../host/index.js';
import { markChunk, markUnkept, unmark } from './kept-mark.js';
import {
  part,
  SOCKET_PART,
  type ConnectionKeeper,
  type KeptExtras,
  type KeptSocketPart,
  type ToldPart,
} from './told.js';

/** One chunk on its way through the steps. */
export interface KeptStep {
  readonly chunkBytes: number;
  /** The part that it is about, which is told anew whatever it looks like: another descriptor may have the same number. Undefined for a query. */
  readonly part: string | undefined;
}

export interface KeptSocketOptions {
  readonly fd: number;
  readonly keeper: ConnectionKeeper;
  /** Everything of the connection but its socket, as it is now. */
  readonly parts: () => readonly ToldPart[];
  readonly extras?: KeptExtras | undefined;
  /** Of the process before this one, which it was told last. */
  readonly number?: number;
  readonly pipe?: Pipe;
  /** Whoever kept it does not any more. */
  readonly onUnkept: () => void;
}

export class KeptSocket {
  readonly pipe: Pipe;
  readonly #options: KeptSocketOptions;
  readonly #fingerprints = new Map<string, string>();
  #number: number;
  #isTold = false;

  /** @throws HostError where there is no pipe to be had */
  constructor(options: KeptSocketOptions) {
    this.#options = options;
    this.#number = options.number ?? 0;
    this.pipe = options.pipe ?? createPipe();
  }

  /** Tells of the connection as it is, while it is quiet. */
  async start(): Promise<void> {
    const { fd, extras } = this.#options;
    this.#fingerprints.clear();
    const socket = part(SOCKET_PART, (parcel): KeptSocketPart => {
      const { readFd, writeFd } = this.pipe;
      return { fd: parcel.addFd(fd), readFd: parcel.addFd(readFd), writeFd: parcel.addFd(writeFd) };
    });
    await this.#tell(true, [socket, ...this.#changed(undefined), ...(extras?.parts() ?? [])]);
    // What was told before is void only now.
    if (this.#isTold) unmark(fd);
  }

  /** The socket is about to be looked at. */
  look(): void {
    unmark(this.#options.fd);
  }

  /** A chunk was looked at. For `bringsDescriptor` see `markChunk`. */
  begin(step: KeptStep, bringsDescriptor: boolean): KeptStep {
    markChunk(this.#options.fd, step.chunkBytes, this.#number + 1, bringsDescriptor);
    return step;
  }

  /** The chunk is served: tells what it has changed. */
  async tell({ part, chunkBytes }: KeptStep): Promise<void> {
    if (part === undefined) return markChunk(this.#options.fd, chunkBytes, this.#number, false);
    await this.#tell(false, this.#changed(part));
  }

  /** Tells of what has nothing to do with messages. Resolves once that is told, or nobody is there. */
  async tellAside(part: ToldPart): Promise<void> {
    await this.#options.keeper.tell({ number: undefined, begins: false, parts: [part] });
  }

  /** Nobody is told any more: this process alone has the connection. */
  abandon(): void {
    markUnkept(this.#options.fd);
  }

  close(): void {
    closeFd(this.pipe.readFd);
    closeFd(this.pipe.writeFd);
  }

  async #tell(begins: boolean, parts: readonly ToldPart[]): Promise<void> {
    const number = begins ? this.#number : this.#number + 1;
    this.#isTold = await this.#options.keeper.tell({ number, begins, parts });
    if (this.#isTold) this.#number = number;
    else this.#options.onUnkept();
  }

  /** The parts that look otherwise than when they were told last, and the one that is told anyway. */
  #changed(forced: string | undefined): ToldPart[] {
    return this.#options.parts().filter(({ name, data, fds }) => {
      const fingerprint = JSON.stringify([data, fds]);
      const isSame = this.#fingerprints.get(name) === fingerprint;
      this.#fingerprints.set(name, fingerprint);
      return !isSame || name === forced;
    });
  }
}
