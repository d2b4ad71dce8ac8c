/** A file system on sockets: whoever connects gets a 9p session of its own. The file system is the export's, and closed with it. */
import type { FileSystem } from '../../devices/9p/fs/file-system.js';
import type { Server } from '../../devices/9p/server/server.js';
import { closeFd, HostError, listenTcp, setNoDelay, type Reactor } from '../../host/index.js';
import { ChassisError } from '../control/api.js';
import type { Log, LogMethod } from '../logging/log.js';
import { Acceptor } from '../ports/acceptor.js';
import { UnixListener } from '../ports/unix-listener.js';
import { BufferPool } from './buffer-pool.js';
import { Connection } from './connection.js';
import { addressText, type ListenAddress } from './listen-address.js';

/** Clients at a time; one more is cut off. */
export const MAX_CONNECTIONS = 64;
/** How long a client may take for a message that it has begun, or for its first. */
export const PATIENCE_MS = 60_000;
const LOOKS_PER_PATIENCE = 6;

export interface ExportServerOptions {
  readonly fs: FileSystem;
  /** A session on `fs` for one more client; nobody closes it, which would close `fs`. */
  readonly createSession: (log: LogMethod) => Server;
  /** The largest message, either way: what the sessions agree to. */
  readonly maxMessageBytes: number;
  /** Started and closed by the caller. */
  readonly reactor: Reactor;
  readonly log: Log;
  /** Default {@link PATIENCE_MS}. */
  readonly patienceMs?: number;
}

export class ExportServer {
  readonly #options: ExportServerOptions;
  readonly #pool = new BufferPool();
  readonly #listeners: { close(): void }[] = [];
  readonly #connections = new Set<Connection>();
  /** Sessions of clients that are gone, whose last requests still end. */
  readonly #ending = new Set<Promise<void>>();
  readonly #patience: NodeJS.Timeout;
  #clients = 0;
  #closing: Promise<void> | undefined;

  constructor(options: ExportServerOptions) {
    this.#options = options;
    const { patienceMs = PATIENCE_MS } = options;
    this.#patience = setInterval(
      () => this.#cutOffIdlers(patienceMs),
      patienceMs / LOOKS_PER_PATIENCE,
    ).unref();
  }

  get connections(): number {
    return this.#connections.size;
  }

  /**
   * Accepts clients at a numeric address; answers the address with the port that the system chose for 0.
   * @throws ChassisError ADDRESS_IN_USE or BAD_REQUEST
   */
  listen(address: ListenAddress): ListenAddress {
    try {
      return address.family === 'unix' ? this.#listenUnix(address) : this.#listenTcp(address);
    } catch (error) {
      throw error instanceof Error && 'code' in error ? listenError(address, error) : error;
    }
  }

  /** Removes the sockets, cuts the clients off, waits for their requests to end and closes the file system. */
  close(): Promise<void> {
    return (this.#closing ??= this.#close());
  }

  async #close(): Promise<void> {
    clearInterval(this.#patience);
    for (const listener of this.#listeners.splice(0)) listener.close();
    for (const connection of [...this.#connections]) connection.close('the export ends');
    await Promise.all(this.#ending);
    await this.#options.fs.close();
  }

  #listenUnix(address: ListenAddress & { family: 'unix' }): ListenAddress {
    const { reactor, log } = this.#options;
    const { path } = address;
    const listener = new UnixListener({
      path,
      reactor,
      log: log.warn,
      onConnection: (fd) => this.#serve(fd),
    });
    listener.listen();
    this.#listeners.push(listener);
    return address;
  }

  #listenTcp(address: ListenAddress & { family: 'tcp' }): ListenAddress {
    const { reactor, log } = this.#options;
    const { fd, port } = listenTcp(address.host, address.port);
    const bound = { ...address, port };
    const onConnection = (client: number): void => {
      setNoDelay(client);
      this.#serve(client);
    };
    const acceptor = new Acceptor({ name: addressText(bound), reactor, log: log.warn, onConnection });
    const error = acceptor.open(fd);
    if (error !== 0) {
      closeFd(fd);
      throw HostError.from(error, 'epoll_ctl', addressText(bound));
    }
    this.#listeners.push(acceptor);
    return bound;
  }

  /** Takes over a connected, non-blocking socket. */
  #serve(fd: number): void {
    const { reactor, maxMessageBytes, createSession } = this.#options;
    const name = `client ${++this.#clients}`;
    const log = this.#options.log.with({ client: name });
    // Sessions whose last requests hang still count: a client must not pile them up by coming again.
    if (this.#connections.size + this.#ending.size >= MAX_CONNECTIONS) {
      closeFd(fd);
      return log.warn(`refused: there are ${MAX_CONNECTIONS} already`);
    }
    const server = createSession(log.warn);
    const connection = new Connection({
      fd,
      reactor,
      pool: this.#pool,
      server,
      maxMessageBytes,
      onClosed: (reason) => {
        log.info(reason);
        this.#connections.delete(connection);
        this.#end(server);
      },
    });
    this.#connections.add(connection);
    const error = connection.open();
    if (error === 0) log.info('connected');
    else connection.close(`cannot be watched: ${HostError.from(error, 'epoll_ctl', name).message}`);
  }

  #end(server: Server): void {
    const ending = Promise.resolve(server.dropAll()).then(() => void this.#ending.delete(ending));
    this.#ending.add(ending);
  }

  #cutOffIdlers(patienceMs: number): void {
    const nowMs = performance.now();
    for (const connection of [...this.#connections])
      if (connection.owedForMs(nowMs) > patienceMs) connection.close('the client left a message unfinished');
  }
}

function listenError(address: ListenAddress, error: Error & { code?: unknown }): ChassisError {
  const text = addressText(address);
  if (error.code === 'EADDRINUSE' || error.code === 'EEXIST')
    return new ChassisError(
      'ADDRESS_IN_USE',
      `${text} is taken: ${error.message}`,
      'choose another --listen',
    );
  return new ChassisError(
    'BAD_REQUEST',
    `cannot listen on ${text}: ${error.message}`,
    'choose another --listen',
  );
}
