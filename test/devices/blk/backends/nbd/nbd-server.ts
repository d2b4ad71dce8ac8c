/**
 * A small NBD server, written from the protocol's text with numbers of its own: it can behave, it can lose its cache, and tests can
 * answer any request in its place. What was flushed is on its medium; what was only written is in its cache.
 */
import { once } from 'node:events';
import { createServer, type Server, type Socket } from 'node:net';
import { join } from 'node:path';
import { onTestFinished } from 'vitest';
import { temporaryFolder } from '../../support/files.js';

export const Flag = {
  HAS_FLAGS: 0x001,
  READ_ONLY: 0x002,
  FLUSH: 0x004,
  FUA: 0x008,
  TRIM: 0x020,
  ZEROES: 0x040,
  MULTI_CONN: 0x100,
} as const;
export const Command = { READ: 0, WRITE: 1, DISC: 2, FLUSH: 3, TRIM: 4, ZEROES: 6 } as const;
export const ALL_FLAGS = 0x001 | 0x004 | 0x008 | 0x020 | 0x040 | 0x100;

export interface Request {
  readonly flags: number;
  readonly command: number;
  readonly cookie: Buffer;
  readonly offset: number;
  readonly length: number;
  readonly payload: Buffer;
}

/** One connection of a client, for tests to answer on. */
export interface Session {
  readonly socket: Socket;
  readonly structured: boolean;
  simple(request: Request, error: number, data?: Uint8Array): void;
  chunk(request: Request, flags: number, type: number, payload: Uint8Array): void;
  /** Success without data, or an error, in the way that suits. */
  simpleOrError(request: Request, error: number): void;
}

export interface ServerOptions {
  readonly sizeBytes: number;
  readonly exportName?: string;
  /** Transmission flags. */
  readonly flags?: number;
  /** Whether it agrees to structured replies. */
  readonly structured?: boolean;
  /** Minimum, preferred and maximum block size, if it tells. */
  readonly blockSizes?: readonly [number, number, number];
  /** Listens on a TCP port instead of a unix socket. */
  readonly tcp?: boolean;
  /** The size it tells, where that is not what it has. */
  readonly advertisedBytes?: number;
}

export const u16 = (value: number): Buffer => {
  const bytes = Buffer.alloc(2);
  bytes.writeUInt16BE(value);
  return bytes;
};
export const u32 = (value: number): Buffer => {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value >>> 0);
  return bytes;
};
export const u64 = (value: number | bigint): Buffer => {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64BE(BigInt(value));
  return bytes;
};

/** Bytes of a socket, to be read in the amounts that the protocol says. */
class Reader {
  #buffer = Buffer.alloc(0);
  #wake: (() => void) | undefined;
  #ended = false;

  constructor(socket: Socket) {
    socket.on('data', (bytes: Buffer) => {
      this.#buffer = Buffer.concat([this.#buffer, bytes]);
      this.#wake?.();
    });
    socket.on('close', () => {
      this.#ended = true;
      this.#wake?.();
    });
  }

