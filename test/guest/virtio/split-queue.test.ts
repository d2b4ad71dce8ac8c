import { describe, expect, it } from 'vitest';
import { GuestRam, PAGE_SIZE } from '../../../guest/memory/ram.js';
import { vringNeedEvent } from '../../../guest/virtio/notification.js';
import type { QueueRequest } from '../../../guest/virtio/queue.js';
import { SplitDriverQueue } from '../../../guest/virtio/split-queue.js';

interface Recorded extends QueueRequest {
  readonly results: number[];
}

/** A request of buffers [address, length], the first `readable` of them for the device to read. */
function request(readable: number, ...buffers: (readonly [number, number])[]): Recorded {
  const results: number[] = [];
  return {
    addresses: buffers.map(([address]) => address),
    lengths: buffers.map(([, length]) => length),
    readableCount: readable,
    count: buffers.length,
    results,
    complete: (result) => results.push(result),
  };
}

/** A queue, and the device's hands on its memory. */
function setUp(options: { size?: number; indirect?: boolean; eventIndex?: boolean } = {}) {
  const { size = 4, indirect = false, eventIndex = false } = options;
  const bytes = new Uint8Array(64 * PAGE_SIZE);
  const ram = new GuestRam(bytes);
  let kicks = 0;
  const notify = () => void kicks++;
  const queue = new SplitDriverQueue(ram, { index: 0, size, indirect, eventIndex, notify });
  const view = new DataView(bytes.buffer);
  const { descriptorArea, driverArea, deviceArea } = queue.addresses;
  let usedIndex = 0;
  return {
    ram,
    queue,
    view,
    kicks: () => kicks,
    availIndex: () => view.getUint16(driverArea + 2, true),
    availFlags: () => view.getUint16(driverArea, true),
    availEntry: (i: number) => view.getUint16(driverArea + 4 + 2 * (i % size), true),
    usedEvent: () => view.getUint16(driverArea + 4 + 2 * size, true),
    setAvailEvent: (value: number) => view.setUint16(deviceArea + 4 + 8 * size, value, true),
    setUsedFlags: (value: number) => view.setUint16(deviceArea, value, true),
    setUsedIndex: (value: number) => view.setUint16(deviceArea + 2, value, true),
    descriptor: (i: number, table = descriptorArea) => ({
      address: Number(view.getBigUint64(table + 16 * i, true)),
      length: view.getUint32(table + 16 * i + 8, true),
      flags: view.getUint16(table + 16 * i + 12, true),
      next: view.getUint16(table + 16 * i + 14, true),
    }),
    use: (id: number, written: number) => {
      view.setUint32(deviceArea + 4 + 8 * (usedIndex % size), id, true);
      view.setUint32(deviceArea + 8 + 8 * (usedIndex % size), written, true);
      usedIndex = (usedIndex + 1) & 0xffff;
      view.setUint16(deviceArea + 2, usedIndex, true);
    },
  };
}

describe('vringNeedEvent', () => {
  it('says yes exactly where the event index lies among the entries just added, at every wrap', () => {
    for (const base of [0, 1, 0x7fff, 0xfffd, 0xffff]) {
      for (let added = 1; added <= 4; added++) {
        for (let event = -6; event <= 6; event++) {
          const among = event >= 0 && event < added;
          const wrap = (value: number) => value & 0xffff;
          const answer = vringNeedEvent(wrap(base + event), wrap(base + added), base);
          expect(answer, `event ${event} of ${added} at ${base}`).toBe(among);
        }
      }
    }
  });
});

