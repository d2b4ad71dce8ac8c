/** THREATS: memory exhaustion by a guest. More requests than are served at a time. */
import { describe, expect, it } from 'vitest';
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

  it('that come while one ends take no other’s turn: a Tflush stays behind the request it is about', async () => {
    const client = await clientWithFile();
    const gate = client.fs.gate('read');
    const flushes: Promise<unknown>[] = [];
    const reads = Array.from({ length: REQUESTS_MAX }, (_, i) => client.call(T.read(i, 2, 0, 5)));
    await gate.arrived;
    const late = client.call(T.getattr(500, 0));
    client.onDone = (tag) => {
      if (tag === 0) flushes.push(client.call(T.flush(501, 500)));
    };
    gate.open();
    await Promise.all([...reads, late]);
    await Promise.all(flushes);
    const order = client.order.map(({ tag }) => tag);
    expect(order.indexOf(501)).toBeGreaterThan(order.indexOf(500));
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
