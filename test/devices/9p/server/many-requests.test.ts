/** THREATS: memory exhaustion by a guest. More requests than are served at a time. */
import { describe, expect, it } from 'vitest';
import { Errno } from '../../../../devices/errno.js';
import { REQUESTS_MAX } from '../../../../devices/9p/server/server.js';
import { IoVector } from '../../../../devices/io-vector.js';
import { clientWithFile } from './support/client.js';
import { NOTAG, T } from './support/wire.js';

describe('many requests', () => {
  it('over the limit wait their turn, in order', async () => {
    const client = await clientWithFile();
    const gate = client.fs.gate('read');
    const reads = Array.from({ length: REQUESTS_MAX + 50 }, (_, i) => client.call(T.read(i, 2, 0, 5)));
    await gate.arrived;
    expect(gate.waiting).toBe(REQUESTS_MAX);
    const attributes = client.call(T.getattr(5000, 0));
    expect(client.pending).toBe(REQUESTS_MAX + 51);
    gate.open();
    const replies = await Promise.all(reads);
    expect(replies.every(({ type }) => type === 117)).toBe(true);
    expect((await attributes).type).toBe(25);
    const late = client.order.map(({ tag }) => tag).filter((tag) => tag >= REQUESTS_MAX && tag !== NOTAG);
    expect(late).toEqual([...Array.from({ length: 50 }, (_, i) => REQUESTS_MAX + i), 5000]);
    await client.expectNoLeaks();
  });

  it('that come while one ends take no other’s turn', async () => {
    const client = await clientWithFile();
    const gate = client.fs.gate('read');
    const later: Promise<unknown>[] = [];
    const reads = Array.from({ length: REQUESTS_MAX }, (_, i) => client.call(T.read(i, 2, 0, 5)));
    await gate.arrived;
    const late = client.call(T.getattr(500, 0));
    client.onDone = (tag) => {
      if (tag === 0) later.push(client.call(T.getattr(501, 0)));
    };
    gate.open();
    await Promise.all([...reads, late]);
    await Promise.all(later);
    const order = client.order.map(({ tag }) => tag);
    expect(order.indexOf(501)).toBeGreaterThan(order.indexOf(500));
    await client.expectNoLeaks();
  });

  it('that wait their turn are taken out by Tflush, which does not wait: no reply, and then Rflush', async () => {
    const client = await clientWithFile();
    const gate = client.fs.gate('read');
    const reads = Array.from({ length: REQUESTS_MAX }, (_, i) => client.call(T.read(i, 2, 0, 5)));
    await gate.arrived;
    const [first, middle, last] = [500, 501, 502].map((tag) => client.send(T.getattr(tag, 0)));
    await client.ok(T.flush(600, 501));
    expect(await middle).toHaveLength(0);
    await client.ok(T.flush(601, 502));
    expect(await last).toHaveLength(0);
    const after = client.send(T.getattr(503, 0));
    await client.ok(T.flush(602, 501));
    expect(client.order.slice(-5)).toEqual([
      { tag: 501, type: 0 },
      { tag: 600, type: 109 },
      { tag: 502, type: 0 },
      { tag: 601, type: 109 },
      { tag: 602, type: 109 },
    ]);
    await client.ok(T.flush(603, 500));
    expect(await first).toHaveLength(0);
    gate.open();
    await Promise.all(reads);
    expect(await after).toHaveLength(160);
    await client.expectNoLeaks();
  });

  it('that all wait for something that never happens are ended by Tflush, one by one', async () => {
    const client = await clientWithFile();
    client.fs.root.entries.get('file')!.target = 'blocks';
    const reads = Array.from({ length: REQUESTS_MAX }, (_, i) => client.send(T.read(i, 2, 0, 5)));
    const late = client.call(T.getattr(500, 0));
    for (let i = 0; i < REQUESTS_MAX; i++) await client.ok(T.flush(1000 + i, i));
    for (const read of reads) expect(await read).toHaveLength(0);
    expect((await late).type).toBe(25);
    await client.expectNoLeaks();
  });

  it('that all wait for something that never happens, and those behind them, are ended by Tversion', async () => {
    const client = await clientWithFile();
    client.fs.root.entries.get('file')!.target = 'blocks';
    const reads = Array.from({ length: REQUESTS_MAX }, (_, i) => client.call(T.read(i, 2, 0, 5)));
    const late = client.send(T.getattr(500, 0));
    await client.ok(T.version(NOTAG, 8192, '9P2000.L'));
    for (const read of reads) expect((await read).errno).toBe(Errno.EINTR);
    expect(await late).toHaveLength(0);
    expect(client.server.statistics.fids).toBe(0);
    await client.start();
    await client.expectNoLeaks();
  });

  it('of them too many Tflush wait their turn as well: what they take up is bounded', async () => {
    const client = await clientWithFile();
    const gate = client.fs.gate('read');
    const reads = Array.from({ length: REQUESTS_MAX }, (_, i) => client.call(T.read(i, 2, 0, 5)));
    await gate.arrived;
    const startedBefore = client.server.statistics.requests;
    const flushes = Array.from({ length: 300 }, (_, i) => client.call(T.flush(1000 + i, i % REQUESTS_MAX)));
    expect(client.server.statistics.requests - startedBefore).toBeLessThan(100);
    gate.open();
    expect((await Promise.all(flushes)).every(({ type }) => type === 109)).toBe(true);
    await Promise.all(reads);
    await client.expectNoLeaks();
  });

  it('that each end at once need no stack', async () => {
    const client = await clientWithFile();
    const gate = client.fs.gate('read');
    const reads = Array.from({ length: REQUESTS_MAX }, (_, i) => client.call(T.read(i, 2, 0, 5)));
    await gate.arrived;
    const request = new IoVector();
    const bytes = T.getattr(1000, 0);
    request.push(bytes, 0, bytes.length, 0);
    const reply = new IoVector();
    reply.push(new Uint8Array(160), 0, 160, 0);
    const replyBytes: number[] = [];
    const done = (_token: undefined, count: number) => replyBytes.push(count);
    for (let i = 0; i < 50_000; i++) client.server.handle(request, reply, done, undefined);
    gate.open();
    await Promise.all(reads);
    expect(replyBytes).toHaveLength(50_000);
    expect(replyBytes.every((count) => count === 160)).toBe(true);
    await client.expectNoLeaks();
  });

  it('reach the transport once each even where it throws', async () => {
    const client = await clientWithFile();
    const request = new IoVector();
    const bytes = T.getattr(1, 0);
    request.push(bytes, 0, bytes.length, 0);
    let calls = 0;
    client.server.handle(
      request,
      new IoVector(),
      () => {
        calls++;
        throw new Error('the transport is broken');
      },
      undefined,
    );
    expect([calls, client.log.length]).toEqual([1, 1]);
    expect(await client.errno(T.getattr(1, 0))).toBe(0);
  });
});
