/** How connections begin: what a server may say, and what it may not. */
import type { Socket } from 'node:net';
import { describe, expect, it } from 'vitest';
import { BlockBackendError } from '../../../../../devices/blk/backends/errors.js';
import { NbdBackend } from '../../../../../devices/blk/backends/nbd/nbd-backend.js';
import { openNbdBackend } from '../../../../../devices/blk/backends/nbd/open-nbd.js';
import { pattern, put, readBack } from '../../support/vectors.js';
import {
  ALL_FLAGS,
  Command,
  Flag,
  NbdServer,
  optionReply,
  u16,
  u32,
  u64,
  type ServerOptions,
} from './nbd-server.js';

const SIZE = 1 << 16;
const GREETING = Buffer.concat([Buffer.from('NBDMAGICIHAVEOPT'), u16(3)]);
const STRUCTURED = 8;
const GO = 7;
const exportReply = (size: number | bigint, flags = ALL_FLAGS) =>
  optionReply(GO, 3, Buffer.concat([u16(0), u64(size), u16(flags)]));
const blockSizes = (minimum: number, preferred: number, maximum: number) =>
  optionReply(GO, 3, Buffer.concat([u16(3), u32(minimum), u32(preferred), u32(maximum)]));
const ack = (option: number) => optionReply(option, 1, Buffer.alloc(0));

async function refusal(
  options: Partial<ServerOptions>,
  prepare: (server: NbdServer) => void = () => {},
  connectTimeoutMs?: number,
) {
  const server = await NbdServer.start({ sizeBytes: SIZE, ...options });
  prepare(server);
  return refusedBy(server.uri, connectTimeoutMs);
}

async function refusedBy(uri: string, connectTimeoutMs = 10_000): Promise<BlockBackendError> {
  try {
    const backend = await NbdBackend.open({ uri, connectTimeoutMs, log: () => {} });
    await backend.close();
  } catch (error) {
    if (error instanceof BlockBackendError) return error;
    throw error;
  }
  throw new Error('the server was accepted');
}

/** A server that says all this at once, whatever it is asked. */
function saying(...bytes: readonly Uint8Array[]) {
  return (server: NbdServer) => {
    server.onConnect = (socket: Socket) => {
      socket.on('data', () => {});
      socket.write(Buffer.concat(bytes));
      return true;
    };
  };
}

