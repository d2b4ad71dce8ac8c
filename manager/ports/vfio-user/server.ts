/** A vfio-user server: one PCI function behind one unix socket, for one VMM at a time. */
import { getSystemErrorName } from 'node:util';
import { setTimeout as delay } from 'node:timers/promises';
import type { PciFunction } from '../../../devices/pci/function.js';
import type { GuestMemory } from '../../../devices/virtio/memory/guest-memory.js';
import { RegionMemory } from '../../../devices/virtio/memory/region-memory.js';
import type { RingRecords } from '../../../devices/virtio/ring/inflight/ring-records.js';
import { closeFd, type Pipe, type Reactor } from '../../../host/index.js';
import { dataAs } from '../../device-process/hand-over/movable.js';
import type { IncomingParcel, OutgoingParcel } from '../../device-process/hand-over/parcel.js';
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
import { UnixListener } from '../unix-listener.js';
import type { ConnectionCounters } from './connection-options.js';
import { Connection } from './connection.js';
import { VfioUserDevice } from './device.js';
import type { IrqCounters } from './irqs.js';
import { KeptFunction, type KeepableFunction } from './kept-function.js';
import { KeptRings } from './kept-rings.js';
import {
  irqsPart,
  KeptPart,
  KeptSession,
  MAX_KEPT_MAPS,
  memoryPart,
  restoreIrqs,
  restoreMemory,
} from './kept-state.js';
import type { VfioUserState } from './port-state.js';

export interface VfioUserServerOptions {
  /** Where the socket is made; at most 107 bytes. */
  readonly path: string;
  readonly reactor: Reactor;
  /**
   * Makes the function, once, on the guest memory that it will see: empty except while a client is connected. Its rings write down in `records`
   * what is under way.
   */
  readonly createFunction: (memory: GuestMemory, records: RingRecords | undefined) => PciFunction;
  /**
   * The client has taken memory away, or the right to it: resolves once nothing that is under way touches it any more, and then the client is
   * answered. Undefined where nothing is under way.
   */
  readonly quiesce?: () => Promise<void> | undefined;
  /** What its connection takes to outlive the process. Without, it ends with this process. */
  readonly keeping?: VfioUserKeeping | undefined;
  /** A VMM has connected and agreed on the protocol. */
  readonly onConnect: () => void;
  /** That VMM is gone and all that it gave is released; the next one may connect. */
  readonly onDisconnect: (reason: string) => void;
  readonly log: (message: string) => void;
}

export interface VfioUserKeeping {
  /** Whoever holds the connection for the next process, should this one be killed. */
  readonly keeper: ConnectionKeeper;
  /** What is kept along with it. */
  readonly extras: KeptExtras | undefined;
  /** Of a file for the requests under way, which the next process finds there. */
  readonly inflightPath: string;
  /** Of the device's queues, the largest. */
  readonly queueSizes: readonly number[];
  /** The function, once it is made. */
  readonly function: () => KeepableFunction;
}

export class VfioUserServer {
  /** They grow for as long as the server lives. */
  readonly counters: Readonly<ConnectionCounters> & { readonly irqs: Readonly<IrqCounters> };
  readonly #options: VfioUserServerOptions;
  readonly #device: VfioUserDevice;
  readonly #counters: ConnectionCounters = { messages: 0, errors: 0 };
  readonly #listener: UnixListener;
  readonly #rings: KeptRings | undefined;
  readonly #keeping: PortKeeping<Connection>;
  /** Once the connection was to be kept. */
  #keptFunction: KeptFunction | undefined;
  /** What is served here is another process's as yet. */
  #asleep = false;
  #connection: Connection | undefined;

