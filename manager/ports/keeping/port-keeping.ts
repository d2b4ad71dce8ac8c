/** A port's part in having its connection outlive the process: whether somebody is told of it, and since when. */
import type { Pipe } from '../../../host/index.js';
import { describeError } from '../../../devices/virtio/device-session.js';
import { dataAs } from '../../device-process/hand-over/movable.js';
import { KeptSocket } from './kept-socket.js';
import {
  KeptSocketPart,
  SOCKET_PART,
  takePart,
  type ConnectionKeeper,
  type KeptConnection,
  type KeptExtras,
  type ToldPart,
} from './told.js';

export interface KeepableConnection {
  readonly fd: number;
  /** Whether it could be said now how far it got. */
  readonly isQuiet: boolean;
  /** Has it outlive this process, while it is quiet. Resolves once that is told, or nobody hears it. */
  keep(kept: KeptSocket): Promise<void>;
  /** It goes with this process from now on. */
  leave(): void;
}

export interface PortKeepingOptions<C extends KeepableConnection> {
  /** Whoever holds the connection for the next process, should this one be killed. Without, it ends with this process. */
  readonly keeper: ConnectionKeeper | undefined;
  readonly extras: KeptExtras | undefined;
  /** Whether what is under way is written down, without which nobody could go on. */
  readonly isRecorded: boolean;
  /** The one there is. */
  readonly connection: () => C | undefined;
  /** Everything of it but its socket, as it is now. */
  readonly parts: (connection: C) => readonly ToldPart[];
  readonly log: (message: string) => void;
}

export class PortKeeping<C extends KeepableConnection> {
  readonly #options: PortKeepingOptions<C>;
  #isRecorded: boolean;
  /** Of the connection, once it was to be kept. */
  #kept: KeptSocket | undefined;
  /** The keeper has not heard of the connection. */
  #isUntold = false;
  #forgotten: Promise<void> | undefined;

  constructor(options: PortKeepingOptions<C>) {
    this.#options = options;
    this.#isRecorded = options.isRecorded;
  }

  /** Settles once the keeper knows that the last connection is no more. */
  get forgotten(): Promise<void> | undefined {
    return this.#forgotten;
  }

  /**
   * There is another connection, or another keeper, which has heard of nothing. Resolves once it has, unless a message is being served: then it
   * hears after that.
   */
  async begin(): Promise<void> {
    this.#isUntold = true;
    await this.tell();
  }

  /** Tells of a connection that nobody has heard of, if that is where it can be said. */
  async tell(): Promise<void> {
    const { connection: current, keeper } = this.#options;
    const connection = current();
    if (!this.#isUntold || connection?.isQuiet !== true || keeper?.isThere !== true) return;
    this.#isUntold = false;
    if (!this.#isRecorded) return;
    try {
      await connection.keep((this.#kept ??= this.#newKept(connection)));
    } catch (error) {
      this.#options.log(`the connection cannot be kept: ${describeError(error)}`);
    }
  }

  /** Takes the socket and the pipe of a process that was killed. @throws ParcelError */
  take({ number, parts }: KeptConnection, connect: (fd: number) => C): { connection: C; pipe: Pipe } {
    const { data, parcel } = takePart(parts, SOCKET_PART);
    const { fd, readFd, writeFd } = dataAs(KeptSocketPart, data);
    const [socket, ...ends] = parcel.takeFds([fd, readFd, writeFd]);
    const connection = connect(socket);
    const pipe = { readFd: ends[0], writeFd: ends[1] };
    this.#kept = this.#newKept(connection, number, pipe);
    return { connection, pipe };
  }

  /** Goes on with what was taken. */
  goOn(connection: C): void {
    if (this.#options.keeper && this.#kept) void connection.keep(this.#kept).catch(() => undefined);
  }

  /** Tells of a part that has changed without a message. Undefined where nobody is to be told. */
  tellAside(part: ToldPart): Promise<void> | undefined {
    return this.#kept?.tellAside(part);
  }

  /** What there is to know of it is not written down any more: it ends with this process, as all that come after it. */
  giveUp(): void {
    this.#isRecorded = false;
    this.#options.connection()?.leave();
    this.#forget();
  }

  /** The connection has ended. */
  ended(): void {
    this.#kept?.close();
    this.#forget();
    this.#kept = undefined;
  }

  #forget(): void {
    if (this.#kept) this.#forgotten = this.#options.keeper?.ended();
  }

  #newKept(connection: C, number = 0, pipe?: Pipe): KeptSocket {
    const { keeper, extras, parts } = this.#options;
    if (keeper === undefined) throw new Error('nobody keeps connections');
    return new KeptSocket({
      ...{ fd: connection.fd, keeper, extras, number },
      parts: () => parts(connection),
      onUnkept: () => this.#options.connection()?.leave(),
      ...(pipe && { pipe }),
    });
  }
}
