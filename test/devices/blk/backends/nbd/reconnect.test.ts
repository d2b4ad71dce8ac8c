/** Servers that are lost, for a moment or for good, with their cache or without. */
import { describe, expect, it } from 'vitest';
import { NbdBackend, type NbdBackendOptions } from '../../../../../devices/blk/backends/nbd/nbd-backend.js';
import { Errno } from '../../../../../devices/errno.js';
import { ended, flushed, pattern, put, readBack, vectorOver } from '../../support/vectors.js';
import { ALL_FLAGS, Command, Flag, NbdServer, type Request, type ServerOptions } from './nbd-server.js';

const SIZE = 1 << 20;
const SECTOR = 512;

async function connected(
  options: Partial<NbdBackendOptions> = {},
  serverOptions: Partial<ServerOptions> = {},
): Promise<{ server: NbdServer; backend: NbdBackend; logs: string[] }> {
  const server = await NbdServer.start({ sizeBytes: SIZE, ...serverOptions });
  const logs: string[] = [];
  const log = (line: string) => logs.push(line);
  const backend = await NbdBackend.open({ uri: server.uri, connections: 1, log, ...options });
  return { server, backend, logs };
}

/** Resolves when the server has got a request of this kind, which it then does not answer. */
function swallowed(server: NbdServer, command: number, times = 1): Promise<void> {
  return new Promise((resolve) => {
    let left = times;
    server.intercept = (request) => {
      if (request.command !== command || left === 0) return false;
      if (--left === 0) resolve();
      return true;
    };
  });
}

const onMedium = (server: NbdServer, offset: number, bytes: Uint8Array) =>
  server.medium.subarray(offset, offset + bytes.length).equals(bytes);

describe('a connection that is lost', () => {
  it('has what was under way on it sent again', async () => {
    const { server, backend, logs } = await connected();
    server.cache.set(pattern(SIZE, 1));
    const got = swallowed(server, Command.READ, 3);
    const reads = Promise.all([0, 1, 2].map((i) => readBack(backend, i * SECTOR, SECTOR)));
    await got;
    server.disconnect();
    const bytes = Buffer.concat(await reads);
    expect(bytes.equals(pattern(SIZE, 1).subarray(0, 3 * SECTOR))).toBe(true);
    expect(logs).toEqual([
      'the NBD server is gone: the server closed the connection',
      'the NBD server is back',
    ]);
    await backend.close();
  });

  it('in the middle of a reply leaves the read to be done again', async () => {
    const { server, backend } = await connected({}, { structured: false });
    server.cache.set(pattern(SIZE, 1));
    let first = true;
    server.intercept = ({ cookie }, { socket }) => {
      if (!first) return false;
      first = false;
      socket.end(
        Buffer.concat([Buffer.from([0x67, 0x44, 0x66, 0x98, 0, 0, 0, 0]), cookie, Buffer.alloc(300, 9)]),
      );
      return true;
    };
    expect((await readBack(backend, 0, SECTOR)).equals(pattern(SIZE, 1).subarray(0, SECTOR))).toBe(true);
    await backend.close();
  });

  it('while others are there goes unnoticed', async () => {
    const { server, backend, logs } = await connected({ connections: 3 });
    while (backend.connections < 3) await new Promise((resolve) => setImmediate(resolve));
    const bytes = pattern(SECTOR, 2);
    await put(backend, 0, bytes);
    const [session] = server.sessions;
    const got = swallowed(server, Command.READ, 3);
    const reads = Promise.all([0, 1, 2].map(() => readBack(backend, 0, SECTOR)));
    await got;
    server.intercept = () => false;
    for (const other of server.sessions) if (other !== session) other.socket.destroy();
    session.socket.destroy();
    expect((await reads).every((read) => read.equals(bytes))).toBe(true);
    expect(logs.length).toBeLessThanOrEqual(2);
    await backend.close();
  });

  it('since the server does not reply is not waited for', async () => {
    const { server, backend, logs } = await connected({ replyTimeoutMs: 250 });
    void swallowed(server, Command.READ);
    expect((await readBack(backend, 0, SECTOR)).length).toBe(SECTOR);
    expect(logs[0]).toBe('the NBD server is gone: no reply in 250 ms');
    expect(server.connections).toBeGreaterThan(1);
    await backend.close();
  });

  it('since the server says that it is leaving has everything sent again', async () => {
    const { server, backend } = await connected();
    let leaving = true;
    server.intercept = (request, session) => {
      if (!leaving) return false;
      leaving = false;
      session.simpleOrError(request, 108);
      return true;
    };
    const bytes = pattern(SECTOR, 3);
    expect(await put(backend, 0, bytes)).toBe(0);
    expect([server.cache.subarray(0, SECTOR).equals(bytes), server.connections]).toEqual([true, 2]);
    await backend.close();
  });

  it('again and again by one request costs that request', async () => {
    const { server, backend } = await connected();
    server.intercept = ({ offset }, { socket }) => {
      if (offset !== SECTOR) return false;
      socket.destroy();
      return true;
    };
    const poison = ended((done) => backend.discard(SECTOR, SECTOR, done));
    expect(await poison).toBe(-Errno.EIO);
    expect((await readBack(backend, 0, SECTOR)).length).toBe(SECTOR);
    expect(server.connections).toBeLessThanOrEqual(7);
    await backend.close();
  });
});

