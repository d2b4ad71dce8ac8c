/** An export in this process over a file system that counts what it gives out, and raw clients of it. */
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { join } from 'node:path';
import { expect } from 'vitest';
import { Server } from '../../../devices/9p/server/server.js';
import type { FileSystem } from '../../../devices/9p/fs/file-system.js';
import { Reactor } from '../../../host/index.js';
import { ExportServer } from '../../../manager/export/export-server.js';
import type { ListenAddress } from '../../../manager/export/listen-address.js';
import { MemoryFileSystem } from '../../devices/9p/server/support/memory-file-system.js';
import { NOFID, NOTAG, Reply, T } from '../../devices/9p/server/support/wire.js';
import { notingLog } from '../../support/log.js';

export interface Settings {
  readonly fs?: FileSystem;
  readonly maxMessageBytes?: number;
  readonly patienceMs?: number;
}

export class ExportUnderTest {
  readonly memory = new MemoryFileSystem();
  readonly log: string[] = [];
  /** The session of each client, in the order in which they came. */
  readonly sessions: Server[] = [];
  readonly reactor = new Reactor({ onError: (error) => this.log.push(`a bug: ${String(error)}`) });
  readonly server: ExportServer;
  readonly address: ListenAddress;

  constructor(folder: string, settings: Settings = {}, tcp = false) {
    const { fs = this.memory, maxMessageBytes = 65_536, patienceMs } = settings;
    this.server = new ExportServer({
      fs,
      maxMessageBytes,
      patienceMs,
      reactor: this.reactor,
      log: notingLog(this.log),
      createSession: (log) => this.#session(fs, maxMessageBytes, log),
    });
    const path = join(folder, 's');
    this.address = this.server.listen(
      tcp ? { family: 'tcp', host: '127.0.0.1', port: 0 } : { family: 'unix', path },
    );
    this.reactor.start();
  }

  #session(fs: FileSystem, maxMsizeBytes: number, log: (message: string) => void): Server {
    const limits = { maxMsizeBytes, readOnly: false, maxFids: 1000, maxOpenFiles: 100 };
    const server = new Server(fs, { ...limits, log: (text) => log(`a bug: ${text}`) });
    this.sessions.push(server);
    return server;
  }

  async socket(): Promise<Socket> {
    const { address } = this;
    const socket = address.family === 'unix' ? connect(address.path) : connect(address.port, address.host);
    // A cut off client may learn so by an error.
    socket.on('error', () => undefined);
    await once(socket, 'connect');
    return socket;
  }

  async client(): Promise<RawClient> {
    return new RawClient(await this.socket());
  }

  /** With a version agreed on and fid 0 attached. */
  async attached(): Promise<RawClient> {
    const client = await this.client();
    expect((await client.call(T.version(NOTAG, 1 << 20, '9P2000.L'))).type).toBe(101);
    expect((await client.call(T.attach(1, 0, NOFID, 'user', '', 1000))).type).toBe(105);
    return client;
  }

  /** Ends the export: everything that the file system gave out must be back, and no bug reported. */
  async expectCleanEnd(): Promise<void> {
    await this.server.close();
    this.reactor.close();
    const { liveNodes, liveFiles, closed } = this.memory;
    expect({ liveNodes, liveFiles, closed, connections: this.server.connections }).toEqual({
      liveNodes: 0,
      liveFiles: 0,
      closed: true,
      connections: 0,
    });
    expect(this.log.filter((line) => line.includes('a bug'))).toEqual([]);
  }
}

/** A socket that is cut into messages by the test's own means. */
export class RawClient {
  readonly socket: Socket;
  readonly replies: Reply[] = [];
  readonly closed: Promise<void>;
  #bytes = Buffer.alloc(0);
  #wake: () => void = () => undefined;

  constructor(socket: Socket) {
    this.socket = socket;
    this.closed = new Promise((resolve) => socket.once('close', () => resolve()));
    socket.on('data', (chunk: Buffer) => this.#take(chunk));
    void this.closed.then(() => this.#wake());
  }

  send(...messages: Uint8Array[]): void {
    this.socket.write(Buffer.concat(messages));
  }

  async next(): Promise<Reply> {
    while (this.replies.length === 0) {
      if (this.socket.closed) throw new Error('the connection is closed');
      await new Promise<void>((resolve) => (this.#wake = resolve));
    }
    return this.replies.shift()!;
  }

  async call(message: Uint8Array): Promise<Reply> {
    this.send(message);
    return this.next();
  }

  #take(chunk: Buffer): void {
    this.#bytes = Buffer.concat([this.#bytes, chunk]);
    while (this.#bytes.length >= 4 && this.#bytes.length >= this.#bytes.readUInt32LE(0)) {
      const size = this.#bytes.readUInt32LE(0);
      this.replies.push(new Reply(Uint8Array.from(this.#bytes.subarray(0, size))));
      this.#bytes = this.#bytes.subarray(size);
    }
    this.#wake();
  }
}
