import { describe, expect, it } from 'vitest';
import { CORPORA, fuzzPlan, randomFrom } from '../../devices/9p/server/support/fuzzer.js';
import { NOFID, NOTAG, T, u32 } from '../../devices/9p/server/support/wire.js';
import { PATIENTLY } from '../patiently.js';
import { temporaryFolders } from '../temporary-folder.js';
import { ExportUnderTest } from './export-under-test.js';

const folder = temporaryFolders();

/** A session with a walk, an open, a write, a read and a listing. */
const SESSION = Buffer.concat([
  T.version(NOTAG, 8192, '9P2000.L'),
  T.attach(1, 0, NOFID, 'user', '', 0),
  T.walk(1, 0, 1, 'file'),
  T.lopen(2, 1, 2),
  T.write(3, 1, 0, new Uint8Array(300).fill(7)),
  T.read(4, 1, 0, 100),
  T.walk(5, 0, 2),
  T.lopen(6, 2, 0),
  T.readdir(7, 2, 0, 1000),
]);
const SESSION_REPLIES = 9;

describe('a client of an export', () => {
  it.each([
    ['less than a header', [...u32(6), 100, 0, 0]],
    ['0', [0, 0, 0, 0]],
    ['one byte more than msize', [...u32(65_537), 118]],
    ['2^32 - 1', [255, 255, 255, 255, 116]],
  ])('that sends a message size of %s is cut off, and no other', async (_, bytes) => {
    const server = new ExportUnderTest(folder());
    const [bad, good] = [await server.attached(), await server.attached()];
    bad.send(Uint8Array.from(bytes));
    await bad.closed;
    expect((await good.call(T.getattr(1, 0))).type).toBe(25);
    await server.expectCleanEnd();
  });

  it('may leave after any byte of a session, which leaves nothing', async () => {
    const server = new ExportUnderTest(folder());
    server.memory.file('file', 'hello');
    for (let length = 0; length < SESSION.length; length += length < 200 ? 1 : 37) {
      const socket = await server.socket();
      socket.end(SESSION.subarray(0, length));
    }
    await expect.poll(() => server.server.connections, PATIENTLY).toBe(0);
    expect(server.memory.liveNodes + server.memory.liveFiles).toBe(0);
    await server.expectCleanEnd();
  });

  it('is served if its bytes come in pieces of any size', async () => {
    const server = new ExportUnderTest(folder());
    server.memory.file('file', 'hello');
    for (const piece of [1, 3, 7, 64]) {
      const client = await server.client();
      client.socket.setNoDelay(true);
      for (let at = 0; at < SESSION.length; at += piece) {
        client.socket.write(SESSION.subarray(at, at + piece));
        await new Promise(setImmediate);
      }
      for (let i = 0; i < SESSION_REPLIES; i++) expect((await client.next()).type).not.toBe(7);
    }
    await server.expectCleanEnd();
  });

  it('that leaves a message unfinished, or never begins one, is cut off after a while; one that only waits is not', async () => {
    const server = new ExportUnderTest(folder(), { patienceMs: 200 });
    const idle = await server.attached();
    const silent = await server.client();
    const slow = await server.attached();
    const dripping = setInterval(() => slow.socket.write(Uint8Array.of(1)), 20);
    slow.send(Uint8Array.from(u32(60_000)));
    await Promise.all([silent.closed, slow.closed]);
    clearInterval(dripping);
    expect((await idle.call(T.getattr(1, 0))).type).toBe(25);
    await server.expectCleanEnd();
  });

  it('that takes no replies is read from no more, until it does', async () => {
    const server = new ExportUnderTest(folder());
    server.memory.file('file', 'x'.repeat(60_000));
    const client = await server.attached();
    await client.call(T.walk(1, 0, 1, 'file'));
    await client.call(T.lopen(1, 1, 0));
    client.socket.pause();
    const reads = 600;
    for (let i = 0; i < reads; i++) client.send(T.read(10 + i, 1, 0, 60_000));
    const [session] = server.sessions;
    await expect.poll(() => session.statistics.requests, PATIENTLY).toBeGreaterThan(200);
    let before = -1;
    while (before !== session.statistics.requests) {
      before = session.statistics.requests;
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    // 256 requests at most are begun and not taken; a socket holds a few replies more.
    expect(before).toBeLessThan(300);
    client.socket.resume();
    for (let i = 0; i < reads; i++) expect((await client.next()).tag).toBe(10 + i);
    await server.expectCleanEnd();
  });

  it('that takes no replies and goes away is forgotten', async () => {
    const server = new ExportUnderTest(folder());
    server.memory.file('file', 'x'.repeat(60_000));
    const client = await server.attached();
    await client.call(T.walk(1, 0, 1, 'file'));
    await client.call(T.lopen(1, 1, 0));
    client.socket.pause();
    for (let i = 0; i < 1000; i++) client.send(T.read(10 + i, 1, 0, 60_000));
    await expect.poll(() => server.sessions[0].statistics.requests, PATIENTLY).toBeGreaterThan(200);
    client.socket.destroy();
    await expect.poll(() => server.server.connections, PATIENTLY).toBe(0);
    await server.expectCleanEnd();
  });

  it('that goes away with as many requests under way as it may have is forgotten at once', async () => {
    const server = new ExportUnderTest(folder());
    const client = await server.attached();
    const gate = server.memory.gate('getattr');
    client.send(...Array.from({ length: 600 }, (_, i) => T.getattr(10 + i, 0)));
    await gate.arrived;
    client.socket.destroy();
    await expect.poll(() => server.server.connections, PATIENTLY).toBe(0);
    gate.open();
    await server.expectCleanEnd();
  });

  it('may send whatever it likes', async () => {
    const { messages, seed } = fuzzPlan(6000);
    const random = randomFrom(seed);
    const server = new ExportUnderTest(folder());
    server.memory.file('file', 'hello');
    for (let sent = 0; sent < messages;) {
      const corpus = CORPORA[random(CORPORA.length)];
      const client = await server.client();
      client.send(...corpus.setup);
      for (let i = 0; i < 300; i++, sent++) {
        const message = Uint8Array.from(corpus.messages[random(corpus.messages.length)]);
        message[5] = random(256);
        if (random(3) === 0) message[7 + random(message.length - 7)] = random(256);
        if (random(400) === 0) message[random(4)] = random(256);
        client.send(message);
      }
      client.socket.end();
      client.socket.resume();
      await client.closed;
    }
    const after = await server.attached();
    expect((await after.call(T.getattr(1, 0))).type).toBe(25);
    await server.expectCleanEnd();
  });
});
