/** What is on the wire when something is asked for. */
import { describe, expect, it } from 'vitest';
import { openNbdBackend } from '../../../../../devices/blk/backends/nbd/open-nbd.js';
import { ended, flushed, pattern, put, readBack } from '../../support/vectors.js';
import { Command, NbdServer, type ServerOptions } from './nbd-server.js';

const SIZE = 1 << 16;

async function diskOn(options: Partial<ServerOptions> = {}) {
  const server = await NbdServer.start({ sizeBytes: SIZE, ...options });
  return { server, backend: await openNbdBackend({ uri: server.uri, connections: 1, log: () => {} }) };
}

describe('commands', () => {
  it('say what they mean on the wire', async () => {
    const { backend, server } = await diskOn();
    await put(backend, 512, pattern(1024, 1));
    await put(backend, 1024, pattern(512, 1), { durable: true });
    await ended((done) => backend.writeZeroes(2048, 4096, true, done));
    await ended((done) => backend.writeZeroes(4096, 512, false, done));
    await ended((done) => backend.discard(8192, 8192, done));
    await flushed(backend);
    await readBack(backend, 512, 512);
    const wire = server.requests.map(({ command, flags, offset, length }) => [
      command,
      flags,
      offset,
      length,
    ]);
    expect(wire).toEqual([
      [Command.WRITE, 0, 512, 1024],
      [Command.WRITE, 1, 1024, 512],
      [Command.ZEROES, 0, 2048, 4096],
      [Command.ZEROES, 2, 4096, 512],
      [Command.TRIM, 0, 8192, 8192],
      [Command.FLUSH, 0, 0, 0],
      [Command.READ, 0, 512, 512],
    ]);
    await backend.close();
  });

  it('are flushes and zeroes as data where the server has nothing better', async () => {
    const { backend, server } = await diskOn({ flags: 0x001 | 0x004 });
    await put(backend, 512, pattern(1024, 1), { durable: true });
    await ended((done) => backend.writeZeroes(0, SIZE, true, done));
    const wire = server.requests.map(({ command, flags, offset, length }) => [
      command,
      flags,
      offset,
      length,
    ]);
    expect(wire).toEqual([
      [Command.WRITE, 0, 512, 1024],
      [Command.FLUSH, 0, 0, 0],
      [Command.WRITE, 0, 0, SIZE],
    ]);
    expect(server.cache.every((byte) => byte === 0)).toBe(true);
    await backend.close();
  });

  it('never flush a server that has no flush', async () => {
    const { backend, server } = await diskOn({ flags: 0x001 });
    expect(await put(backend, 0, pattern(512, 1), { durable: true })).toBe(0);
    expect(await flushed(backend)).toBe(0);
    expect(server.requests.map(({ command }) => command)).toEqual([Command.WRITE]);
    await backend.close();
  });
});