  constructor(options: VfioUserServerOptions) {
    this.#options = options;
    const { path, reactor, log } = options;
    this.#listener = new UnixListener({ path, reactor, log, onConnection: (fd) => this.#admit(fd) });
    const memory = new RegionMemory();
    this.#keeping = this.#newKeeping();
    this.#rings = this.#newRings();
    this.#device = new VfioUserDevice(
      options.createFunction(memory, this.#rings),
      memory,
      options.reactor,
      options.quiesce,
    );
    this.counters = Object.assign(this.#counters, { irqs: this.#device.irqs.counters });
  }

  /** True while a VMM is connected and has agreed on the protocol. */
  get connected(): boolean {
    return this.#connection?.negotiated ?? false;
  }

  /** Makes the socket and accepts on it. @throws HostError for a path that is too long, in use, or cannot be made */
  listen(): void {
    this.#listener.listen();
  }

  /** Ends the connection, stops listening and removes the socket. The function stays usable, and so does `listen`. */
  close(): void {
    if (this.#asleep) this.#rings?.abandon();
    this.#connection?.close('the server was closed');
    this.#listener.close();
  }

  /** Once closed, and for good: there is no next process to find anything. Resolves once the keeper knows. */
  async forget(): Promise<void> {
    this.#rings?.remove();
    this.#keptFunction?.close();
    this.#keptFunction = undefined;
    await this.#keeping.forgotten;
  }

  /** What the device says of itself has changed without a message. */
  deviceChanged(): void {
    if (this.#keptFunction?.commit(true) === false) this.#keeping.giveUp();
  }

  /** Tells the keeper of an extra that has changed. */
  async tellAside(part: ToldPart): Promise<void> {
    await this.#keeping.tellAside(part);
  }

  /** There is another keeper, which has heard of nothing. Resolves once it has, unless a message is being served: then it hears after that. */
  async keepAgain(): Promise<void> {
    await this.#keeping.begin();
  }

  /**
   * Goes on for a process that was killed, with the client that it had. Answers why not: then that is cut off, and the next one may connect.
   * @throws ParcelError
   */
  goOnFor(kept: KeptConnection): string | undefined {
    const connect = (fd: number): Connection => (this.#connection = this.#newConnection(fd));
    const { connection, pipe } = this.#keeping.take(kept, connect);
    const problem = this.#pickUpOrSay(connection, pipe, kept);
    if (problem !== undefined) {
      connection.close(problem);
      return problem;
    }
    this.#device.irqs.resume();
    this.#options.keeping?.function().goOn();
    connection.resume();
    if (connection.announced) this.#options.onConnect();
    this.#keeping.goOn(connection);
    return undefined;
  }

  /** As `pickUp`; nothing of it stays open where the parts make no sense. */
  #pickUpOrSay(connection: Connection, pipe: Pipe, kept: KeptConnection): string | undefined {
    try {
      return this.#pickUp(connection, pipe, kept);
    } catch (error) {
      return String(error);
    }
  }

  #pickUp(connection: Connection, pipe: Pipe, { number, parts }: KeptConnection): string | undefined {
    const standing = standingOf(connection.fd, pipe, number);
    if (standing === Standing.UNKNOWN) return 'nobody knows what its VMM was answered last';
    connection.adopt(dataAs(KeptSession, takePart(parts, KeptPart.SESSION).data));
    const { dma, irqs } = this.#device;
    const problem = restoreMemory(parts, dma) ?? restoreIrqs(parts, irqs);
    if (problem !== undefined) return problem;
    this.#device.connect();
    const refused = this.#resumeFunction(parts);
    if (refused !== undefined) return refused;
    const error = complete(connection.fd, pipe, standing);
    return error < 0 ? `its socket is of no use: errno ${-error}` : undefined;
  }

  #resumeFunction(parts: KeptParts): string | undefined {
    const kept = this.#ownFunction();
    if (kept === undefined) return 'it is not kept here';
    this.#options.keeping?.extras?.take(parts);
    return kept.resume(parts);
  }

  /** Serves no client until `resume`; resolves once no message is under way. A string says that one was, for that time. */
  async pause(timeoutMs: number): Promise<string | undefined> {
    this.#listener.pause();
    this.#connection?.pause();
    this.#device.irqs.pause();
    const end = performance.now() + timeoutMs;
    while (this.#connection?.occupied === true) {
      if (performance.now() > end) return 'a request of the VMM did not end in time';
      await delay(1);
    }
    return undefined;
  }

  /** Goes on after `pause`, or begins after `restore`. */
  resume(): void {
    this.#asleep = false;
    this.#listener.resume();
    this.#device.irqs.resume();
    this.#connection?.resume();
  }

  /** What another process has to go on from, of a server that is paused, but for the function. */
  save(parcel: OutgoingParcel): VfioUserState {
    return {
      listener: parcel.addFd(this.#listener.fd),
      connection: this.#connection?.save(parcel) ?? null,
      dma: this.#device.dma.all.map((map) => ({ ...map, fd: parcel.addFdIfAny(map.fd) })),
      irqs: this.#device.irqs.save(parcel),
    };
  }

  /**
   * In place of `listen`: goes on, once `resume` is called, where another process was. The function is to follow. Answers why not: `close`
   * is to come then. @throws ParcelError
   */
  restore(state: VfioUserState, parcel: IncomingParcel): string | undefined {
    this.#asleep = true;
    this.#listener.adopt(parcel.takeFd(state.listener));
    if (state.connection === null) return undefined;
    const connection = this.#newConnection(parcel.takeFd(state.connection.fd));
    this.#connection = connection;
    if (!connection.restore(state.connection, parcel)) return 'its VMM said what cannot be';
    if (!this.#device.irqs.restore(state.irqs, parcel)) return 'it has another number of interrupts';
    for (const { fd, flags, offset, address, sizeBytes } of state.dma) {
      const file = parcel.takeFdIfAny(fd);
      const error = this.#device.dma.map(flags, offset, address, sizeBytes, file);
      if (file >= 0) closeFd(file);
      if (error !== 0) return `the memory of its VMM cannot be mapped: ${getSystemErrorName(error)}`;
    }
    this.#device.connect();
    return undefined;
  }

  #admit(fd: number): void {
    const { log, path } = this.#options;
    if (this.connected) {
      log(`${path}: refused a second connection`);
      closeFd(fd);
      return;
    }
    // Whoever connected without a word must not keep a VMM out.
    this.#connection?.close('another client came before it proposed a version');
    this.#start(fd);
  }

  #newConnection(fd: number): Connection {
    const { reactor, log, path } = this.#options;
    const connection: Connection = new Connection({
      fd,
      reactor,
      device: this.#device,
      counters: this.#counters,
      log: (message) => log(`${path}: ${message}`),
      onNegotiated: this.#options.onConnect,
      onServed: () => this.#served(),
      onQuiet: () => void this.#keeping.tell(),
      onUnkept: () => void this.#keeping.begin(),
      onClosed: (reason) => this.#ended(connection, reason),
    });
    return connection;
  }

  #start(fd: number): void {
    const { log, path } = this.#options;
    const connection = this.#newConnection(fd);
    const error = connection.open();
    if (error !== 0) {
      log(`${path}: cannot watch a connection: ${getSystemErrorName(error)}`);
      closeFd(fd);
      return;
    }
    this.#connection = connection;
    this.#device.connect();
    void this.#keeping.begin();
  }

