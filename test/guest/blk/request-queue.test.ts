/** Requests as bytes in guest memory, and devices that answer what they should not. */
import { describe, expect, it } from 'vitest';
import { BlockRequestQueue } from '../../../guest/blk/request-queue.js';
import { GuestError } from '../../../guest/errors.js';
import { BufferPool } from '../../../guest/memory/buffer-pool.js';
import { GuestRam, type RamRange } from '../../../guest/memory/ram.js';
import type { DriverQueue, QueueRequest } from '../../../guest/virtio/queue.js';

/** A queue that keeps requests for the test, as many as it has room for. */
class HeldQueue {
  readonly maxBuffers = 16;
  readonly requests: QueueRequest[] = [];
  room: number;

  constructor(room = 8) {
    this.room = room;
  }

  add(request: QueueRequest): boolean {
    if (this.requests.length >= this.room) return false;
    this.requests.push(request);
    return true;
  }
}

function setUp(rooms: readonly number[] = [8]) {
  const memory = new Uint8Array(1 << 20);
  const ram = new GuestRam(memory);
  const queues = rooms.map((room) => new HeldQueue(room));
  const pool = new BufferPool(ram);
  const requests = new BlockRequestQueue(pool, () => queues as unknown as DriverQueue[]);
  requests.setLimits(1 << 20, Infinity);
  const data = ram.allocate(8192) as RamRange;
  const readable = (request: QueueRequest) => {
    const parts = request.addresses.slice(0, request.readableCount);
    return Buffer.concat(parts.map((at, i) => memory.subarray(at, at + request.lengths[i])));
  };
  const finish = (request: QueueRequest, status: number, written: number) => {
    memory[request.addresses[request.count - 1]] = status;
    request.complete(written);
  };
  return { ram, memory, queues, queue: queues[0], pool, requests, data, readable, finish };
}

const failure = async (promise: Promise<void>): Promise<string> => {
  try {
    await promise;
  } catch (error) {
    if (error instanceof GuestError) return error.code;
    throw error;
  }
  return 'it succeeded';
};

describe('a request', () => {
  it('to write is header, data, and room for a status', async () => {
    const { queue, requests, data, readable, finish } = setUp();
    data.bytes.fill(0xab, 0, 1024);
    const done = requests.send(1, 0x1_2345_6789, { ram: data, lengthBytes: 1024, isIn: false });
    await Promise.resolve();
    const [request] = queue.requests;
    expect(request.lengths.slice(0, request.count)).toEqual([16, 1024, 1]);
    expect(request.readableCount).toBe(2);
    const bytes = readable(request);
    expect(bytes.subarray(0, 16).toString('hex')).toBe('01000000000000008967452301000000');
    expect(bytes.subarray(16).every((byte) => byte === 0xab)).toBe(true);
    finish(request, 0, 1);
    await done;
  });

  it('to read is a header, and room for data and a status', async () => {
    const { queue, requests, data, finish } = setUp();
    const done = requests.send(0, 7, { ram: data, lengthBytes: 512, isIn: true });
    await Promise.resolve();
    const [request] = queue.requests;
    expect([request.readableCount, ...request.lengths.slice(0, request.count)]).toEqual([1, 16, 512, 1]);
    expect(request.addresses[1]).toBe(data.address);
    finish(request, 0, 513);
    await done;
  });

  it('has buffers no larger than the disk takes', async () => {
    const { queue, requests, data } = setUp();
    requests.setLimits(1000, 3);
    expect(requests.maxDataBytes).toBe(2560);
    void requests.send(0, 0, { ram: data, lengthBytes: 2560, isIn: true });
    await Promise.resolve();
    const [request] = queue.requests;
    expect(request.lengths.slice(0, request.count)).toEqual([16, 1000, 1000, 560, 1]);
  });

  it.each([
    ['that it failed', 1, 513, 'EIO'],
    ['that it cannot', 2, 513, 'EOPNOTSUPP'],
    ['what nobody knows', 3, 513, 'EIO'],
    ['nothing', 0xff, 513, 'EIO'],
    ['that it has read all, and wrote nothing', 0, 0, 'EIO'],
    ['that it has read all, and wrote less', 0, 512, 'EIO'],
    ['that it has read all, and wrote no more', 0, 513, 'it succeeded'],
  ])('whose device says %s ends so', async (_what, status, written, code) => {
    const { queue, requests, data, finish } = setUp();
    const done = failure(requests.send(0, 0, { ram: data, lengthBytes: 512, isIn: true }));
    await Promise.resolve();
    finish(queue.requests[0], status, written);
    expect(await done).toBe(code);
  });

  it('goes to each queue in turn, and waits where none has room', async () => {
    const { queues, requests, finish } = setUp([1, 1]);
    const done = [1, 2, 3].map(() => requests.send(4, 0));
    await new Promise((resolve) => setImmediate(resolve));
    expect(queues.map((queue) => queue.requests.length)).toEqual([1, 1]);
    const [request] = queues[1].requests.splice(0);
    finish(request, 0, 1);
    await new Promise((resolve) => setImmediate(resolve));
    expect(queues.map((queue) => queue.requests.length)).toEqual([1, 1]);
    for (const queue of queues) for (const each of queue.requests.splice(0)) finish(each, 0, 1);
    await Promise.all(done);
  });

  it('fails where the device is gone, and so do those that wait', async () => {
    const { queue, requests } = setUp([1]);
    const out = failure(requests.send(4, 0));
    const waiting = failure(requests.send(4, 0));
    await Promise.resolve();
    requests.fail('ENODEV');
    queue.requests[0].complete(-19);
    expect([await out, await waiting, await failure(requests.send(4, 0))]).toEqual([
      'ENODEV',
      'ENODEV',
      'ENODEV',
    ]);
  });

  it('gives the guest its memory back', async () => {
    const { queue, requests, pool, ram, data, finish } = setUp();
    ram.free(data);
    const before = ram.freeBytes;
    const done = [1, 2, 3].map(() => requests.send(4, 0));
    await Promise.resolve();
    for (const request of queue.requests) finish(request, 0, 1);
    await Promise.all(done);
    requests.close();
    pool.close();
    expect(ram.freeBytes).toBe(before);
  });
});
