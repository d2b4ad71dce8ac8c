import { describe, expect, it } from 'vitest';
import { VirtioTransport9p } from '../../../guest/9p/virtio-transport.js';
import { BufferPool } from '../../../guest/memory/buffer-pool.js';
import { GuestRam, PAGE_SIZE } from '../../../guest/memory/ram.js';
import type { DriverQueue, QueueRequest } from '../../../guest/virtio/queue.js';

/** A queue that keeps what it is given until the test completes it. */
function setUp(options: { capacity?: number; pages?: number } = {}) {
  const { capacity = 3, pages = 64 } = options;
  const ram = new GuestRam(new Uint8Array(pages * PAGE_SIZE));
  const out: QueueRequest[] = [];
  let broken = false;
  const queue: DriverQueue = {
    index: 0,
    size: capacity,
    addresses: { descriptorArea: 0, driverArea: 0, deviceArea: 0 },
    maxBuffers: 2,
    capacity: () => capacity,
    get broken() {
      return broken;
    },
    add: (request) => !broken && out.push(request) > 0,
    collect: () => true,
    abort: () => {},
    close: () => {},
  };
  const pool = new BufferPool(ram);
  let closed = 0;
  const transport = new VirtioTransport9p(queue, pool, 512_000, async () => void closed++);
  return { ram, pool, transport, out, break: () => (broken = true), closed: () => closed };
}

async function state(promise: Promise<unknown>): Promise<'pending' | 'settled'> {
  let result: 'pending' | 'settled' = 'pending';
  void promise.then(
    () => (result = 'settled'),
    () => (result = 'settled'),
  );
  for (let i = 0; i < 5; i++) await Promise.resolve();
  return result;
}

describe('an exchange', () => {
  it('offers the device the request to read and the room for the reply to write', async () => {
    const { transport, out } = setUp();
    const exchange = await transport.acquire(100, 9000);
    exchange.request.bytes[0] = 42;
    const reply = exchange.send(23, 0);
    const [request] = out;
    expect(request.count).toBe(2);
    expect(request.readableCount).toBe(1);
    expect(request.lengths).toEqual([23, 4 * PAGE_SIZE]);
    expect(exchange.replyCapacity).toBe(4 * PAGE_SIZE);
    request.complete(7);
    expect(await reply).toBe(7);
  });

  it('is rejected with the errno that the queue aborts it with', async () => {
    const { transport, out } = setUp();
    const reply = (await transport.acquire(1, 1)).send(7, 0);
    out[0].complete(-19);
    await expect(reply).rejects.toMatchObject({ code: 'ENODEV' });
  });

  it('is rejected with EIO where the ring is broken', async () => {
    const { transport, break: breakQueue } = setUp();
    const exchange = await transport.acquire(1, 1);
    breakQueue();
    await expect(exchange.send(7, 0)).rejects.toMatchObject({ code: 'EIO' });
  });

  it('keeps its buffers from use while the device has them, though it was cancelled and released', async () => {
    const { transport, out, ram, pool } = setUp();
    const before = ram.freeBytes;
    const exchange = await transport.acquire(1, 1);
    void exchange.send(7, 0);
    exchange.cancel();
    exchange.release();
    pool.close();
    expect(ram.freeBytes).toBe(before - 2 * PAGE_SIZE);
    out[0].complete(0);
    expect(ram.freeBytes).toBe(before);
  });
});

describe('acquiring', () => {
  it('waits while the ring is full, and is served first come, first served', async () => {
    const { transport } = setUp({ capacity: 2 });
    const held = await transport.acquire(1, 1);
    const order: string[] = [];
    const first = Promise.resolve(transport.acquire(1, 1)).then((exchange) => {
      order.push('first');
      exchange.release();
    });
    const second = Promise.resolve(transport.acquire(1, 1)).then(() => order.push('second'));
    expect(await state(first)).toBe('pending');
    held.release();
    await Promise.all([first, second]);
    expect(order).toEqual(['first', 'second']);
  });

  it('keeps a place for flushes', async () => {
    const { transport } = setUp({ capacity: 2 });
    await transport.acquire(1, 1);
    const ordinary = Promise.resolve(transport.acquire(1, 1));
    const urgent = Promise.resolve(transport.acquire(1, 1, undefined, true));
    expect(await state(ordinary)).toBe('pending');
    expect(await state(urgent)).toBe('settled');
  });

  it('works with a ring of one', async () => {
    const { transport } = setUp({ capacity: 1 });
    const exchange = await transport.acquire(1, 1);
    const next = Promise.resolve(transport.acquire(1, 1));
    expect(await state(next)).toBe('pending');
    exchange.release();
    expect(await state(next)).toBe('settled');
  });

  it('waits for RAM that others hold', async () => {
    const { transport } = setUp({ pages: 6 });
    const held = await transport.acquire(2 * PAGE_SIZE, 1);
    const next = Promise.resolve(transport.acquire(4 * PAGE_SIZE, 1));
    expect(await state(next)).toBe('pending');
    held.release();
    expect((await next).request.bytes.byteLength).toBe(4 * PAGE_SIZE);
  });

  it('is ENOMEM where there is not that much RAM at all, at once or after others are done', async () => {
    const { transport } = setUp({ pages: 6 });
    expect(() => transport.acquire(16 * PAGE_SIZE, 1)).toThrow(expect.objectContaining({ code: 'ENOMEM' }));
    const held = await transport.acquire(1, 1);
    const hopeless = Promise.resolve(transport.acquire(16 * PAGE_SIZE, 1));
    const rejected = expect(hopeless).rejects.toMatchObject({ code: 'ENOMEM' });
    held.release();
    await rejected;
    await transport.acquire(1, 1);
  });

  it('ends with the signal’s reason, and whoever is next moves up', async () => {
    const { transport } = setUp({ capacity: 2 });
    const held = await transport.acquire(1, 1);
    const abort = new AbortController();
    const first = Promise.resolve(transport.acquire(1, 1, abort.signal));
    const second = Promise.resolve(transport.acquire(1, 1));
    abort.abort(new Error('enough'));
    await expect(first).rejects.toThrow('enough');
    held.release();
    await second;
  });

  it('fails for all who wait, and all who come, once the transport failed', async () => {
    const { transport } = setUp({ capacity: 2 });
    await transport.acquire(1, 1);
    const waiting = Promise.resolve(transport.acquire(1, 1));
    transport.fail('ENODEV');
    await expect(waiting).rejects.toMatchObject({ code: 'ENODEV' });
    expect(() => transport.acquire(1, 1)).toThrow(expect.objectContaining({ code: 'ENODEV' }));
  });
});

it('closing a transport resets its device and fails who waits with EIO', async () => {
  const { transport, closed } = setUp({ capacity: 2 });
  await transport.acquire(1, 1);
  const waiting = expect(Promise.resolve(transport.acquire(1, 1))).rejects.toMatchObject({ code: 'EIO' });
  await transport.close();
  await waiting;
  expect(closed()).toBe(1);
});
