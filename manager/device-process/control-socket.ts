/** The device process's end of the control socket: one daemon, and the process's life ends with its connection. */
import { chmodSync, rmSync } from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import { JsonLineDecoder } from '../json-lines.js';
import { MAX_LINE_BYTES } from '../process-protocol.js';

export interface ControlSocketOptions {
  readonly path: string;
  /** Takes each message; what it throws ends the connection. */
  readonly onMessage: (message: unknown) => void;
  /** The daemon is gone, or never came. Called once. */
  readonly onEnd: (reason: string) => void;
  /** How long the daemon may take to connect. */
  readonly connectTimeoutMs: number;
}

export class ControlSocket {
  private readonly options: ControlSocketOptions;
  private readonly server: Server;
  private daemon: Socket | undefined;
  private ended = false;
  private readonly patience: NodeJS.Timeout;

  private constructor(options: ControlSocketOptions) {
    this.options = options;
    this.server = createServer((socket) => this.accept(socket));
    this.patience = setTimeout(() => this.end('no daemon connected'), options.connectTimeoutMs);
  }

  /** Listens, for its user alone. */
  static async listen(options: ControlSocketOptions): Promise<ControlSocket> {
    const control = new ControlSocket(options);
    rmSync(options.path, { force: true });
    try {
      await new Promise<void>((resolve, reject) => {
        control.server.once('error', reject);
        control.server.listen(options.path, resolve);
      });
    } catch (error) {
      clearTimeout(control.patience);
      throw error;
    }
    chmodSync(options.path, 0o600);
    return control;
  }

  send(report: object): void {
    if (this.daemon?.writable) this.daemon.write(JSON.stringify(report) + '\n');
  }

  close(): void {
    clearTimeout(this.patience);
    this.ended = true;
    this.daemon?.destroy();
    this.server.close();
    rmSync(this.options.path, { force: true });
  }

  private accept(socket: Socket): void {
    socket.on('error', () => undefined);
    if (this.daemon) {
      socket.destroy();
      return;
    }
    clearTimeout(this.patience);
    this.daemon = socket;
    const decoder = new JsonLineDecoder(MAX_LINE_BYTES);
    socket.on('data', (chunk) => {
      try {
        decoder.push(chunk, this.options.onMessage);
      } catch (error) {
        this.end(`the control connection broke: ${(error as Error).message}`);
      }
    });
    socket.on('close', () => this.end('the daemon is gone'));
  }

  private end(reason: string): void {
    if (this.ended) return;
    this.close();
    this.options.onEnd(reason);
  }
}