describe('a server that is gone', () => {
  it('for a moment makes requests wait', async () => {
    const { server, backend } = await connected();
    await server.stop();
    const bytes = pattern(SECTOR, 4);
    const write = put(backend, SECTOR, bytes);
    const flush = flushed(backend);
    await server.listen();
    expect([await write, await flush]).toEqual([0, 0]);
    expect((await readBack(backend, SECTOR, SECTOR)).equals(bytes)).toBe(true);
    await backend.close();
  });

  it('for too long fails requests, new ones at once, until it is back', async () => {
    const { server, backend, logs } = await connected({ reconnectTimeoutMs: 60 });
    await server.stop();
    const waiting = [put(backend, 0, pattern(SECTOR, 1)), flushed(backend)];
    expect(await Promise.all(waiting)).toEqual([-Errno.EIO, -Errno.EIO]);
    expect(backend.read(0, vector(), { complete: () => {} })).toBe(-Errno.EIO);
    expect(logs.at(-1)).toContain('did not come back in time');
    await server.listen();
    while (backend.connections === 0) await new Promise((resolve) => setTimeout(resolve, 5));
    expect(await put(backend, 0, pattern(SECTOR, 1))).toBe(0);
    expect(logs.at(-1)).toBe('the NBD server is back');
    await backend.close();
  });

  it('has nobody waiting for it any more once they have lost interest', async () => {
    const { server, backend } = await connected();
    await server.stop();
    const write = put(backend, 0, pattern(SECTOR, 1));
    // The loss has to be noticed first.
    while (backend.connections > 0) await new Promise((resolve) => setImmediate(resolve));
    backend.abandon();
    expect(await write).toBe(-Errno.ECANCELED);
    await backend.close();
  });

  it('does not keep the disk from being closed', async () => {
    const { server, backend } = await connected();
    await server.stop();
    const write = put(backend, 0, pattern(SECTOR, 1));
    while (backend.connections > 0) await new Promise((resolve) => setImmediate(resolve));
    await backend.close();
    expect(await write).toBe(-Errno.ECANCELED);
    expect(backend.flush({ complete: () => {} })).toBe(-Errno.EIO);
  });

  it.each<[string, Partial<ServerOptions>]>([
    ['read-only', { flags: ALL_FLAGS | Flag.READ_ONLY }],
    ['without a flush', { flags: ALL_FLAGS & ~Flag.FLUSH }],
    ['without a trim', { flags: ALL_FLAGS & ~Flag.TRIM }],
    ['with larger blocks', { blockSizes: [4096, 4096, 65536] }],
  ])('and comes back %s is not the same', async (_how, changes) => {
    let told = (_line: string): void => {};
    const refused = new Promise<void>((resolve) => {
      told = (line) => (line.includes('the export is not what it was') ? resolve() : undefined);
    });
    const { server, backend } = await connected({ log: (line) => told(line) });
    Object.assign(server.options, changes);
    server.disconnect();
    await refused;
    expect(backend.connections).toBe(0);
    await backend.close();
  });
});

