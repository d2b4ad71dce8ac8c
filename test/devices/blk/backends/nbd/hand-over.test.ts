/** A disk on an NBD server that goes from one backend to another, as between processes: here both are in this one. */
import { describe, expect, it } from 'vitest';
import { NbdBackend, type NbdBackendOptions } from '../../../../../devices/blk/backends/nbd/nbd-backend.js';
import {
  openNbdBackend,
  takeNbdBackend,
  nbdBackendOf,
} from '../../../../../devices/blk/backends/nbd/open-nbd.js';
import { duplicateFd } from '../../../../../host/index.js';
import { openDescriptors } from '../../../../manager/ports/vhost-user/harness.js';
import { flushed, pattern, put, readBack } from '../../support/vectors.js';
import { ALL_FLAGS, Command, Flag, NbdServer, type ServerOptions } from './nbd-server.js';

const SIZE = 1 << 20;
const SECTOR = 512;

async function connected(
  serverOptions: Partial<ServerOptions> = {},
  connections = 4,
): Promise<{ server: NbdServer; backend: NbdBackend; options: NbdBackendOptions }> {
  const server = await NbdServer.start({ sizeBytes: SIZE, ...serverOptions });
  const options = { uri: server.uri, connections, log: () => undefined };
  const backend = await NbdBackend.open(options);
  const flags = serverOptions.flags ?? ALL_FLAGS;
  await expect.poll(() => backend.connections).toBe((flags & Flag.MULTI_CONN) === 0 ? 1 : connections);
  return { server, backend, options };
}

/** The next backend, which has not begun yet. */
function given(backend: NbdBackend, options: NbdBackendOptions): NbdBackend {
  const next = NbdBackend.takeOver(options, backend.opened);
  backend.standStill();
  const { connections, ...state } = backend.save();
  const duplicates = connections.map(({ descriptor, info }) => ({
    descriptor: duplicateFd(descriptor),
    info,
  }));
  expect(next.restore({ ...state, connections: duplicates })).toBe(true);
  return next;
}

describe('a disk on an NBD server that another process goes on with', () => {
  it.each([
    ['a unix socket', {}],
    ['TCP', { tcp: true }],
    [
      'one connection, without structured replies',
      { flags: ALL_FLAGS & ~Flag.MULTI_CONN, structured: false },
    ],
  ])('keeps its connections over %s', async (_, serverOptions) => {
    const { server, backend, options } = await connected(serverOptions);
    await put(backend, 0, pattern(8 * SECTOR, 1));
    const before = server.connections;
    const next = given(backend, options);
    next.goOn();
    for (let i = 0; i < 8; i++)
      expect(await readBack(next, i * SECTOR, SECTOR)).toEqual(
        Buffer.from(pattern(8 * SECTOR, 1).subarray(i * SECTOR, (i + 1) * SECTOR)),
      );
    expect(await flushed(next)).toBe(0);
    expect(server.medium.subarray(0, 8 * SECTOR)).toEqual(Buffer.from(pattern(8 * SECTOR, 1)));
    expect([server.connections, server.goodbyes, next.connections]).toEqual([before, 0, before]);
    await next.close();
    await backend.close();
  });

  it('is written again what the server had not flushed, and lost after that', async () => {
    const { server, backend, options } = await connected();
    await put(backend, SECTOR, pattern(SECTOR, 1));
    const next = given(backend, options);
    next.goOn();
    await server.crash();
    await server.listen();
    expect(await flushed(next)).toBe(0);
    expect(server.medium.subarray(SECTOR, 2 * SECTOR)).toEqual(Buffer.from(pattern(SECTOR, 1)));
    await next.close();
    await backend.close();
  });

  it('goes on where it was, where nothing comes of that', async () => {
    const { server, backend, options } = await connected();
    const before = openDescriptors();
    await put(backend, 0, pattern(SECTOR, 1));
    await given(backend, options).close();
    expect(openDescriptors()).toBe(before);
    backend.goOn();
    expect(await readBack(backend, 0, SECTOR)).toEqual(Buffer.from(pattern(SECTOR, 1)));
    expect([backend.connections, server.goodbyes]).toEqual([4, 0]);
    await backend.close();
  });

  it('leaves the old process alone with a flush of its own that is under way, and flushes again', async () => {
    const { server, backend, options } = await connected({ flags: ALL_FLAGS & ~Flag.MULTI_CONN });
    server.intercept = ({ command }) => command === Command.FLUSH;
    // More than half of what is kept: so it is flushed.
    const long = pattern(256 * 1024, 1);
    for (let i = 0; i < 65; i++) await put(backend, 0, long);
    await expect.poll(() => server.count(Command.FLUSH)).toBe(1);
    server.intercept = () => false;
    const next = given(backend, options);
    next.goOn();
    expect(await flushed(next)).toBe(0);
    expect(server.connections).toBe(2);
    expect(server.medium.subarray(0, long.length).equals(long)).toBe(true);
    await next.close();
    await backend.close();
  });

  it('is connected to no more by a process that stands still, nor written by it', async () => {
    const { server, backend, options } = await connected();
    await put(backend, 0, pattern(SECTOR, 1));
    await server.stop();
    await expect.poll(() => backend.connections).toBe(0);
    const next = given(backend, options);
    await server.crash();
    await server.listen();
    await new Promise((resolve) => setTimeout(resolve, 300));
    expect(server.requests.filter(({ command }) => command === Command.WRITE)).toHaveLength(1);
    next.goOn();
    expect(await flushed(next)).toBe(0);
    expect(server.medium.subarray(0, SECTOR)).toEqual(Buffer.from(pattern(SECTOR, 1)));
    await next.close();
    await backend.close();
  });

  it('has the blocks that the server insists on', async () => {
    const server = await NbdServer.start({ sizeBytes: SIZE, blockSizes: [4096, 4096, 1 << 20] });
    const options = { uri: server.uri, log: () => undefined };
    const backend = await openNbdBackend(options);
    const inner = nbdBackendOf(backend)!;
    const next = takeNbdBackend(options, inner.opened);
    inner.standStill();
    const { connections, ...state } = inner.save();
    const duplicates = connections.map((each) => ({ ...each, descriptor: duplicateFd(each.descriptor) }));
    nbdBackendOf(next)!.restore({ ...state, connections: duplicates });
    nbdBackendOf(next)!.goOn();
    expect(await put(next, SECTOR, pattern(SECTOR, 1))).toBe(0);
    expect(server.cache.subarray(SECTOR, 2 * SECTOR)).toEqual(Buffer.from(pattern(SECTOR, 1)));
    await next.close();
    await backend.close();
  });

  it('refuses what no process can have saved', async () => {
    const { backend, options } = await connected();
    const next = NbdBackend.takeOver(options, backend.opened);
    const state = { connections: [], sizeBytes: SIZE, failure: 0 };
    for (const unflushed of [
      new Uint8Array(3),
      new Uint8Array(5),
      Uint8Array.of(1, 0, 0, 0),
      new Uint8Array(4).fill(0xff),
    ])
      expect(next.restore({ ...state, unflushed })).toBe(false);
    await next.close();
    await backend.close();
  });
});
