import { describe, expect, it } from 'vitest';
import { MemoryBackend } from '../../../devices/blk/backends/memory/memory-backend.js';
import { VirtioBlk } from '../../../devices/blk/virtio-blk.js';
import type { LatencyCounts } from '../../../devices/latencies.js';
import { header, joined, serve, Status, TestContext, TestQueue, Type } from './support/test-queue.js';

const timed = ({ counts }: LatencyCounts) => counts.reduce((sum, count) => sum + count, 0);

describe('the latencies of a disk', () => {
  it('are of some of its requests, each under its kind, and none of those that are refused', () => {
    const device = new VirtioBlk(new MemoryBackend({ sizeBytes: 2 ** 20 }), {
      serial: 's',
      log: () => undefined,
    });
    const queue = new TestQueue();
    device.activate(new TestContext(device.features, [queue]));
    const { read, write, flush } = device.latencies;
    for (let i = 0; i < 800; i++) serve(device, queue, header(Type.IN).subarray(0, 3));
    expect([read, write, flush].map(timed)).toEqual([0, 0, 0]);
    for (let i = 0; i < 800; i++) {
      expect(serve(device, queue, header(Type.IN), 513).status).toBe(Status.OK);
      serve(device, queue, joined(header(Type.OUT), new Uint8Array(512)));
      serve(device, queue, header(Type.FLUSH));
    }
    for (const latencies of [read, write, flush]) {
      expect(timed(latencies)).toBeGreaterThan(20);
      expect(timed(latencies)).toBeLessThan(100);
    }
  });
});