describe('a server that loses its cache', () => {
  it('has what it acknowledged written again before a flush succeeds', async () => {
    const { server, backend } = await connected();
    const first = pattern(4096, 1);
    const flushedBefore = pattern(SECTOR, 2);
    await put(backend, 65536, flushedBefore);
    expect(await flushed(backend)).toBe(0);
    await put(backend, 0, pattern(8192, 9));
    await put(backend, 4096, first);
    await ended((done) => backend.writeZeroes(0, 1024, true, done));
    await server.crash();
    expect(server.cache.subarray(0, 8192).every((byte) => byte === 0)).toBe(true);
    await server.listen();
    expect(await flushed(backend)).toBe(0);
    expect(onMedium(server, 65536, flushedBefore)).toBe(true);
    expect(onMedium(server, 4096, first)).toBe(true);
    expect(onMedium(server, 1024, pattern(8192, 9).subarray(1024, 4096))).toBe(true);
    expect(onMedium(server, 0, new Uint8Array(1024))).toBe(true);
    await backend.close();
  });

  it('has them in the order they came in where they overlap', async () => {
    const { server, backend } = await connected({}, { flags: ALL_FLAGS & ~Flag.ZEROES });
    for (let i = 1; i <= 5; i++) await put(backend, i * SECTOR, pattern(4 * SECTOR, i));
    await ended((done) => backend.writeZeroes(2 * SECTOR, 200 * SECTOR, true, done));
    await put(backend, 3 * SECTOR, pattern(SECTOR, 7));
    const expected = Buffer.from(server.cache);
    await server.crash();
    await server.listen();
    await flushed(backend);
    expect(server.medium.equals(expected)).toBe(true);
    await backend.close();
  });

  it('is read only after that', async () => {
    const { server, backend } = await connected();
    const bytes = pattern(64 * SECTOR, 5);
    await put(backend, 0, bytes);
    await server.crash();
    const read = readBack(backend, 0, bytes.length);
    await server.listen();
    expect((await read).equals(bytes)).toBe(true);
    await backend.close();
  });

  it('is sent what it acknowledged while a flush was under way, which did not cover it', async () => {
    const { server, backend } = await connected();
    await put(backend, 0, pattern(SECTOR, 1));
    const flushing = new Promise<() => void>((resolve) => {
      server.intercept = (request, session) => {
        if (request.command !== Command.FLUSH) return false;
        server.cache.copy(server.medium);
        resolve(() => session.simpleOrError(request, 0));
        return true;
      };
    });
    const flush = flushed(backend);
    const reply = await flushing;
    server.intercept = () => false;
    await put(backend, 0, pattern(SECTOR, 2));
    reply();
    expect(await flush).toBe(0);
    await server.crash();
    await server.listen();
    expect(await flushed(backend)).toBe(0);
    expect(onMedium(server, 0, pattern(SECTOR, 2))).toBe(true);
    await backend.close();
  });

  it('is not sent what a flush or forced unit access has covered', async () => {
    const { server, backend } = await connected();
    await put(backend, 0, pattern(SECTOR, 1));
    await put(backend, 8192, pattern(SECTOR, 2), { durable: true });
    await flushed(backend);
    server.requests.length = 0;
    await server.crash();
    await server.listen();
    expect((await readBack(backend, 0, SECTOR)).equals(pattern(SECTOR, 1))).toBe(true);
    expect(server.count(Command.WRITE)).toBe(0);
    await backend.close();
  });

  it('a second time, while it is being told, is told again', async () => {
    const { server, backend } = await connected();
    for (let i = 0; i < 4; i++) await put(backend, i * SECTOR, pattern(SECTOR, i));
    await server.crash();
    let writes = 0;
    server.intercept = ({ command }, { socket }) => {
      if (command !== Command.WRITE || ++writes !== 3) return false;
      socket.destroy();
      return true;
    };
    await server.listen();
    expect(await flushed(backend)).toBe(0);
    for (let i = 0; i < 4; i++) expect(onMedium(server, i * SECTOR, pattern(SECTOR, i))).toBe(true);
    expect(writes).toBe(7);
    await backend.close();
  });

  it('and does not take it back has every flush fail from then on', async () => {
    const { server, backend, logs } = await connected();
    await put(backend, 0, pattern(SECTOR, 1));
    await server.crash();
    const refuse = (request: Request) => request.command === Command.WRITE;
    server.intercept = (request, session) => {
      if (!refuse(request)) return false;
      session.simpleOrError(request, 28);
      return true;
    };
    await server.listen();
    expect(await flushed(backend)).toBe(-Errno.EIO);
    server.intercept = () => false;
    expect(await put(backend, 0, pattern(SECTOR, 2))).toBe(0);
    expect(await flushed(backend)).toBe(-Errno.EIO);
    expect(logs.join()).toContain('does not take back what it may have lost');
    await backend.close();
  });

  it('keeps what is remembered for it within bounds, by flushes that nobody asked for', async () => {
    const { server, backend } = await connected();
    const bytes = new Uint8Array(SIZE);
    for (let i = 0; i < 20; i++) {
      bytes.fill(i);
      expect(await put(backend, 0, bytes)).toBe(0);
    }
    expect(server.count(Command.FLUSH)).toBeGreaterThan(0);
    await server.crash();
    await server.listen();
    expect(await flushed(backend)).toBe(0);
    expect(server.medium.equals(bytes)).toBe(true);
    await backend.close();
  });

  it('has writes wait for the flush where no more can be remembered', async () => {
    const { server, backend } = await connected();
    const flushes: (() => void)[] = [];
    server.intercept = (request, session) => {
      if (request.command !== Command.FLUSH) return false;
      flushes.push(() => server.serve(request, session));
      return true;
    };
    const bytes = new Uint8Array(SIZE);
    for (let i = 0; i < 32; i++) expect(await put(backend, 0, bytes)).toBe(0);
    let done = false;
    const write = put(backend, 0, pattern(SIZE, 3)).then((result) => {
      done = true;
      return result;
    });
    while (flushes.length < 2) await new Promise((resolve) => setImmediate(resolve));
    expect(done).toBe(false);
    for (const flush of flushes.splice(0)) flush();
    expect(await write).toBe(0);
    expect(onMedium(server, 0, pattern(SIZE, 3))).toBe(true);
    await backend.close();
  });
});