  /** Undefined at the end. */
  async take(length: number): Promise<Buffer | undefined> {
    while (this.#buffer.length < length) {
      if (this.#ended) return undefined;
      await new Promise<void>((wake) => (this.#wake = wake));
    }
    const bytes = this.#buffer.subarray(0, length);
    this.#buffer = this.#buffer.subarray(length);
    return bytes;
  }
}

export class NbdServer {
  readonly options: ServerOptions;
  /** What is in the cache, and so is read. */
  cache: Buffer;
  /** What a crash leaves. */
  medium: Buffer;
  /** Requests in the order they came. */
  readonly requests: Request[] = [];
  readonly sessions = new Set<Session>();
  /** Answers a request in the server's place where it answers true. */
  intercept: (request: Request, session: Session) => boolean | Promise<boolean> = () => false;
  /** Takes a client's connection over as soon as it is made, where it answers true. */
  onConnect: (socket: Socket) => boolean = () => false;
  connections = 0;
  goodbyes = 0;
  readonly #sockets = new Set<Socket>();
  #server: Server | undefined;
  #address = '';

  private constructor(options: ServerOptions) {
    this.options = options;
    this.cache = Buffer.alloc(options.sizeBytes);
    this.medium = Buffer.alloc(options.sizeBytes);
  }

  static async start(options: ServerOptions): Promise<NbdServer> {
    const server = new NbdServer(options);
    server.#address = options.tcp === true ? '127.0.0.1:0' : join(temporaryFolder(), 'nbd.sock');
    await server.listen();
    onTestFinished(() => server.stop());
    return server;
  }

  get uri(): string {
    const name = encodeURIComponent(this.options.exportName ?? '');
    return this.options.tcp === true
      ? `nbd://${this.#address}/${name}`
      : `nbd+unix:///${name}?socket=${this.#address}`;
  }

  /** The file that it listens at. */
  get path(): string {
    return this.#address;
  }

  /** Listens at its address, again where it was stopped. */
  async listen(): Promise<void> {
    const server = createServer((socket) => this.#accept(socket));
    this.#server = server;
    const [host, port] = this.#address.split(':');
    if (this.options.tcp === true) server.listen(Number(port), host);
    else server.listen(this.#address);
    await once(server, 'listening');
    const address = server.address();
    if (address !== null && typeof address === 'object') this.#address = `127.0.0.1:${address.port}`;
  }

  /** Drops every connection; clients may come again. */
  disconnect(): void {
    for (const socket of this.#sockets) socket.destroy();
  }

  /** Stops listening, and drops every connection. */
  async stop(): Promise<void> {
    const server = this.#server;
    this.#server = undefined;
    this.disconnect();
    if (server === undefined) return;
    server.close();
    await once(server, 'close');
  }

  /** As if its machine had lost power: what was not flushed is gone. */
  async crash(): Promise<void> {
    await this.stop();
    this.cache = Buffer.from(this.medium);
  }

  resize(sizeBytes: number): void {
    const grown = (old: Buffer) => Buffer.concat([old, Buffer.alloc(Math.max(0, sizeBytes - old.length))]);
    this.cache = grown(this.cache).subarray(0, sizeBytes);
    this.medium = grown(this.medium).subarray(0, sizeBytes);
  }

  /** Resolves once no client is connected any more. */
  async alone(): Promise<void> {
    await Promise.all([...this.#sockets].map((socket) => once(socket, 'close')));
  }

  count(command: number): number {
    return this.requests.filter((request) => request.command === command).length;
  }

  #accept(socket: Socket): void {
    this.connections++;
    this.#sockets.add(socket);
    socket.setNoDelay(true);
    socket.on('error', () => {});
    socket.on('close', () => this.#sockets.delete(socket));
    if (this.onConnect(socket)) return;
    void this.#serve(socket).finally(() => socket.destroy());
  }

  async #serve(socket: Socket): Promise<void> {
    const reader = new Reader(socket);
    const structured = await this.#handshake(socket, reader);
    if (structured === undefined) return;
    const session = sessionOn(socket, structured);
    this.sessions.add(session);
    socket.on('close', () => this.sessions.delete(session));
    for (;;) {
      const header = await reader.take(28);
      if (header === undefined || header.readUInt32BE(0) !== 0x25609513) return;
      const command = header.readUInt16BE(6);
      const length = header.readUInt32BE(24);
      const payload = command === Command.WRITE ? await reader.take(length) : Buffer.alloc(0);
      if (payload === undefined) return;
      const request: Request = {
        flags: header.readUInt16BE(4),
        command,
        cookie: Buffer.from(header.subarray(8, 16)),
        offset: Number(header.readBigUInt64BE(16)),
        length,
        payload: Buffer.from(payload),
      };
      if (command === Command.DISC) {
        this.goodbyes++;
        return;
      }
      this.requests.push(request);
      if (!(await this.intercept(request, session))) this.serve(request, session);
    }
  }

  /** What a server does. */
  serve(request: Request, session: Session): void {
    const { command, offset, length, payload } = request;
    const flags = this.options.flags ?? ALL_FLAGS;
    const end = offset + length;
    if (end > this.cache.length) return session.simpleOrError(request, 22);
    switch (command) {
      case Command.READ:
        return this.#read(request, session);
      case Command.WRITE:
        if ((flags & Flag.READ_ONLY) !== 0) return session.simpleOrError(request, 1);
        payload.copy(this.cache, offset);
        break;
      case Command.TRIM:
      case Command.ZEROES:
        if ((flags & (command === Command.TRIM ? Flag.TRIM : Flag.ZEROES)) === 0) {
          return session.simpleOrError(request, 22);
        }
        this.cache.fill(0, offset, end);
        break;
      case Command.FLUSH:
        if ((flags & Flag.FLUSH) === 0 || offset !== 0 || length !== 0)
          return session.simpleOrError(request, 22);
        this.cache.copy(this.medium);
        break;
      default:
        return session.simpleOrError(request, 22);
    }
    if ((request.flags & 1) !== 0) this.cache.copy(this.medium, offset, offset, end);
    session.simpleOrError(request, 0);
  }

  /** In structured replies zeroes are a hole, and data comes in two pieces, the second first. */
  #read(request: Request, session: Session): void {
    const { offset, length } = request;
    const data = this.cache.subarray(offset, offset + length);
    if (!session.structured) return session.simple(request, 0, data);
    if (data.every((byte) => byte === 0)) {
      return session.chunk(request, 1, 2, Buffer.concat([u64(offset), u32(length)]));
    }
    const half = Math.floor(length / 1024) * 512;
    if (half > 0) session.chunk(request, 0, 1, Buffer.concat([u64(offset + half), data.subarray(half)]));
    const first = half > 0 ? data.subarray(0, half) : data;
    session.chunk(request, 0, 1, Buffer.concat([u64(offset), first]));
    session.chunk(request, 1, 0, Buffer.alloc(0));
  }

  /** Whether replies are structured; undefined where the client left. */
  async #handshake(socket: Socket, reader: Reader): Promise<boolean | undefined> {
    socket.write(Buffer.concat([Buffer.from('NBDMAGICIHAVEOPT'), u16(3)]));
    if ((await reader.take(4)) === undefined) return undefined;
    let structured = false;
    for (;;) {
      const header = await reader.take(16);
      if (header === undefined || header.toString('latin1', 0, 8) !== 'IHAVEOPT') return undefined;
      const option = header.readUInt32BE(8);
      const data = await reader.take(header.readUInt32BE(12));
      if (data === undefined) return undefined;
      const reply = (type: number, ...payload: Uint8Array[]) =>
        socket.write(optionReply(option, type, Buffer.concat(payload)));
      if (option === 8 && this.options.structured !== false) {
        structured = true;
        reply(1);
      } else if (option === 7) {
        const name = data.toString('utf8', 4, 4 + data.readUInt32BE(0));
        if (name !== (this.options.exportName ?? '')) {
          reply(0x8000_0006, Buffer.from('no such export'));
          continue;
        }
        const size = this.options.advertisedBytes ?? this.cache.length;
        reply(3, u16(0), u64(size), u16(this.options.flags ?? ALL_FLAGS));
        const { blockSizes } = this.options;
        if (blockSizes !== undefined) reply(3, u16(3), ...blockSizes.map(u32));
        reply(1);
        return structured;
      } else if (option === 2) {
        reply(1);
        return undefined;
      } else reply(0x8000_0001);
    }
  }
}

export function optionReply(option: number, type: number, payload: Uint8Array): Buffer {
  return Buffer.concat([
    u32(0x0003_e889),
    u32(0x0455_65a9),
    u32(option),
    u32(type),
    u32(payload.length),
    payload,
  ]);
}

function sessionOn(socket: Socket, structured: boolean): Session {
  return {
    socket,
    structured,
    simple: (request, error, data = new Uint8Array(0)) => {
      socket.write(Buffer.concat([u32(0x67446698), u32(error), request.cookie, data]));
    },
    chunk: (request, flags, type, payload) => {
      const header = [u32(0x668e33ef), u16(flags), u16(type), request.cookie, u32(payload.length)];
      socket.write(Buffer.concat([...header, payload]));
    },
    simpleOrError(request, error) {
      if (!structured || (error === 0 && request.command !== Command.READ)) this.simple(request, error);
      else this.chunk(request, 1, 0x8001, Buffer.concat([u32(error), u16(2), Buffer.from('no')]));
    },
  };
}
