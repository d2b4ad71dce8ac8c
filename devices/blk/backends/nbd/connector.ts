/** Keeps a number of connections to a server open: connects, and connects again when one is lost, one at a time. */
import { BlockBackendError } from '../errors.js';
import type { ExportInfo } from './export-info.js';
import { NbdConnection, type ConnectionEvents, type ConnectionTimeouts } from './nbd-connection.js';
import { parseNbdUri, type NbdAddress } from './uri.js';

const DEFAULT_CONNECTIONS = 4;
export const MAX_CONNECTIONS = 16;
const DEFAULT_CONNECT_MS = 10_000;
const DEFAULT_REPLY_MS = 60_000;

/** After a failure, or a connection that did not last, pauses double from the first to the last. */
const FIRST_PAUSE_MS = 50;
const LAST_PAUSE_MS = 5000;

/** A connected socket, which is the caller's. @throws Error where there is none in time */
export type Dial = (timeoutMs: number) => Promise<number>;

export interface ConnectorOptions {
  /** `nbd://HOST[:PORT]/EXPORT` or `nbd+unix:///EXPORT?socket=PATH`. */
  readonly uri: string;
  /** Most connections, where the server allows several; 1 to 16. Default: 4. */
  readonly connections?: number;
  /** How long connecting may take, in milliseconds. Default: 10,000. */
  readonly connectTimeoutMs?: number;
  /** How long a reply may take before the connection counts as lost. Default: 60,000. */
  readonly replyTimeoutMs?: number;
  /** Makes the connections, where this process may not. */
  readonly dial?: Dial;
}

export interface ConnectorEvents {
  /** Whether another connection is wanted. */
  wanted(): boolean;
  /** A connection was made. Rejects where it cannot be used: it is closed, and another is tried later. */
  connected(connection: NbdConnection): Promise<void>;
  lost(connection: NbdConnection, reason: string): void;
  /** An attempt failed. */
  failed(error: Error): void;
}

const NOBODY: ConnectorEvents = {
  wanted: () => false,
  connected: () => Promise.resolve(),
  lost: () => {},
  failed: () => {},
};

export class NbdConnector {
  /** How many connections at a time may be wanted. */
  readonly most: number;
  readonly #address: NbdAddress;
  readonly #timeouts: ConnectionTimeouts;
  readonly #dial: Dial | undefined;
  #events: ConnectorEvents = NOBODY;
  readonly #connectionEvents: ConnectionEvents = {
    lost: (connection, reason) => this.#lost(connection, reason),
  };
  readonly #abort = new AbortController();
  #running: Promise<void> | undefined;
  #pauseMs = 0;
  #lastMadeMs = 0;
  #endPause: (() => void) | undefined;

  /** @throws BlockBackendError URI_INVALID, NOT_SUPPORTED */
  constructor({ uri, connections = DEFAULT_CONNECTIONS, dial, ...timeouts }: ConnectorOptions) {
    if (!Number.isInteger(connections) || connections < 1 || connections > MAX_CONNECTIONS) {
      throw new RangeError(`a server has 1 to ${MAX_CONNECTIONS} connections, not ${connections}`);
    }
    this.most = connections;
    this.#dial = dial;
    this.#address = parseNbdUri(uri);
    this.#timeouts = {
      connectMs: timeouts.connectTimeoutMs ?? DEFAULT_CONNECT_MS,
      replyMs: timeouts.replyTimeoutMs ?? DEFAULT_REPLY_MS,
    };
  }

  /** Who the connections are for, from now on. */
  serve(events: ConnectorEvents): void {
    this.#events = events;
  }

  /** @throws BlockBackendError why there is none */
  async open(): Promise<NbdConnection> {
    const { signal } = this.#abort;
    const fd = await this.#dialed();
    const connection = await NbdConnection.open(
      ...([this.#address, this.#timeouts, this.#connectionEvents, signal] as const),
      fd,
    );
    this.#lastMadeMs = performance.now();
    return connection;
  }

  /** A connection that another process made, and let go of. */
  takeOver(descriptor: number, info: ExportInfo): NbdConnection {
    return NbdConnection.takeOver(descriptor, info, this.#timeouts, this.#connectionEvents);
  }

  async #dialed(): Promise<number | undefined> {
    try {
      return await this.#dial?.(this.#timeouts.connectMs);
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      throw new BlockBackendError('BACKEND_MISSING', `cannot reach the NBD server: ${reason}`);
    }
  }

  /** Makes connections until no more are wanted. */
  start(): void {
    if (this.#running !== undefined || !this.#isNeeded()) return;
    this.#running = this.#run().finally(() => {
      this.#running = undefined;
      this.start();
    });
  }

  /** Breaks off what is being tried. */
  async close(): Promise<void> {
    this.#abort.abort();
    this.#endPause?.();
    await this.#running;
  }

  async #run(): Promise<void> {
    while (this.#isNeeded()) {
      if (this.#pauseMs > 0) await this.#pause();
      if (!this.#isNeeded()) return;
      let connection: NbdConnection | undefined;
      try {
        connection = await this.open();
        await this.#events.connected(connection);
      } catch (error) {
        connection?.destroy('it cannot be used');
        this.#backOff();
        this.#events.failed(error instanceof BlockBackendError ? error : new Error(String(error)));
      }
    }
  }

  #lost(connection: NbdConnection, reason: string): void {
    // A server that lets us in and then breaks off is not tried without end.
    if (performance.now() - this.#lastMadeMs < LAST_PAUSE_MS) this.#backOff();
    else this.#pauseMs = 0;
    this.#events.lost(connection, reason);
  }

  #backOff(): void {
    this.#pauseMs = Math.min(Math.max(this.#pauseMs * 2, FIRST_PAUSE_MS), LAST_PAUSE_MS);
  }

  #isNeeded(): boolean {
    return !this.#abort.signal.aborted && this.#events.wanted();
  }

  #pause(): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, this.#pauseMs);
      this.#endPause = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }
}
