/** A process's end of its control socket: one daemon at a time, one after the other. The process lives on without. */
import { chmodSync, renameSync, rmSync } from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import { JsonLineDecoder } from '../json-lines.js';
import { MAX_LINE_BYTES, type Reply } from '../process-protocol.js';

export interface ControlSocketOptions {
  readonly path: string;
  /** Takes each message, and where its answer goes; what it throws ends the connection. */
  readonly onMessage: (message: unknown, reply: Reply) => void;
  readonly onDaemon: () => void;
  /** The daemon is gone; `problem` where it was sent away for what it said. */
  readonly onDaemonGone: (problem: string | undefined) => void;
}

/** A daemon that stands still reads nothing, and what a guest does is reported all the same. */
const MAX_UNREAD_BYTES = 16 << 20;

export class ControlSocket {
  private readonly options: ControlSocketOptions;
  private readonly server: Server;
  private path: string;
  private daemon: Socket | undefined;

  private constructor(options: ControlSocketOptions) {
    this.options = options;
    this.path = options.path;
    this.server = createServer((socket) => this.accept(socket));
  }

  /** Listens, for its user alone. */
  static async listen(options: ControlSocketOptions): Promise<ControlSocket> {
    const control = new ControlSocket(options);
    rmSync(options.path, { force: true });
    await new Promise<void>((resolve, reject) => {
      control.server.once('error', reject);
      control.server.listen(options.path, resolve);
    });
    chmodSync(options.path, 0o600);
    return control;
  }

  /** To the daemon that is there; without one, nothing. */
  send(report: object): void {
    if (this.daemon) write(this.daemon, report);
  }

  /** Daemons find it there from now on. */
  moveTo(path: string): void {
    renameSync(this.path, path);
    this.path = path;
  }

  close(): void {
    this.daemon?.destroy();
    this.server.close();
    rmSync(this.path, { force: true });
  }

  private accept(socket: Socket): void {
    socket.on('error', () => undefined);
    // The next daemon may come before it is seen that the last one went: it tries again.
    if (this.daemon) return void socket.destroy();
    this.daemon = socket;
    let problem: string | undefined;
    const decoder = new JsonLineDecoder(MAX_LINE_BYTES);
    const reply: Reply = (answer) => write(socket, answer);
    socket.on('data', (chunk) => {
      try {
        decoder.push(chunk, (message) => this.options.onMessage(message, reply));
      } catch (error) {
        problem = (error as Error).message;
        socket.destroy();
      }
    });
    socket.on('close', () => {
      this.daemon = undefined;
      this.options.onDaemonGone(problem);
    });
    this.options.onDaemon();
  }
}

function write(socket: Socket, message: object): void {
  if (!socket.writable) return;
  if (socket.writableLength > MAX_UNREAD_BYTES) return void socket.destroy();
  socket.write(JSON.stringify(message) + '\n');
}
