/** Stands between a client and a daemon's API, and has something done at one of the changes that are asked for. */
import { mkdirSync, rmSync } from 'node:fs';
import { createServer, request, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { join } from 'node:path';

export type Moment = 'before' | 'meanwhile' | 'after';

export class ApiProxy {
  /** A state directory for clients. */
  readonly directory: string;
  /** Changes that were asked for so far: what is no GET. */
  changes = 0;
  /** At the change of that number, from 0: what is done before it reaches the daemon, while that is at it, or before its answer is passed on. */
  at: { readonly change: number; readonly moment: Moment; readonly act: () => Promise<void> } | undefined;
  private readonly socketPath: string;
  private readonly server: Server;

  private constructor(directory: string, daemonDirectory: string) {
    mkdirSync(directory, { recursive: true });
    this.directory = directory;
    this.socketPath = join(daemonDirectory, 'api.sock');
    this.server = createServer((asked, answer) => void this.pass(asked, answer));
  }

  static async start(directory: string, daemonDirectory: string): Promise<ApiProxy> {
    const proxy = new ApiProxy(directory, daemonDirectory);
    const path = join(directory, 'api.sock');
    rmSync(path, { force: true });
    await new Promise<void>((resolve) => proxy.server.listen(path, resolve));
    return proxy;
  }

  async stop(): Promise<void> {
    this.server.closeAllConnections();
    await new Promise((resolve) => this.server.close(resolve));
  }

  private async pass(asked: IncomingMessage, answer: ServerResponse): Promise<void> {
    const body: Buffer[] = [];
    for await (const piece of asked as AsyncIterable<Buffer>) body.push(piece);
    const { at } = this;
    const isIt = asked.method !== 'GET' && this.changes++ === at?.change;
    const moment = isIt ? at?.moment : undefined;
    if (moment === 'before') await at?.act();
    const answered = this.forward(asked, Buffer.concat(body));
    // It may fail while nobody looks.
    answered.catch(() => undefined);
    if (moment === 'meanwhile') await at?.act();
    try {
      const { status, headers, bytes } = await answered;
      if (moment === 'after') await at?.act();
      if (isIt) throw new Error('the answer is lost with the daemon');
      answer.writeHead(status, headers).end(bytes);
    } catch {
      // As a connection to a daemon that dies.
      asked.socket.destroy();
    }
  }

  private forward(
    { method, url, headers }: IncomingMessage,
    body: Buffer,
  ): Promise<{ status: number; headers: Record<string, string>; bytes: Buffer }> {
    return new Promise((resolve, reject) => {
      const forwarded = request(
        { socketPath: this.socketPath, method, path: url, headers, agent: false },
        (answer) => {
          const pieces: Buffer[] = [];
          answer.on('data', (piece: Buffer) => pieces.push(piece));
          answer.on('error', reject);
          answer.on('end', () =>
            resolve({
              status: answer.statusCode ?? 500,
              headers: { 'content-type': answer.headers['content-type'] ?? '' },
              bytes: Buffer.concat(pieces),
            }),
          );
        },
      );
      forwarded.on('error', reject).end(body);
    });
  }
}
