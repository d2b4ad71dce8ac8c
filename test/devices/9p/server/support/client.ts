import { expect } from 'vitest';
import type { FileSystem } from '../../../../../devices/9p/fs/file-system.js';
import type { JournalStore } from '../../../../../devices/9p/server/journal/journal-store.js';
import type { ServerOptions } from '../../../../../devices/9p/server/options.js';
import type { RequestOrigin } from '../../../../../devices/9p/server/request.js';
import { Server } from '../../../../../devices/9p/server/server.js';
import { IoVector } from '../../../../../devices/io-vector.js';
import { MemoryFileSystem } from './memory-file-system.js';
import { NOFID, NOTAG, Reply, T } from './wire.js';

/** How a request reaches the server: its room for the reply, and into what pieces both are cut. */
export interface Shape {
  room?: number;
  /** Most bytes in a segment, of the request and of the reply's room. */
  piece?: number;
  origin?: RequestOrigin;
}

const CANARY = 0xa5;
/** Bytes on both sides of each piece, which nobody may touch. */
const GAP_BYTES = 16;

/** Bytes cut into pieces that lie apart, with canaries between them. */
class Pieces {
  readonly vector = new IoVector();
  readonly #memory: Uint8Array;
  readonly #lengthBytes: number;

  constructor(bytes: Uint8Array, piece: number) {
    const count = Math.ceil(bytes.length / piece);
    this.#lengthBytes = bytes.length;
    this.#memory = new Uint8Array(bytes.length + (count + 1) * GAP_BYTES).fill(CANARY);
    for (let i = 0; i < count; i++) {
      const part = bytes.subarray(i * piece, (i + 1) * piece);
      const at = GAP_BYTES + i * (piece + GAP_BYTES);
      this.#memory.set(part, at);
      this.vector.push(this.#memory, at, part.length, 0);
    }
  }

  bytes(): Uint8Array {
    const all = new Uint8Array(this.#lengthBytes);
    this.vector.gather(0, all, 0, all.length);
    return all;
  }

  expectCanaries(): void {
    const { offsets, lengths, count } = this.vector;
    for (let i = 0, from = 0; i <= count; i++) {
      const to = i < count ? offsets[i] : this.#memory.length;
      const touched = this.#memory.subarray(from, to).findIndex((byte) => byte !== CANARY);
      if (touched >= 0) throw new Error(`byte ${from + touched} beside the pieces was written`);
      from = to + lengths[i];
    }
  }
}

/** A server, and a client that sends it messages. */
export class Sender {
  readonly server: Server;
  /** What the server reported: bugs. */
  readonly log: string[] = [];
  /** The room that replies get, where a request does not say otherwise. */
  room = 65536;
  /** Requests sent and not done. */
  pending = 0;
  /** Called from within each `done`. */
  onDone: ((tag: number) => void) | undefined;
  /** Tags in the order in which their requests were done, with the reply's type, or 0 for none. */
  readonly order: { tag: number; type: number }[] = [];

  constructor(fs: FileSystem, options: Partial<ServerOptions> = {}, journal?: JournalStore) {
    const all = {
      maxMsizeBytes: 65536,
      readOnly: false,
      maxFids: 1000,
      maxOpenFiles: 100,
      log: (message: string, error?: unknown) => this.log.push(`${message}: ${String(error)}`),
      ...options,
    };
    this.server = new Server(fs, all, journal);
  }

  /** Agrees on a version and attaches fid 0 to the root. */
  async start(uid = 1000): Promise<void> {
    expect((await this.call(T.version(NOTAG, 65536, '9P2000.L'))).type).toBe(101);
    expect((await this.call(T.attach(1, 0, NOFID, 'user', '', uid))).type).toBe(105);
  }

  /** Sends raw bytes; answers the reply's bytes, none where there is no reply. */
  send(bytes: Uint8Array, { room = this.room, piece = 65536, origin }: Shape = {}): Promise<Uint8Array> {
    const request = new Pieces(bytes, piece);
    const reply = new Pieces(new Uint8Array(room).fill(CANARY), piece);
    const tag = bytes.length >= 7 ? bytes[5] | (bytes[6] << 8) : -1;
    this.pending++;
    return new Promise((resolve, reject) => {
      let calls = 0;
      this.server.handle(
        request.vector,
        reply.vector,
        (token, replyBytes) => {
          try {
            expect(token).toBe(reply);
            expect(++calls, 'done is called once').toBe(1);
            this.pending--;
            reply.expectCanaries();
            const all = reply.bytes();
            expect(replyBytes).toBeLessThanOrEqual(room);
            this.order.push({ tag, type: replyBytes === 0 ? 0 : all[4] });
            resolve(all.slice(0, replyBytes));
            this.onDone?.(tag);
          } catch (error) {
            reject(error instanceof Error ? error : new Error(String(error)));
          }
        },
        reply,
        origin,
      );
    });
  }

  /** Sends a message that must be answered. */
  async call(bytes: Uint8Array, shape?: Shape): Promise<Reply> {
    return new Reply(await this.send(bytes, shape));
  }

  /** Sends a message that must succeed. */
  async ok(bytes: Uint8Array, shape?: Shape): Promise<Reply> {
    const reply = await this.call(bytes, shape);
    expect(reply.errno, `errno of the reply to message type ${bytes[4]}`).toBe(0);
    expect(reply.type).toBe(bytes[4] + 1);
    return reply;
  }

  /** Sends a message and answers the errno of its reply, 0 for success. */
  async errno(bytes: Uint8Array, shape?: Shape): Promise<number> {
    return (await this.call(bytes, shape)).errno;
  }
}

/** The same, over a file system in memory. */
export class Client extends Sender {
  readonly fs: MemoryFileSystem;

  constructor(options: Partial<ServerOptions> = {}, fs = new MemoryFileSystem()) {
    super(fs, options);
    this.fs = fs;
  }

  /** A client with a version agreed on and fid 0 attached to the root, as user 1000. */
  static async attached(options: Partial<ServerOptions> = {}, fs = new MemoryFileSystem()): Promise<Client> {
    const client = new Client(options, fs);
    await client.start();
    return client;
  }

  /** After this, everything the file system gave out must be back. */
  async expectNoLeaks(): Promise<void> {
    await this.server.dropAll();
    expect({
      pending: this.pending,
      nodes: this.fs.liveNodes,
      files: this.fs.liveFiles,
      fids: this.server.statistics.fids,
      openFiles: this.server.statistics.openFiles,
      log: this.log,
    }).toEqual({ pending: 0, nodes: 0, files: 0, fids: 0, openFiles: 0, log: [] });
  }
}

/** A client of which fid 1 is the file `file` ("hello"), unopened, and fid 2 is open on it to read and write. */
export async function clientWithFile(): Promise<Client> {
  const client = await Client.attached();
  client.fs.file('file', 'hello');
  await client.ok(T.walk(1, 0, 1, 'file'));
  await client.ok(T.walk(1, 0, 2, 'file'));
  await client.ok(T.lopen(1, 2, 2));
  return client;
}