describe('a server that is none', () => {
  it.each<[string, readonly Uint8Array[]]>([
    ['greets with other words', [Buffer.from('SSH-2.0-OpenSSH_9.2p1 Debian\r\n')]],
    ['greets with zeroes', [Buffer.alloc(64)]],
    ['replies without magic', [GREETING, Buffer.alloc(20, 1)]],
    ['replies to what was not asked', [GREETING, ack(GO)]],
    ['replies to an option with information', [GREETING, optionReply(STRUCTURED, 3, Buffer.alloc(12))]],
    ['sends a reply that is too long', [GREETING, optionReply(STRUCTURED, 1, Buffer.alloc(5000))]],
    ['says nothing about the export', [GREETING, ack(STRUCTURED), ack(GO)]],
    [
      'tells of an export in too few bytes',
      [GREETING, ack(STRUCTURED), optionReply(GO, 3, Buffer.alloc(11))],
    ],
    ['sends information without a type', [GREETING, ack(STRUCTURED), optionReply(GO, 3, Buffer.alloc(1))]],
    [
      'tells of blocks in too many bytes',
      [GREETING, ack(STRUCTURED), optionReply(GO, 3, Buffer.concat([u16(3), Buffer.alloc(13)]))],
    ],
    ['has flags that are none', [GREETING, ack(STRUCTURED), exportReply(SIZE, 0), ack(GO)]],
    [
      'does not end its replies',
      [GREETING, ack(STRUCTURED), ...new Array<Buffer>(65).fill(exportReply(SIZE))],
    ],
    [
      'has blocks that are no power of two',
      [GREETING, ack(STRUCTURED), exportReply(SIZE), blockSizes(3, 4096, 65536), ack(GO)],
    ],
    [
      'has blocks of nothing',
      [GREETING, ack(STRUCTURED), exportReply(SIZE), blockSizes(0, 4096, 65536), ack(GO)],
    ],
    [
      'has larger blocks than there may be',
      [GREETING, ack(STRUCTURED), exportReply(SIZE), blockSizes(2 ** 17, 2 ** 17, 2 ** 25), ack(GO)],
    ],
    [
      'prefers smaller blocks than it takes',
      [GREETING, ack(STRUCTURED), exportReply(SIZE), blockSizes(4096, 512, 65536), ack(GO)],
    ],
    [
      'takes next to nothing at once',
      [GREETING, ack(STRUCTURED), exportReply(SIZE), blockSizes(1, 4096, 100), ack(GO)],
    ],
    [
      'has an end that no request could reach',
      [GREETING, ack(STRUCTURED), exportReply(SIZE + 512), blockSizes(4096, 4096, 65536), ack(GO)],
    ],
  ])('is refused where it %s', async (_how, bytes) => {
    expect((await refusal({}, saying(...bytes))).code).toBe('BACKEND_PROTOCOL');
  });

  it('is refused where it says nothing', async () => {
    const error = await refusal({}, saying(), 50);
    expect([error.code, error.message]).toEqual([
      'BACKEND_MISSING',
      'cannot reach the NBD server: the server does not answer',
    ]);
  });

  it.each([
    ['at once', Buffer.alloc(0)],
    ['in the middle of its greeting', GREETING.subarray(0, 9)],
    ['in the middle of a reply', Buffer.concat([GREETING, ack(STRUCTURED).subarray(0, 12)])],
  ])('is refused where it hangs up %s', async (_when, bytes) => {
    const error = await refusal({}, (server) => {
      server.onConnect = (socket) => {
        socket.end(bytes);
        return true;
      };
    });
    expect(error.code).toBe('BACKEND_MISSING');
  });

  it.each([
    ['oldstyle', Buffer.concat([Buffer.from('NBDMAGIC'), u32(0x00000042), u32(0x02818612), u64(SIZE)])],
    ['newstyle that is not fixed', Buffer.concat([Buffer.from('NBDMAGICIHAVEOPT'), u16(0)])],
  ])('is refused where it speaks %s', async (_how, bytes) => {
    expect((await refusal({}, saying(bytes))).code).toBe('NOT_SUPPORTED');
  });
});

describe('a server that says no', () => {
  const no = (type: number, text = '') => [
    GREETING,
    ack(STRUCTURED),
    optionReply(GO, 0x8000_0000 + type, Buffer.from(text)),
  ];

  it.each<[string, number, string]>([
    ['has no such export', 6, 'BACKEND_MISSING'],
    ['wants encryption', 5, 'NOT_SUPPORTED'],
    ['does not know NBD_OPT_GO', 1, 'NOT_SUPPORTED'],
    ['does not want to', 2, 'BACKEND_REFUSED'],
    ['is shutting down', 7, 'BACKEND_REFUSED'],
    ['says something new', 0x7fff, 'BACKEND_REFUSED'],
  ])('since it %s is understood', async (_why, type, code) => {
    expect((await refusal({}, saying(...no(type)))).code).toBe(code);
  });

  it('is quoted, without what could move a terminal’s cursor', async () => {
    const error = await refusal({}, saying(...no(2, 'ask \u001b[2Jyour\u0007 admin\n')));
    expect(error.message).toBe('the NBD server refuses the default export: ask  [2Jyour  admin');
  });

  it.each([
    ['encryption', 0x8000_0005, 'NOT_SUPPORTED'],
    ['to be left alone', 0x8000_0007, 'BACKEND_REFUSED'],
  ])('and wants %s is not asked further', async (_what, type, code) => {
    const error = await refusal({}, saying(GREETING, optionReply(STRUCTURED, type, Buffer.alloc(0))));
    expect(error.code).toBe(code);
  });
});

