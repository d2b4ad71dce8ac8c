import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export const GREETING = {
  QMP: { version: { qemu: { micro: 3, minor: 1, major: 11 }, package: '' }, capabilities: ['oob'] },
};

export interface Command {
  readonly execute: string;
  readonly arguments: Record<string, unknown>;
  readonly id: number;
}

/** What a command is answered with: `{ return }`, `{ error }`, or nothing at all. */
export type Answer = { return: unknown } | { error: { class: string; desc: string } } | undefined;

export const refused = (desc: string, errorClass = 'GenericError'): Answer => ({
  error: { class: errorClass, desc },
});

/** A QMP server whose every byte the test decides. */
export class FakeQmp {
  readonly directory = mkdtempSync(join(tmpdir(), 'chassis-qmp-'));
  readonly path = join(this.directory, 'qmp.sock');
  readonly commands: Command[] = [];
  /** What each client is sent at once; undefined is nothing. */
  greet: () => unknown = () => GREETING;
  /** Answers all commands but qmp_capabilities. */
  answer: (command: Command) => Answer | Promise<Answer> = () => ({ return: {} });
  private server: Server | undefined;
  private readonly sockets = new Set<Socket>();

  /** Listens at `path`, or at its own. */
  async listen(path = this.path): Promise<void> {
    const server = createServer((socket) => this.serve(socket));
    this.server = server;
    await new Promise<void>((resolve) => server.listen(path, resolve));
  }

  /** Sends raw bytes to every client. */
  send(bytes: string | Buffer): void {
    for (const socket of this.sockets) socket.write(bytes);
  }

  event(event: string, data: Record<string, unknown> = {}): void {
    this.send(JSON.stringify({ event, data, timestamp: { seconds: 0, microseconds: 0 } }) + '\r\n');
  }

  deleted(id: string): void {
    this.event('DEVICE_DELETED', { device: id, path: `/machine/peripheral/${id}` });
  }

  /** Ends all connections, as a QEMU that dies does. */
  hangUp(): void {
    for (const socket of this.sockets) socket.destroy();
  }

  /** Dies, leaving no socket. */
  async stop(): Promise<void> {
    this.hangUp();
    const { server } = this;
    this.server = undefined;
    if (server) await new Promise((resolve) => server.close(resolve));
  }

  async close(): Promise<void> {
    await this.stop();
    rmSync(this.directory, { recursive: true, force: true });
  }

  private serve(socket: Socket): void {
    this.sockets.add(socket);
    socket.on('error', () => undefined);
    socket.on('close', () => this.sockets.delete(socket));
    const greeting = this.greet();
    if (greeting !== undefined) socket.write(JSON.stringify(greeting) + '\r\n');
    let text = '';
    socket.setEncoding('utf8').on('data', (piece: string) => {
      text += piece;
      for (let end = text.indexOf('\n'); end !== -1; end = text.indexOf('\n')) {
        void this.respond(socket, JSON.parse(text.slice(0, end)) as Command);
        text = text.slice(end + 1);
      }
    });
  }

  private async respond(socket: Socket, command: Command): Promise<void> {
    if (command.execute === 'qmp_capabilities') {
      socket.write(JSON.stringify({ return: {}, id: command.id }) + '\r\n');
      return;
    }
    this.commands.push(command);
    const answer = await this.answer(command);
    if (answer && socket.writable) socket.write(JSON.stringify({ ...answer, id: command.id }) + '\r\n');
  }
}
