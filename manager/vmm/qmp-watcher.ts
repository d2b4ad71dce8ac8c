/**
 * Keeps a QMP connection to a QEMU that comes and goes: connects as soon as its socket is there and accepts, and again
 * once QEMU was started anew.
 */
import { watch, type FSWatcher } from 'node:fs';
import { basename, dirname } from 'node:path';
import { QmpClient, type QmpClosedError } from './qmp.js';

export interface QmpWatcherOptions {
  /** The socket that QEMU makes. Its directory must exist. */
  readonly path: string;
  readonly onConnect: (client: QmpClient) => void;
  readonly onDisconnect: (reason: QmpClosedError) => void;
  /** How long a QEMU may take to greet. */
  readonly greetingTimeoutMs?: number;
}

/** QEMU binds the socket a moment before it listens, so the first attempt after the file appears may be refused. */
const FIRST_RETRY_MS = 20;
/** Also the rhythm of looking where the directory cannot be watched (no inotify instances left). */
const MAX_RETRY_MS = 1000;

export class QmpWatcher {
  private readonly options: QmpWatcherOptions;
  private watcher: FSWatcher | undefined;
  private client: QmpClient | undefined;
  private readonly stopping = new AbortController();
  private retryMs = FIRST_RETRY_MS;
  private wake: () => void = () => undefined;
  private running: Promise<void> | undefined;

  constructor(options: QmpWatcherOptions) {
    this.options = options;
  }

  start(): void {
    this.watcher = this.watchDirectory();
    this.running = this.run();
  }

  /** Closes the connection, without `onDisconnect`, and looks for no other. */
  async stop(): Promise<void> {
    this.stopping.abort();
    this.watcher?.close();
    this.client?.close();
    this.wake();
    await this.running;
  }

  private async run(): Promise<void> {
    while (!this.stopping.signal.aborted) {
      const client = await this.tryConnect();
      if (client) await this.serve(client);
      else await this.pause();
    }
  }

  private async tryConnect(): Promise<QmpClient | undefined> {
    try {
      return await QmpClient.connect(this.options.path, this.options.greetingTimeoutMs, this.stopping.signal);
    } catch {
      return undefined;
    }
  }

  private async serve(client: QmpClient): Promise<void> {
    if (this.stopping.signal.aborted) return client.close();
    this.client = client;
    this.retryMs = FIRST_RETRY_MS;
    this.options.onConnect(client);
    const reason = await client.closed;
    this.client = undefined;
    if (!this.stopping.signal.aborted) this.options.onDisconnect(reason);
  }

  private async pause(): Promise<void> {
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, this.retryMs);
      this.wake = () => {
        clearTimeout(timer);
        resolve();
      };
      if (this.stopping.signal.aborted) this.wake();
    });
    this.retryMs = Math.min(this.retryMs * 2, MAX_RETRY_MS);
  }

  private watchDirectory(): FSWatcher | undefined {
    const { path } = this.options;
    try {
      const watcher = watch(dirname(path), (_type, name) => {
        if (name !== basename(path)) return;
        this.retryMs = FIRST_RETRY_MS;
        this.wake();
      });
      watcher.on('error', () => watcher.close());
      return watcher;
    } catch {
      return undefined;
    }
  }
}
