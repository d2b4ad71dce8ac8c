/** Keeps a number of connections to a server open: connects, and connects again when one is lost, one at a time. */
import { BlockBackendError } from '../errors.js';
import { NbdConnection, type ConnectionTimeouts } from './nbd-connection.js';
import type { NbdAddress } from './uri.js';

/** After a failure, or a connection that did not last, pauses double from the first to the last. */
const FIRST_PAUSE_MS = 50;
const LAST_PAUSE_MS = 5000;

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
  readonly #address: NbdAddress;
  readonly #timeouts: ConnectionTimeouts;
  #events: ConnectorEvents = NOBODY;
  readonly #abort = new AbortController();
  #running: Promise<void> | undefined;
  #pauseMs = 0;
  #lastMadeMs = 0;
  #endPause: (() => void) | undefined;

  constructor(address: NbdAddress, timeouts: ConnectionTimeouts) {
    this.#address = address;
    this.#timeouts = timeouts;
  }

  /** Who the connections are for, from now on. */
  serve(events: ConnectorEvents): void {
    this.#events = events;
  }

  /** @throws BlockBackendError why there is none */
  async open(): Promise<NbdConnection> {
    const events = { lost: (connection: NbdConnection, reason: string) => this.#lost(connection, reason) };
    const connection = await NbdConnection.open(this.#address, this.#timeouts, events, this.#abort.signal);
    this.#lastMadeMs = performance.now();
    return connection;
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