describe('SplitDriverQueue', () => {
  it('lays its parts out aligned and apart as the spec asks', () => {
    const { queue } = setUp({ size: 8 });
    const { descriptorArea, driverArea, deviceArea } = queue.addresses;
    expect([descriptorArea % 16, driverArea % 2, deviceArea % 4]).toEqual([0, 0, 0]);
    expect(driverArea).toBeGreaterThanOrEqual(descriptorArea + 16 * 8);
    expect(deviceArea).toBeGreaterThanOrEqual(driverArea + 6 + 2 * 8);
  });

  it('chains buffers that the device reads before those it writes', () => {
    const q = setUp();
    expect(q.queue.add(request(1, [0x1000, 10], [0x2_0000_3000, 20], [0x5000, 30]))).toBe(true);
    const first = q.descriptor(q.availEntry(0));
    const second = q.descriptor(first.next);
    const third = q.descriptor(second.next);
    expect(first).toMatchObject({ address: 0x1000, length: 10, flags: 1 });
    expect(second).toMatchObject({ address: 0x2_0000_3000, length: 20, flags: 3 });
    expect(third).toMatchObject({ address: 0x5000, length: 30, flags: 2 });
    expect(q.availIndex()).toBe(1);
  });

  it('puts a request into an indirect table with one descriptor of the ring', () => {
    const q = setUp({ indirect: true });
    for (let i = 0; i < 4; i++) expect(q.queue.add(request(1, [0x1000, 10], [0x2000, 20]))).toBe(true);
    expect(q.queue.add(request(1, [0x1000, 10], [0x2000, 20]))).toBe(false);
    const outer = q.descriptor(q.availEntry(3));
    expect(outer).toMatchObject({ length: 32, flags: 4, next: 0 });
    expect(q.descriptor(0, outer.address)).toEqual({ address: 0x1000, length: 10, flags: 1, next: 1 });
    expect(q.descriptor(1, outer.address)).toEqual({ address: 0x2000, length: 20, flags: 2, next: 0 });
  });

  it('takes no request that is longer than the ring, which no device has to take in a table either', () => {
    const q = setUp({ size: 2, indirect: true });
    const buffers = [1, 2, 3].map((n) => [0x1000 * n, 1] as const);
    expect(q.queue.maxBuffers).toBe(2);
    expect(() => q.queue.add(request(0, ...buffers))).toThrow(RangeError);
  });

  it('refuses a request while it has too few descriptors, and takes it once some came back', () => {
    const q = setUp();
    const first = request(1, [0x1000, 1], [0x2000, 9], [0x3000, 9]);
    expect(q.queue.add(first)).toBe(true);
    const second = request(1, [0x1000, 1], [0x2000, 9]);
    expect(q.queue.add(second)).toBe(false);
    q.use(q.availEntry(0), 9);
    expect(q.queue.collect()).toBe(true);
    expect(first.results).toEqual([9]);
    expect(q.queue.add(second)).toBe(true);
  });

  it('completes each request once, in whatever order the device uses them, over many laps and index wraps', () => {
    for (const indirect of [false, true]) {
      const q = setUp({ indirect, eventIndex: indirect });
      for (let lap = 0; lap < 40_000; lap++) {
        const a = request(1, [0x1000, 1], [0x2000, 100]);
        const b = request(0, [0x3000, 50]);
        expect(q.queue.add(a) && q.queue.add(b)).toBe(true);
        q.use(q.availEntry(2 * lap + 1), 5);
        q.use(q.availEntry(2 * lap), 7);
        if (!q.queue.collect()) throw new Error(`broken at lap ${lap}`);
        if (a.results[0] !== 7 || b.results[0] !== 5) throw new Error(`wrong result at lap ${lap}`);
      }
    }
  });

  it('never believes that the device wrote more than there was room for', () => {
    const q = setUp();
    const only = request(1, [0x1000, 64], [0x2000, 16]);
    q.queue.add(only);
    q.use(q.availEntry(0), 0xffff_ffff);
    q.queue.collect();
    expect(only.results).toEqual([16]);
  });

  it.each([
    ['an id beyond the ring', 4],
    ['a huge id', 0xffff_ffff],
    ['a descriptor that starts no request', 1],
  ])('is broken by %s, and completes nothing until it is aborted', (_what, id) => {
    const q = setUp();
    const victim = request(1, [0x1000, 1], [0x2000, 1]);
    q.queue.add(victim);
    q.use(id, 1);
    expect(q.queue.collect()).toBe(false);
    expect(q.queue.broken).toBe(true);
    expect(q.queue.add(request(0, [0x1000, 1]))).toBe(false);
    expect(victim.results).toEqual([]);
    q.queue.abort(5);
    expect(victim.results).toEqual([-5]);
  });

  it('is broken by a used element that comes twice', () => {
    const q = setUp();
    const once = request(0, [0x1000, 1]);
    q.queue.add(once);
    q.use(q.availEntry(0), 1);
    q.use(q.availEntry(0), 1);
    expect(q.queue.collect()).toBe(false);
    expect(once.results).toEqual([1]);
  });

  it('is broken by a used index that runs ahead of what is out', () => {
    const q = setUp();
    const only = request(0, [0x1000, 1]);
    q.queue.add(only);
    q.setUsedIndex(0x8000);
    expect(q.queue.collect()).toBe(false);
  });

  it('ignores what the device writes into descriptors that are free', () => {
    const q = setUp();
    for (let i = 0; i < 4; i++)
      q.view.setUint16(q.queue.addresses.descriptorArea + 16 * i + 14, 0xffff, true);
    const both = [request(1, [0x1000, 1], [0x2000, 2]), request(1, [0x1000, 1], [0x2000, 2])];
    expect(both.map((each) => q.queue.add(each))).toEqual([true, true]);
    expect(new Set([q.availEntry(0), q.availEntry(1)]).size).toBe(2);
  });

  it('kicks unless the device set VIRTQ_USED_F_NO_NOTIFY', () => {
    const q = setUp();
    q.queue.add(request(0, [0x1000, 1]));
    expect(q.kicks()).toBe(1);
    q.setUsedFlags(1);
    q.queue.add(request(0, [0x1000, 1]));
    expect(q.kicks()).toBe(1);
  });

  it('kicks with event indices only when it passes the one that the device asked for', () => {
    const q = setUp({ eventIndex: true });
    q.queue.add(request(0, [0x1000, 1]));
    expect(q.kicks()).toBe(1);
    q.queue.add(request(0, [0x1000, 1]));
    expect(q.kicks()).toBe(1);
    q.setAvailEvent(2);
    q.queue.add(request(0, [0x1000, 1]));
    expect(q.kicks()).toBe(2);
  });

  it('asks for the next interrupt at the index it has seen everything up to', () => {
    const q = setUp({ eventIndex: true });
    expect(q.usedEvent()).toBe(0);
    q.queue.add(request(0, [0x1000, 1]));
    q.queue.add(request(0, [0x1000, 1]));
    q.use(q.availEntry(0), 1);
    q.use(q.availEntry(1), 1);
    q.queue.collect();
    expect(q.usedEvent()).toBe(2);
  });

  it('holds interrupts off while it collects, and looks again after it let them come', () => {
    const q = setUp();
    const flags: number[] = [];
    const late = request(0, [0x2000, 1]);
    const first: QueueRequest = {
      ...request(0, [0x1000, 1]),
      complete: () => {
        flags.push(q.availFlags());
        q.queue.add(late);
        q.use(q.availEntry(1), 1);
      },
    };
    q.queue.add(first);
    q.use(q.availEntry(0), 1);
    expect(q.queue.collect()).toBe(true);
    expect(flags).toEqual([1]);
    expect(late.results).toEqual([1]);
    expect(q.availFlags()).toBe(0);
  });

  it('gives its memory back when it is closed', () => {
    const q = setUp({ indirect: true });
    const before = new GuestRam(new Uint8Array(64 * PAGE_SIZE)).freeBytes;
    expect(q.ram.freeBytes).toBeLessThan(before);
    q.queue.close();
    expect(q.ram.freeBytes).toBe(before);
    expect(q.queue.add(request(0, [0x1000, 1]))).toBe(false);
  });
});
