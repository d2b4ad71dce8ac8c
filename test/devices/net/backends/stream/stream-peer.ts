import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { onTestFinished } from 'vitest';
import { StreamFraming } from '../../../../../devices/net/backends/stream/framing.js';
import { StreamBackend, unixPeer } from '../../../../../devices/net/backends/stream/stream-backend.js';
import { Reactor } from '../../../../../host/index.js';
import type { MadeBackend } from '../backend-suite.js';

/** What listens at the other end: Node's own sockets, and framing by hand. */
export class StreamPeer {
  readonly path: string;
  readonly reactor: Reactor;
  readonly logs: string[] = [];
  /** Connections, in order. */
  readonly sockets: Socket[] = [];
  #server: Server | undefined;
  #bytes = Buffer.alloc(0);
  #changed: () => void = () => {};

  constructor() {
    const folder = mkdtempSync(join(tmpdir(), 'chassis-stream-'));
    this.path = join(folder, 'socket');
    this.reactor = new Reactor({
      onError: (error) => {
        throw error;
      },
    });
    this.reactor.start();
    onTestFinished(async () => {
      await this.stop();
      this.reactor.close();
      rmSync(folder, { recursive: true, force: true });
    });
  }

  /** A connected backend for the suite. */
  static async backend(): Promise<MadeBackend & { peer: StreamPeer }> {
    const peer = new StreamPeer();
    await peer.listen();
    const backend = peer.connect();
    await peer.connected(1);
    return {
      peer,
      backend,
      out: (count) => peer.frames(count),
      inject: (bytes) => void peer.send(framed(bytes)),
    };
  }

  async listen(): Promise<void> {
    this.#server = createServer((socket) => {
      this.sockets.push(socket);
      socket.on('data', (bytes) => {
        this.#bytes = Buffer.concat([this.#bytes, bytes]);
        this.#changed();
      });
      socket.on('error', () => {});
      this.#changed();
    });
    this.#server.listen(this.path);
    await once(this.#server, 'listening');
  }

  /** Nobody listens any more, and nobody is connected. */
  async stop(): Promise<void> {
    for (const socket of this.sockets) socket.destroy();
    const server = this.#server;
    this.#server = undefined;
    if (server !== undefined) await new Promise((resolve) => server.close(resolve));
  }

  connect(): StreamBackend {
    const backend = new StreamBackend({
      peer: unixPeer(this.path),
      framing: StreamFraming.PLAIN,
      reactor: this.reactor,
      log: (line) => this.logs.push(line.replace(this.path, 'PATH')),
    });
    onTestFinished(() => backend.close());
    return backend;
  }

  async connected(count: number): Promise<Socket> {
    await this.until(() => this.sockets.length >= count);
    return this.sockets[count - 1];
  }

  send(bytes: Uint8Array): void {
    this.sockets.at(-1)?.write(bytes);
  }

  /** The next frames from the backend. */
  async frames(count: number): Promise<Uint8Array[]> {
    const frames: Uint8Array[] = [];
    while (frames.length < count) {
      await this.until(
        () => this.#bytes.length >= 4 && this.#bytes.length >= 4 + this.#bytes.readUInt32BE(0),
      );
      const length = this.#bytes.readUInt32BE(0);
      frames.push(new Uint8Array(this.#bytes.subarray(4, 4 + length)));
      this.#bytes = this.#bytes.subarray(4 + length);
    }
    return frames;
  }

  async until(condition: () => boolean): Promise<void> {
    while (!condition()) await new Promise<void>((resolve) => (this.#changed = resolve));
  }
}

export function framed(bytes: Uint8Array, length = bytes.length): Uint8Array {
  const prefix = Buffer.alloc(4);
  prefix.writeUInt32BE(length);
  return new Uint8Array(Buffer.concat([prefix, bytes]));
}