describe('an export', () => {
  it('is found by its name', async () => {
    const server = await NbdServer.start({ sizeBytes: SIZE, exportName: 'größe/1' });
    const backend = await openNbdBackend({ uri: server.uri, log: () => {} });
    expect(backend.sizeBytes).toBe(SIZE);
    await backend.close();
    const other = server.uri.replace(/nbd\+unix:\/\/\/[^?]*/, 'nbd+unix:///other');
    expect((await refusedBy(other)).code).toBe('BACKEND_MISSING');
  });

  it.each([0, 511, 513, 2 ** 60])('of %d bytes is refused', async (advertisedBytes) => {
    expect((await refusal({ advertisedBytes })).code).toBe('SIZE_INVALID');
  });

  it('that is nowhere is missing', async () => {
    expect((await refusedBy('nbd+unix:///x?socket=/nonexistent/nbd.sock')).code).toBe('BACKEND_MISSING');
  });

  it('can do what its server says, and no more', async () => {
    const server = await NbdServer.start({
      sizeBytes: SIZE,
      flags: Flag.HAS_FLAGS,
      blockSizes: [1, 65536, 65536],
    });
    const backend = await openNbdBackend({ uri: server.uri, log: () => {} });
    expect(backend.limits).toMatchObject({
      readOnly: false,
      physicalBlockBytes: 4096,
      minimumIoBytes: 65536,
      discard: undefined,
      writeZeroes: { mayUnmap: false },
    });
    await backend.close();
  });

  it('has several connections only where its server shares what it caches among them', async () => {
    for (const [flags, connections] of [
      [ALL_FLAGS, 4],
      [ALL_FLAGS & ~Flag.MULTI_CONN, 1],
    ]) {
      const server = await NbdServer.start({ sizeBytes: SIZE, flags });
      const backend = await NbdBackend.open({ uri: server.uri, log: () => {} });
      // The others follow the first; a request more than there are connections shows them all.
      while (backend.connections < connections) await new Promise((resolve) => setImmediate(resolve));
      await Promise.all([0, 1, 2, 3, 4, 5].map((i) => readBack(backend, i * 512, 512)));
      expect([backend.connections, server.connections]).toEqual([connections, connections]);
      const alone = server.alone();
      await backend.close();
      await alone;
      expect(server.goodbyes).toBe(connections);
    }
  });

  it.each([0, 17, 1.5])('cannot be reached by %d connections', async (connections) => {
    const options = { uri: 'nbd://localhost', connections, log: () => {} };
    await expect(NbdBackend.open(options)).rejects.toThrow(RangeError);
  });

  it('is reached by TCP with a port', async () => {
    const server = await NbdServer.start({ sizeBytes: SIZE, tcp: true });
    const backend = await openNbdBackend({ uri: server.uri, log: () => {} });
    expect(await put(backend, 0, pattern(1024, 1))).toBe(0);
    expect(server.cache.subarray(0, 1024).equals(pattern(1024, 1))).toBe(true);
    await backend.close();
  });

  it('is sent requests of the sizes that it takes', async () => {
    const server = await NbdServer.start({ sizeBytes: SIZE, blockSizes: [4096, 4096, 8192] });
    const backend = await openNbdBackend({ uri: server.uri, log: () => {} });
    const bytes = pattern(24 * 1024, 3);
    expect(await put(backend, 512, bytes)).toBe(0);
    expect((await readBack(backend, 512, bytes.length)).equals(bytes)).toBe(true);
    expect(server.requests.length).toBeGreaterThan(6);
    for (const { offset, length, command } of server.requests) {
      expect([offset % 4096, length % 4096]).toEqual([0, 0]);
      if (command === Command.READ || command === Command.WRITE) expect(length).toBeLessThanOrEqual(8192);
    }
    await backend.close();
  });
});
