/** A vfio-user server: one PCI function behind one unix socket, for one VMM at a time. */
import { getSystemErrorName } from 'node:util';
import type { PciFunction } from '../../../devices/pci/function.js';
import type { GuestMemory } from '../../../devices/virtio/memory/guest-memory.js';
import { RegionMemory } from '../../../devices/virtio/memory/region-memory.js';
import { closeFd, type Reactor } from '../../../host/index.js';
import type { IncomingParcel, OutgoingParcel } from '../../device-process/hand-over/parcel.js';
import { UnixListener } from '../unix-listener.js';
import { Connection, type ConnectionCounters } from './connection.js';
import { VfioUserDevice } from './device.js';
import type { IrqCounters } from './irqs.js';
import type { VfioUserState } from './port-state.js';

export interface VfioUserServerOptions {
  /** Where the socket is made; at most 107 bytes. */
  readonly path: string;
  readonly reactor: Reactor;
  /** Makes the function, once, on the guest memory that it will see: empty except while a client is connected. */
  readonly createFunction: (memory: GuestMemory) => PciFunction;
  /**
   * The client has taken memory away, or the right to it: resolves once nothing that is under way touches it any more, and then the client is
   * answered. Undefined where nothing is under way.
   */
  readonly quiesce?: () => Promise<void> | undefined;
  /** A VMM has connected and agreed on the protocol. */
  readonly onConnect: () => void;
  /** That VMM is gone and all that it gave is released; the next one may connect. */
  readonly onDisconnect: (reason: string) => void;
  readonly log: (message: string) => void;
}

export class VfioUserServer {
  /** They grow for as long as the server lives. */
  readonly counters: Readonly<ConnectionCounters> & { readonly irqs: Readonly<IrqCounters> };
  readonly #options: VfioUserServerOptions;
  readonly #device: VfioUserDevice;
  readonly #counters: ConnectionCounters = { messages: 0, errors: 0 };
  readonly #listener: UnixListener;
  #connection: Connection | undefined;

  constructor(options: VfioUserServerOptions) {
    this.#options = options;
    const { path, reactor, log } = options;
    this.#listener = new UnixListener({ path, reactor, log, onConnection: (fd) => this.#admit(fd) });
    const memory = new RegionMemory();
    this.#device = new VfioUserDevice(
      options.createFunction(memory),
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
    this.#connection?.close('the server was closed');
    this.#listener.close();
  }

  /** Serves no client until `resume`. */
  pause(): void {
    this.#listener.pause();
    this.#connection?.pause();
    this.#device.irqs.pause();
  }

  /** Goes on after `pause`, or begins after `restore`. */
  resume(): void {
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
  }

  #ended(connection: Connection, reason: string): void {
    const { log, path, onDisconnect } = this.#options;
    this.#connection = undefined;
    try {
      this.#device.disconnect();
    } catch (error) {
      log(`${path}: releasing a client's resources failed: ${String(error)}`);
    }
    if (connection.announced) onDisconnect(reason);
    else log(`${path}: ${reason}`);
  }
}