  #newKeeping(): PortKeeping<Connection> {
    const { keeping, log, path } = this.#options;
    return new PortKeeping({
      ...{ keeper: keeping?.keeper, extras: keeping?.extras, isRecorded: keeping !== undefined },
      connection: () => this.#connection,
      parts: (connection) => this.#parts(connection),
      log: (message) => log(`${path}: ${message}`),
    });
  }

  #newRings(): KeptRings | undefined {
    const { keeping, log, path: socket } = this.#options;
    if (keeping === undefined) return undefined;
    return new KeptRings({
      ...{ path: keeping.inflightPath, queueSizes: keeping.queueSizes },
      fileOf: (address) => this.#device.dma.fileOf(address),
      onUnrecorded: () => this.#keeping.giveUp(),
      log: (message) => log(`${socket}: ${message}`),
    });
  }

  #parts({ negotiated, announced }: Connection): ToldPart[] {
    const { dma, irqs } = this.#device;
    const session = part(KeptPart.SESSION, (): KeptSession => ({ negotiated, announced }));
    const parts = [session, memoryPart(dma), irqsPart(irqs)];
    return this.#keptFunction ? [...parts, this.#keptFunction.part] : parts;
  }

  /** @throws HostError where there is no memory for it */
  #ownFunction(): KeptFunction | undefined {
    const { keeping, log, path } = this.#options;
    if (keeping === undefined) return undefined;
    return (this.#keptFunction ??= new KeptFunction(keeping.function(), (text) => log(`${path}: ${text}`)));
  }

  #served(): boolean {
    const { log, path } = this.#options;
    const isWritten = this.#ownFunction()?.commit() ?? false;
    const { count } = this.#device.dma;
    if (isWritten && count <= MAX_KEPT_MAPS) return true;
    log(
      `${path}: it will not outlive the process: ${isWritten ? `${count} DMA maps` : 'it cannot be written down'}`,
    );
    this.#keeping.giveUp();
    return false;
  }

  #ended(connection: Connection, reason: string): void {
    const { log, path, onDisconnect } = this.#options;
    this.#connection = undefined;
    this.#keeping.ended();
    try {
      this.#device.disconnect();
    } catch (error) {
      log(`${path}: releasing a client's resources failed: ${String(error)}`);
    }
    if (connection.announced) onDisconnect(reason);
    else log(`${path}: ${reason}`);
  }
}
