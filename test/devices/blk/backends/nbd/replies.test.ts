/** What a server may send once it has let us in, and what it may not. */
import { describe, expect, it } from 'vitest';
import type { BlockBackend } from '../../../../../devices/blk/backends/block-backend.js';
import { openNbdBackend } from '../../../../../devices/blk/backends/nbd/open-nbd.js';
import { Errno } from '../../../../../devices/errno.js';
import { ended, flushed, pattern, put, readBack, vectorOver } from '../../support/vectors.js';
import {
  Command,
  NbdServer,
  u16,
  u32,
  u64,
  type Request,
  type ServerOptions,
  type Session,
} from './nbd-server.js';

const SIZE = 1 << 16;
const LENGTH = 4096;
const DONE = 1;

type Answer = (request: Request, session: Session) => void;

/** A disk whose server gives `answer` to the first request of `command`, and then behaves. */
async function diskOn(
  answer: Answer,
  options: Partial<ServerOptions> = {},
  command: number = Command.READ,
): Promise<{ server: NbdServer; backend: BlockBackend; logs: string[] }> {
  const server = await NbdServer.start({ sizeBytes: SIZE, ...options });
  server.cache.set(pattern(SIZE, 1));
  let answered = false;
  server.intercept = (request, session) => {
    if (answered || request.command !== command) return false;
    answered = true;
    answer(request, session);
    return true;
  };
  const logs: string[] = [];
  const backend = await openNbdBackend({ uri: server.uri, connections: 1, log: (line) => logs.push(line) });
  return { server, backend, logs };
}

/** The result of a read at 4096, whose memory lies between guards that stay as they are. */
async function guardedRead(backend: BlockBackend): Promise<{ result: number; bytes: Buffer }> {
  const memory = new Uint8Array(3 * LENGTH).fill(0x5a);
  const inside = memory.subarray(LENGTH, 2 * LENGTH);
  const result = await ended((done) => backend.read(4096, vectorOver(inside, [100, 1000]), done));
  const guards = Buffer.concat([memory.subarray(0, LENGTH), memory.subarray(2 * LENGTH)]);
  expect(guards.every((byte) => byte === 0x5a)).toBe(true);
  return { result, bytes: Buffer.from(inside) };
}

const data = (offset: number, bytes: Uint8Array) => Buffer.concat([u64(offset), bytes]);
const hole = (offset: number, length: number) => Buffer.concat([u64(offset), u32(length)]);
const content = Buffer.from(pattern(SIZE, 1)).subarray(4096, 4096 + LENGTH);

describe('a structured reply', () => {
  it.each<[string, Answer, Buffer]>([
    [
      'with all data in its last chunk',
      (request, session) => session.chunk(request, DONE, 1, data(4096, content)),
      content,
    ],
    [
      'with chunks in any order and of any length',
      (request, session) => {
        session.chunk(request, 0, 1, data(4096 + 4095, content.subarray(4095)));
        session.chunk(request, 0, 1, data(4096, content.subarray(0, 1)));
        session.chunk(request, 0, 2, hole(4096 + 1, 2000));
        session.chunk(request, 0, 1, data(4096 + 2001, content.subarray(2001, 4095)));
        session.chunk(request, DONE, 0, Buffer.alloc(0));
      },
      Buffer.concat([content.subarray(0, 1), Buffer.alloc(2000), content.subarray(2001)]),
    ],
    [
      'that is one hole',
      (request, session) => session.chunk(request, DONE, 2, hole(4096, LENGTH)),
      Buffer.alloc(LENGTH),
    ],
    [
      'with flags that nobody knows',
      (request, session) => session.chunk(request, 0xffff, 1, data(4096, content)),
      content,
    ],
  ])('%s is understood', async (_how, answer, expected) => {
    const { backend } = await diskOn(answer);
    const { result, bytes } = await guardedRead(backend);
    expect([result, bytes.equals(expected)]).toEqual([0, true]);
    await backend.close();
  });

  it('that arrives byte by byte is understood', async () => {
    const { backend } = await diskOn((request, session) => {
      const parts: Buffer[] = [];
      const socket = { write: (bytes: Buffer) => parts.push(bytes) };
      for (const [flags, type, payload] of [
        [0, 2, hole(4096, 512)],
        [DONE, 1, data(4096 + 512, content.subarray(512))],
      ] as const) {
        socket.write(
          Buffer.concat([
            u32(0x668e33ef),
            u16(flags),
            u16(type),
            request.cookie,
            u32(payload.length),
            payload,
          ]),
        );
      }
      const bytes = Buffer.concat(parts);
      for (let i = 0; i < 80; i++) session.socket.write(bytes.subarray(i, i + 1));
      session.socket.write(bytes.subarray(80));
    });
    const { result, bytes } = await guardedRead(backend);
    const expected = Buffer.concat([Buffer.alloc(512), content.subarray(512)]);
    expect([result, bytes.equals(expected)]).toEqual([0, true]);
    await backend.close();
  });
});

