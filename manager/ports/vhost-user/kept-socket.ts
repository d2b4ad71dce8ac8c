/** A front-end's connection while somebody holds it for the next process, should this one be killed: what is told when, and what the socket remembers. */
import { closeFd, createPipe, type Pipe } from '../../../host/index.js';
import { part, partOf, type KeptBackEnd } from './kept-back-end.js';
import {
  KeptPart,
  type ConnectionKeeper,
  type KeptExtras,
  type KeptReading,
  type KeptSocket as SocketPart,
  type ToldPart,
} from './kept-state.js';
import { markChunk, markUnkept, unmark } from './kept-mark.js';
import type { MessageReader } from './framing.js';
import { VHOST_USER_HEADER_BYTES, VhostUserRequest } from './protocol.js';

/** What of a connection is told. */
export interface KeptConnection {
  readonly fd: number;
  readonly announced: boolean;
  readonly reading: { readonly received: Uint8Array; readonly fds: readonly number[] };
}

/** One chunk on its way through the steps. */
export interface KeptStep {
  /** The part that it is about; undefined for a query. */
  readonly part: string | undefined;
  /** What was told of a message that had not come whole counts no more. */
  readonly wasReading: boolean;
  readonly chunkBytes: number;
}

export interface KeptSocketOptions {
  readonly fd: number;
  readonly keeper: ConnectionKeeper;
  readonly backEnd: KeptBackEnd;
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
  #wasReading = false;
  #isTold = false;

  /** @throws HostError where there is no pipe to be had */
  constructor(options: KeptSocketOptions) {
    this.#options = options;
    this.#number = options.number ?? 0;
    this.pipe = options.pipe ?? createPipe();
  }

  /** Tells of the connection as it is, while it is quiet. */
  async start(connection: KeptConnection): Promise<void> {
    const { fd } = this.#options;
    this.#fingerprints.clear();
    const parts = [
      part(KeptPart.SOCKET, (parcel): SocketPart => {
        const { readFd, writeFd } = this.pipe;
        return { fd: parcel.addFd(fd), readFd: parcel.addFd(readFd), writeFd: parcel.addFd(writeFd) };
      }),
    ];
    const told = this.#changed(connection, undefined);
    await this.#tell(true, [...parts, ...told, ...(this.#options.extras?.parts() ?? [])]);
    // What was told before is void only now.
    if (this.#isTold) unmark(fd);
  }

  /** The socket is about to be looked at. */
  look(): void {
    unmark(this.#options.fd);
  }

  /** A chunk was looked at. */
  begin(reader: MessageReader, isMessage: boolean): KeptStep {
    const { request, received } = reader;
    const bringsDescriptor = isMessage && request === VhostUserRequest.VHOST_USER_GET_INFLIGHT_FD;
    markChunk(this.#options.fd, reader.ahead, this.#number + 1, bringsDescriptor);
    const part = isMessage ? partOf(request, received.subarray(VHOST_USER_HEADER_BYTES)) : KeptPart.READING;
    return { part, wasReading: this.#wasReading, chunkBytes: reader.ahead };
  }

  /** The chunk is served: tells what it has changed. */
  async tell({ part, wasReading, chunkBytes }: KeptStep, connection: KeptConnection): Promise<void> {
    if (part === undefined && !wasReading)
      return markChunk(this.#options.fd, chunkBytes, this.#number, false);
    await this.#tell(false, this.#changed(connection, part));
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
  #changed(connection: KeptConnection, forced: string | undefined): ToldPart[] {
    const parts = [readingPart(connection), ...this.#options.backEnd.parts()];
    this.#wasReading = connection.reading.received.length > 0;
    return parts.filter(({ name, data, fds }) => {
      const fingerprint = JSON.stringify([data, fds]);
      const isSame = this.#fingerprints.get(name) === fingerprint;
      this.#fingerprints.set(name, fingerprint);
      return !isSame || name === forced;
    });
  }
}

function readingPart({ announced, reading }: KeptConnection): ToldPart {
  return part(KeptPart.READING, (parcel): KeptReading => ({
    announced,
    received: Buffer.from(reading.received).toString('hex'),
    receivedFds: reading.fds.map((fd) => parcel.addFd(fd)),
  }));
}