describe('an export that was resized', () => {
  it('is seen on request', async () => {
    const { server, backend } = await connected();
    const sizes: number[] = [];
    backend.sizeChanged = () => sizes.push(backend.sizeBytes);
    await put(backend, 0, pattern(SECTOR, 1));
    expect([await backend.refreshSize(), sizes]).toEqual([0, []]);
    server.resize(2 * SIZE);
    expect([await backend.refreshSize(), backend.sizeBytes, sizes]).toEqual([0, 2 * SIZE, [2 * SIZE]]);
    expect(await put(backend, 2 * SIZE - SECTOR, pattern(SECTOR, 2))).toBe(0);
    expect((await readBack(backend, 0, SECTOR)).equals(pattern(SECTOR, 1))).toBe(true);
    await backend.close();
  });

  it('is seen when it is connected to again, and what lies beyond its end fails', async () => {
    const { server, backend } = await connected();
    const sizes: number[] = [];
    backend.sizeChanged = () => sizes.push(backend.sizeBytes);
    const got = swallowed(server, Command.READ, 2);
    const within = readBack(backend, 0, SECTOR);
    const beyond = ended((done) => backend.read(SIZE - SECTOR, vector(), done));
    await got;
    server.resize(SIZE / 2);
    server.disconnect();
    expect([(await within).length, await beyond]).toEqual([SECTOR, -Errno.EIO]);
    expect(sizes).toEqual([SIZE / 2]);
    expect(backend.read(SIZE - SECTOR, vector(), { complete: () => {} })).toBe(-Errno.EIO);
    await backend.close();
  });

  it('cannot be seen while the server is gone', async () => {
    const { server, backend } = await connected({ connectTimeoutMs: 100 });
    await server.stop();
    expect(await backend.refreshSize()).toBe(-Errno.EIO);
    await backend.close();
  });
});

function vector() {
  return vectorOver(new Uint8Array(SECTOR));
}