describe('a reply that breaks the protocol', () => {
  const whole = (request: Request, session: Session) => session.chunk(request, DONE, 1, data(4096, content));

  it.each<[string, Answer, string]>([
    ['has no magic', (_request, { socket }) => socket.write(Buffer.alloc(64)), 'no magic'],
    [
      'is for nobody',
      (request, session) =>
        session.chunk({ ...request, cookie: Buffer.alloc(8, 7) }, DONE, 0, Buffer.alloc(0)),
      'for nobody',
    ],
    [
      'is for a slot beyond those in use',
      (request, session) => {
        const cookie = Buffer.from(request.cookie);
        cookie.writeUInt32BE(0xffff_ffff, 4);
        session.chunk({ ...request, cookie }, DONE, 0, Buffer.alloc(0));
      },
      'for nobody',
    ],
    [
      'comes a second time',
      (request, session) => {
        whole(request, session);
        whole(request, session);
      },
      'for nobody',
    ],
    ['is simple, and for a read', (request, session) => session.simple(request, 0, content), 'simple reply'],
    ['is a simple error, and for a read', (request, session) => session.simple(request, 5), 'simple reply'],
    [
      'has data before what was asked for',
      (request, session) => session.chunk(request, DONE, 1, data(4095, content)),
      'outside',
    ],
    [
      'has data behind what was asked for',
      (request, session) => session.chunk(request, DONE, 1, data(4097, content)),
      'outside',
    ],
    [
      'has data at 2^64',
      (request, session) =>
        session.chunk(request, DONE, 1, Buffer.concat([Buffer.alloc(8, 0xff), content.subarray(1)])),
      'outside',
    ],
    [
      'has more data than was asked for',
      (request, session) => session.chunk(request, DONE, 1, data(4096, Buffer.alloc(LENGTH + 1))),
      'more data',
    ],
    [
      'says it has 4 GiB',
      (request, { socket }) =>
        socket.write(Buffer.concat([u32(0x668e33ef), u16(1), u16(1), request.cookie, u32(0xffff_ffff)])),
      'more data',
    ],
    ['has data of no length', (request, session) => session.chunk(request, DONE, 1, u64(4096)), 'no sense'],
    ['has data without an offset', (request, session) => session.chunk(request, DONE, 1, u32(0)), 'no sense'],
    [
      'has a hole of no length',
      (request, session) => session.chunk(request, DONE, 2, hole(4096, 0)),
      'outside',
    ],
    [
      'has a hole that is too long',
      (request, session) => session.chunk(request, DONE, 2, hole(4096, 0xffff_ffff)),
      'outside',
    ],
    [
      'has a hole in the wrong form',
      (request, session) => session.chunk(request, DONE, 2, Buffer.alloc(13)),
      'no sense',
    ],
    [
      'has a chunk over another',
      (request, session) => {
        session.chunk(request, 0, 2, hole(4096, 1024));
        session.chunk(request, DONE, 1, data(4096 + 512, content.subarray(512)));
      },
      'overlap',
    ],
    [
      'ends without all the data',
      (request, session) => {
        session.chunk(request, 0, 1, data(4096, content.subarray(0, 4000)));
        session.chunk(request, DONE, 0, Buffer.alloc(0));
      },
      'without all of its data',
    ],
    [
      'ends without any data',
      (request, session) => session.chunk(request, DONE, 0, Buffer.alloc(0)),
      'without all of its data',
    ],
    [
      'has an empty chunk that is not the last',
      (request, session) => session.chunk(request, 0, 0, Buffer.alloc(0)),
      'empty chunk',
    ],
    [
      'has an empty chunk that is not empty',
      (request, session) => session.chunk(request, DONE, 0, Buffer.alloc(4)),
      'empty chunk',
    ],
    [
      'has a chunk of another command',
      (request, session) => session.chunk(request, DONE, 5, Buffer.alloc(12)),
      'unknown type',
    ],
    [
      'has a chunk that nobody knows',
      (request, session) => session.chunk(request, DONE, 0x7fff, Buffer.alloc(0)),
      'unknown type',
    ],
    [
      'has an error too short to be one',
      (request, session) => session.chunk(request, DONE, 0x8001, u32(5)),
      'wrong length',
    ],
    [
      'has an error too long to be one',
      (request, session) => session.chunk(request, DONE, 0x8001, Buffer.alloc(8192)),
      'wrong length',
    ],
    [
      'has an error with more text than there is',
      (request, session) => session.chunk(request, DONE, 0x8001, Buffer.concat([u32(5), u16(3), u16(0)])),
      'longer than itself',
    ],
    [
      'has an error without room for its offset',
      (request, session) => session.chunk(request, DONE, 0x8002, Buffer.concat([u32(5), u16(1), u32(0)])),
      'longer than itself',
    ],
    [
      'has an error that is none',
      (request, session) => session.chunk(request, DONE, 0x8001, Buffer.concat([u32(0), u16(0)])),
      'is none',
    ],
  ])('since it %s costs the request and the connection, and nothing else', async (_how, answer, reason) => {
    const { backend, logs, server } = await diskOn(answer);
    const { result } = await guardedRead(backend);
    // A second reply finds the first one's request done.
    expect([0, -Errno.EIO]).toContain(result);
    const again = await guardedRead(backend);
    expect([again.result, again.bytes.equals(content)]).toEqual([0, true]);
    expect(logs[0]).toContain(reason);
    expect(server.connections).toBe(2);
    await backend.close();
  });

  it('that is structured, where that was not agreed on, is refused', async () => {
    const { backend, logs } = await diskOn(
      (request, session) => session.chunk(request, DONE, 1, data(4096, content)),
      { structured: false },
    );
    expect((await guardedRead(backend)).result).toBe(-Errno.EIO);
    expect(logs[0]).toContain('no magic');
    await backend.close();
  });

  it('of a write that has data is refused', async () => {
    const { backend, logs } = await diskOn(
      (request, session) => session.chunk(request, DONE, 1, data(4096, content)),
      {},
      Command.WRITE,
    );
    expect(await put(backend, 4096, pattern(512, 3))).toBe(-Errno.EIO);
    expect(logs[0]).toContain('no sense');
    await backend.close();
  });
});

