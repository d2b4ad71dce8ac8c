/** A vhost-user back-end: one virtio device behind one unix socket, for one VMM at a time. */
import { setTimeout as delay } from 'node:timers/promises';
import type { QueueCounters, VirtioDevice } from '../../../devices/virtio/device.js';
import { describeError } from '../../../devices/virtio/device-session.js';
import { closeFd, type Pipe, type Reactor } from '../../../host/index.js';
import { dataAs } from '../../device-process/hand-over/movable.js';
import type { IncomingParcel, OutgoingParcel } from '../../device-process/hand-over/parcel.js';
import { Connection } from './connection.js';
import { VhostUserDevice } from './device.js';
import type { FileState } from './file-state.js';
import { complete, Standing, standingOf } from '../keeping/kept-mark.js';
import { PortKeeping } from '../keeping/port-keeping.js';
import {
  part,
  takePart,
  type ConnectionKeeper,
  type KeptConnection,
  type KeptExtras,
  type KeptParts,
  type ToldPart,
} from '../keeping/told.js';
import { KeptPart, KeptReading } from './kept-state.js';
import { UnixListener } from '../unix-listener.js';
import type { VhostUserState } from './port-state.js';

export interface VhostUserServerOptions {
  /** Where the socket is made; at most 107 bytes. */
  readonly path: string;
  readonly reactor: Reactor;
  /** The server's to drive, and its owner's to close, once the server is. */
  readonly device: VirtioDevice;
  /** Of a file for the requests under way, which the next process finds there where this one is killed. None are kept without it. */
  readonly inflightPath?: string;
  /** Does not offer VHOST_USER_PROTOCOL_F_DEVICE_STATE: for a VMM that would then count on it where it need not. */
  readonly withholdsState?: boolean;
  /** Whoever holds the connection for the next process, should this one be killed. Without, it ends with this process. */
  readonly keeper?: ConnectionKeeper | undefined;
  /** What is kept along with it. */
  readonly extras?: KeptExtras | undefined;
  /** A VMM has connected and begun to talk. */
  readonly onConnect: () => void;
  /** That VMM is gone and all that it gave is released; the next one may connect. */
  readonly onDisconnect: (reason: string) => void;
  readonly log: (message: string) => void;
}

export class VhostUserServer {
  readonly #options: VhostUserServerOptions;
  readonly #device: VhostUserDevice;
  readonly #listener: UnixListener;
  readonly #keeping: PortKeeping<Connection>;
  #connection: Connection | undefined;
  /** What is served here is another process's as yet. */
  #asleep = false;
  /** Settles once the device is done with the last front-end. */
  #releasing: Promise<void> | undefined;