describe('an error of the server', () => {
  it.each([
    ['EPERM', 1, Errno.EPERM],
    ['EIO', 5, Errno.EIO],
    ['ENOMEM', 12, Errno.ENOMEM],
    ['EINVAL', 22, Errno.EINVAL],
    ['ENOSPC', 28, Errno.ENOSPC],
    ['EOVERFLOW', 75, Errno.EOVERFLOW],
    ['ENOTSUP', 95, Errno.EOPNOTSUPP],
    ['one that it should not send', 11, Errno.EIO],
    ['no number of an error', 0xffff_ffff, Errno.EIO],
  ])('%s fails the request, and the connection goes on', async (_name, error, errno) => {
    for (const structured of [true, false]) {
      const answer: Answer = (request, session) => session.simpleOrError(request, error);
      const { backend, server } = await diskOn(answer, { structured });
      expect((await guardedRead(backend)).result).toBe(-errno);
      expect((await readBack(backend, 4096, LENGTH)).equals(content)).toBe(true);
      expect(server.connections).toBe(1);
      await backend.close();
    }
  });

  it('of a kind that nobody knows fails the request', async () => {
    const { backend } = await diskOn((request, session) =>
      session.chunk(
        request,
        DONE,
        0xc123,
        Buffer.concat([u32(0), u16(4), Buffer.from('what'), Buffer.alloc(40)]),
      ),
    );
    expect((await guardedRead(backend)).result).toBe(-Errno.EIO);
    expect((await guardedRead(backend)).result).toBe(0);
    await backend.close();
  });

  it('with an offset fails a read, whatever data comes with it', async () => {
    const { backend } = await diskOn((request, session) => {
      session.chunk(request, 0, 1, data(4096, content));
      session.chunk(request, 0, 0x8002, Buffer.concat([u32(5), u16(2), Buffer.from('no'), u64(4096 + 100)]));
      session.chunk(request, DONE, 0x8002, Buffer.concat([u32(28), u16(0), u64(4096 + 200)]));
    });
    expect((await guardedRead(backend)).result).toBe(-Errno.EIO);
    await backend.close();
  });

  it.each([
    ['write', Command.WRITE, (backend: BlockBackend) => put(backend, 0, pattern(512, 1))],
    ['flush', Command.FLUSH, (backend: BlockBackend) => flushed(backend)],
    ['discard', Command.TRIM, (backend: BlockBackend) => ended((done) => backend.discard(0, 512, done))],
    [
      'write of zeroes',
      Command.ZEROES,
      (backend: BlockBackend) => ended((done) => backend.writeZeroes(0, 512, true, done)),
    ],
  ])('fails a %s', async (_what, command, call) => {
    const { backend } = await diskOn((request, session) => session.simpleOrError(request, 28), {}, command);
    expect(await call(backend)).toBe(-Errno.ENOSPC);
    expect(await call(backend)).toBe(0);
    await backend.close();
  });
});