  constructor(options: VhostUserServerOptions) {
    const { path, reactor, device, inflightPath, withholdsState = false, log } = options;
    this.#options = options;
    this.#keeping = new PortKeeping({
      ...{ keeper: options.keeper, extras: options.extras, isRecorded: inflightPath !== undefined },
      connection: () => this.#connection,
      parts: (connection) => [readingPart(connection), ...this.#device.kept.parts()],
      log: (message) => log(`${path}: ${message}`),
    });
    this.#device = new VhostUserDevice({
      device,
      reactor,
      log: (message) => log(`${path}: ${message}`),
      inflightPath,
      withholdsState,
      onUnrecorded: () => this.#keeping.giveUp(),
    });
    this.#listener = new UnixListener({ path, reactor, log, onConnection: (fd) => this.#admit(fd) });
    if (device.isStateKept === true) device.stateChanged = () => this.#tellDevice();
  }

  /** True while a VMM is connected that has begun to talk. */
  get connected(): boolean {
    return this.#connection?.announced ?? false;
  }

  /** The virtio features that the driver at work agreed to; undefined while none is. */
  get features(): bigint | undefined {
    return this.#device.features;
  }

  /** What a queue counted since its driver started the device; zeros while it is not at work. */
  counters(queueIndex: number): Readonly<QueueCounters> {
    return this.#device.counters(queueIndex);
  }

  /** Makes the socket and accepts on it. @throws HostError for a path that is too long, in use, or cannot be made */
  listen(): void {
    this.#listener.listen();
  }

  /** Once closed, and for good: there is no next process to find anything. */
  forget(): void {
    this.#device.forget();
  }

  /**
   * Ends the connection, stops listening and removes the socket; `listen` may be called again. Resolves once the device has
   * finished its reset, so that it may be closed.
   */
  async close(): Promise<void> {
    if (this.#asleep) this.#device.abandon();
    this.#listener.close();
    this.#connection?.close('the server was closed');
    await this.#releasing;
    // A state that another process handed over may have no connection, and all that a front-end gives.
    await this.#device.disconnect();
    await this.#keeping.forgotten;
  }

  /** Tells the keeper of an extra that has changed. */
  async tellAside(part: ToldPart): Promise<void> {
    await this.#keeping.tellAside(part);
  }

  #tellDevice(): Promise<void> | undefined {
    return this.#keeping.tellAside(this.#device.kept.devicePart());
  }

  /** There is another keeper, which has heard of nothing. Resolves once it has, unless a message is being served: then it hears after that. */
  async keepAgain(): Promise<void> {
    await this.#keeping.begin();
  }

  /**
   * Goes on for a process that was killed, with the front-end that it had. Answers why not: then that is cut off, and the next one may
   * connect. @throws ParcelError
   */
  async goOnFor(kept: KeptConnection): Promise<string | undefined> {
    const { parts, number } = kept;
    const connect = (fd: number): Connection => (this.#connection = this.#newConnection(fd));
    const { connection, pipe } = this.#keeping.take(kept, connect);
    const problem = await this.#pickUp(connection, pipe, number, parts);
    if (problem !== undefined) {
      connection.close(problem);
      return problem;
    }
    this.#options.extras?.take(parts);
    this.#device.kept.takeOver(parts);
    this.#device.resume();
    connection.resume();
    if (connection.announced) this.#options.onConnect();
    this.#keeping.goOn(connection);
    return undefined;
  }

  async #pickUp(
    connection: Connection,
    pipe: Pipe,
    number: number,
    parts: KeptParts,
  ): Promise<string | undefined> {
    const standing = standingOf(connection.fd, pipe, number);
    if (standing === Standing.UNKNOWN) return 'nobody knows what its VMM was answered last';
    const problem = await this.#device.kept.restore(parts);
    if (problem !== undefined) return problem;
    const reading = takePart(parts, KeptPart.READING);
    const state = dataAs(KeptReading, reading.data);
    if (!connection.adopt(state, reading.parcel.takeFds(state.receivedFds)))
      return 'its VMM said what cannot be';
    const error = complete(connection.fd, pipe, standing);
    return error < 0 ? `its socket is of no use: errno ${-error}` : undefined;
  }

  /**
   * Serves neither the VMM nor its driver any more, until `resume`; resolves once requests under way are done. A string says what was not,
   * in that time.
   */
  async pause(timeoutMs: number): Promise<string | undefined> {
    this.#listener.pause();
    this.#connection?.pause();
    const end = performance.now() + timeoutMs;
    while (this.#connection?.serving === true) {
      if (performance.now() > end) return 'a request of the VMM did not end in time';
      await delay(1);
    }
    return this.#device.pause(end - performance.now());
  }

  /** Goes on after `pause`, or begins after `restore`. */
  resume(): void {
    this.#asleep = false;
    this.#listener.resume();
    this.#connection?.resume();
    this.#device.resume();
  }

  /** For a file: undefined where no driver has been at work. @throws Error where it cannot be told now */
  saveToFile(): FileState | undefined {
    return this.#device.saveToFile();
  }

  /** Has the device go on where that of a file was, once the driver of that begins. Answers why it is none for this one. */
  loadFromFile(state: FileState): Promise<string | undefined> {
    return this.#device.loadFromFile(state);
  }

  /** What another process has to go on from, of a server that is paused. @throws what `saveState` of the device throws */
  save(parcel: OutgoingParcel): VhostUserState {
    return {
      listener: parcel.addFd(this.#listener.fd),
      connection: this.#connection?.save(parcel) ?? null,
      backEnd: this.#device.save(parcel),
    };
  }

  /** In place of `listen`: goes on, once `resume` is called, where another process was. Answers why not; `close` is to come then. @throws ParcelError */
  async restore(state: VhostUserState, parcel: IncomingParcel): Promise<string | undefined> {
    this.#asleep = true;
    this.#listener.adopt(parcel.takeFd(state.listener));
    if (state.connection !== null) {
      const connection = this.#newConnection(parcel.takeFd(state.connection.fd));
      this.#connection = connection;
      if (!connection.restore(state.connection, parcel)) return 'its VMM said what cannot be';
    }
    return this.#device.restore(state.backEnd, parcel);
  }

  #admit(fd: number): void {
    const { log, path } = this.#options;
    if (this.connected) {
      log(`${path}: refused a second connection`);
      closeFd(fd);
      return;
    }
    // Whoever connected without a word must not keep a VMM out.
    this.#connection?.close('another front-end came before it said anything');
    this.#start(fd);
  }

  #newConnection(fd: number): Connection {
    const { reactor, log, path } = this.#options;
    const connection: Connection = new Connection({
      fd,
      reactor,
      device: this.#device,
      log: (message) => log(`${path}: ${message}`),
      onAnnounced: this.#options.onConnect,
      onQuiet: () => void this.#keeping.tell(),
      onClosed: (reason) => this.#ended(connection, reason),
    });
    return connection;
  }

  #start(fd: number): void {
    const { log, path } = this.#options;
    const connection = this.#newConnection(fd);
    const error = connection.open();
    if (error !== 0) {
      log(`${path}: cannot watch a connection: errno ${-error}`);
      closeFd(fd);
      return;
    }
    this.#connection = connection;
    void this.#keeping.begin();
  }

  #ended(connection: Connection, reason: string): void {
    const { log, path, onDisconnect } = this.#options;
    this.#connection = undefined;
    this.#keeping.ended();
    // All but the device's own part is done when the call returns.
    this.#releasing = this.#device.disconnect().catch((error: unknown) => {
      log(`${path}: releasing a front-end's resources failed: ${describeError(error)}`);
    });
    if (connection.announced) onDisconnect(reason);
    else log(`${path}: ${reason}`);
  }
}

/** Of a message that has not come whole. */
function readingPart({ announced, reading }: Connection): ToldPart {
  return part(KeptPart.READING, (parcel): KeptReading => ({
    announced,
    received: Buffer.from(reading.received).toString('hex'),
    receivedFds: reading.fds.map((fd) => parcel.addFd(fd)),
  }));
}
