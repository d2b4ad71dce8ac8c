import { describe, expect, it, vi } from 'vitest';
import { GuestRam, PAGE_SIZE } from '../../../guest/memory/ram.js';
import { packedNeedEvent } from '../../../guest/virtio/notification.js';
import { PackedDriverQueue } from '../../../guest/virtio/packed-queue.js';
import type { QueueRequest } from '../../../guest/virtio/queue.js';

const [NEXT, WRITE, INDIRECT, AVAIL, USED] = [1, 2, 4, 0x80, 0x8000];
const [ENABLE, DISABLE, DESC] = [0, 1, 2];

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

const small = () => request(0, [0x1000, 50]);

/** A queue, and the device's hands on its memory. */
function setUp(options: { size?: number; indirect?: boolean; eventIndex?: boolean } = {}) {
  const { size = 5, indirect = false, eventIndex = false } = options;
  const bytes = new Uint8Array(64 * PAGE_SIZE);
  const ram = new GuestRam(bytes);
  let kicks = 0;
  const queue = new PackedDriverQueue(ram, {
    index: 0,
    size,
    indirect,
    eventIndex,
    notify: () => void kicks++,
  });
  const view = new DataView(bytes.buffer);
  const { descriptorArea, driverArea, deviceArea } = queue.addresses;
  let used = 0;
  return {
    ram,
    queue,
    view,
    kicks: () => kicks,
    descriptor: (i: number, table = descriptorArea) => ({
      address: Number(view.getBigUint64(table + 16 * i, true)),
      length: view.getUint32(table + 16 * i + 8, true),
      id: view.getUint16(table + 16 * i + 12, true),
      flags: view.getUint16(table + 16 * i + 14, true),
    }),
    driverEvent: () => [view.getUint16(driverArea, true), view.getUint16(driverArea + 2, true)],
    setDeviceEvent: (place: number, flags: number) => {
      view.setUint16(deviceArea, place, true);
      view.setUint16(deviceArea + 2, flags, true);
    },
    /** Gives `descriptors` descriptors back under `id`. */
    use: (id: number, written: number, descriptors = 1) => {
      const at = descriptorArea + 16 * (used % size);
      view.setUint32(at + 8, written, true);
      view.setUint16(at + 12, id, true);
      const lap = Math.floor(used / size) % 2 === 0 ? AVAIL | USED : 0;
      view.setUint16(at + 14, lap | (written > 0 ? WRITE : 0), true);
      used += descriptors;
    },
  };
}

describe('packedNeedEvent', () => {
  it('says yes exactly where the event lies among the descriptors just added, in every ring of up to 7', () => {
    const place = (count: number, size: number) =>
      (count % size) + (Math.floor(count / size) % 2 === 0 ? 0x8000 : 0);
    for (let size = 1; size <= 7; size++) {
      for (let from = 2 * size; from < 4 * size; from++) {
        for (let added = 1; added <= size; added++) {
          const to = from + added;
          // All the places of two laps, seen from where the driver was.
          for (let event = from - size; event < from + size; event++) {
            const [index, wrap] = [to % size, place(to, size) >= 0x8000];
            const answer = packedNeedEvent(DESC, place(event, size), index, wrap, added, size);
            expect(answer, `${event} in ${from} to ${to} of ${size}`).toBe(event >= from && event < to);
          }
        }
      }
    }
  });

  it('obeys ENABLE and DISABLE, and takes the reserved value for ENABLE', () => {
    expect(packedNeedEvent(ENABLE, 0, 1, true, 1, 8)).toBe(true);
    expect(packedNeedEvent(DISABLE, 0x8000, 1, true, 1, 8)).toBe(false);
    expect(packedNeedEvent(3, 0, 1, true, 1, 8)).toBe(true);
  });
});

describe('PackedDriverQueue', () => {
  it('lays its parts out aligned and apart as the spec asks', () => {
    for (const indirect of [false, true]) {
      const { descriptorArea, driverArea, deviceArea } = setUp({ size: 7, indirect }).queue.addresses;
      expect([descriptorArea % 16, driverArea % 4, deviceArea % 4]).toEqual([0, 0, 0]);
      expect(driverArea).toBeGreaterThanOrEqual(descriptorArea + 16 * 7);
      expect(deviceArea).toBe(driverArea + 4);
    }
  });

  it('writes buffers one after the other, available, under one id', () => {
    const q = setUp();
    expect(q.queue.add(request(1, [0x1000, 10], [0x2_0000_3000, 20], [0x5000, 30]))).toBe(true);
    const [first, second, third, fourth] = [0, 1, 2, 3].map((i) => q.descriptor(i));
    expect(first).toMatchObject({ address: 0x1000, length: 10, flags: NEXT | AVAIL });
    expect(second).toMatchObject({ address: 0x2_0000_3000, length: 20, flags: NEXT | WRITE | AVAIL });
    expect(third).toMatchObject({ address: 0x5000, length: 30, flags: WRITE | AVAIL, id: first.id });
    expect(fourth.flags).toBe(0);
  });

  it('turns what says "available" around where a chain passes the end of the ring', () => {
    const q = setUp({ size: 3 });
    q.queue.add(request(0, [0x1000, 1], [0x2000, 1]));
    q.use(q.descriptor(1).id, 1, 2);
    q.queue.collect();
    q.queue.add(request(2, [0x3000, 1], [0x4000, 1]));
    expect(q.descriptor(2)).toMatchObject({ address: 0x3000, flags: NEXT | AVAIL });
    expect(q.descriptor(0)).toMatchObject({ address: 0x4000, flags: USED });
  });

  it('puts a request into an indirect table with one descriptor of the ring', () => {
    const q = setUp({ size: 3, indirect: true });
    for (let i = 0; i < 3; i++) expect(q.queue.add(request(1, [0x1000, 10], [0x2000, 20]))).toBe(true);
    expect(q.queue.add(request(1, [0x1000, 10], [0x2000, 20]))).toBe(false);
    const outer = q.descriptor(2);
    expect(outer).toMatchObject({ length: 32, flags: INDIRECT | AVAIL });
    expect(q.descriptor(0, outer.address)).toEqual({ address: 0x1000, length: 10, flags: 0, id: 0 });
    expect(q.descriptor(1, outer.address)).toEqual({ address: 0x2000, length: 20, flags: WRITE, id: 0 });
    expect(q.queue.maxBuffers).toBe(3);
  });

  it('refuses a request while it has too few descriptors, and takes it once some came back', () => {
    const q = setUp({ size: 4 });
    const first = request(1, [0x1000, 1], [0x2000, 9], [0x3000, 9]);
    expect(q.queue.add(first)).toBe(true);
    const second = request(1, [0x1000, 1], [0x2000, 9]);
    expect(q.queue.add(second)).toBe(false);
    q.use(q.descriptor(0).id, 9, 3);
    expect(q.queue.collect()).toBe(true);
    expect(first.results).toEqual([9]);
    expect(q.queue.add(second)).toBe(true);
  });

  it('completes each request once, in whatever order the device uses them, over many laps', () => {
    for (const size of [3, 5, 8]) {
      const q = setUp({ size, eventIndex: size === 5 });
      let at = 0;
      for (let round = 0; round < 2000; round++) {
        const a = request(1, [0x1000, 1], [0x2000, 100]);
        const b = small();
        expect(q.queue.add(a) && q.queue.add(b)).toBe(true);
        const [idA, idB] = [q.descriptor((at + 1) % size).id, q.descriptor((at + 2) % size).id];
        at += 3;
        q.use(idB, 5, 1);
        q.use(idA, 7, 2);
        if (!q.queue.collect()) throw new Error(`broken in round ${round}`);
        expect([a.results, b.results]).toEqual([[7], [5]]);
      }
    }
  });

  it('never believes that the device wrote more than there was room for, nor a length without the write flag', () => {
    const q = setUp();
    const [greedy, idle] = [request(1, [0x1000, 64], [0x2000, 16]), small()];
    q.queue.add(greedy);
    q.queue.add(idle);
    q.use(q.descriptor(0).id, 0xffff_ffff, 2);
    q.use(q.descriptor(2).id, 0);
    q.view.setUint32(q.queue.addresses.descriptorArea + 16 * 2 + 8, 40, true);
    q.queue.collect();
    expect([greedy.results, idle.results]).toEqual([[16], [0]]);
  });

  it.each([
    ['an id beyond the ring', 5],
    ['the largest id', 0xffff],
    ['an id that is not out', 3],
  ])('is broken by %s, and completes nothing until it is aborted', (_what, id) => {
    const q = setUp();
    const victim = request(1, [0x1000, 1], [0x2000, 1]);
    q.queue.add(victim);
    q.use(id, 1, 2);
    expect(q.queue.collect()).toBe(false);
    expect(q.queue.broken).toBe(true);
    expect(q.queue.add(small())).toBe(false);
    expect(victim.results).toEqual([]);
    q.queue.abort(5);
    expect(victim.results).toEqual([-5]);
  });

  it('is broken by an element that is used twice', () => {
    const q = setUp();
    const once = small();
    q.queue.add(once);
    const { id } = q.descriptor(0);
    q.use(id, 1);
    q.use(id, 1);
    expect(q.queue.collect()).toBe(false);
    expect(once.results).toEqual([1]);
  });

  it('ends on a ring that the device filled with "used" from end to end', () => {
    const q = setUp();
    const only = small();
    q.queue.add(only);
    const { id } = q.descriptor(0);
    for (let i = 0; i < 5; i++) q.use(id, 1);
    expect(q.queue.collect()).toBe(false);
    expect(only.results).toEqual([1]);
  });

  it('kicks unless the device said DISABLE', () => {
    const q = setUp();
    q.queue.add(small());
    expect(q.kicks()).toBe(1);
    q.setDeviceEvent(0, DISABLE);
    q.queue.add(small());
    expect(q.kicks()).toBe(1);
    // Without the event index DESC is not negotiated: better a kick too many.
    q.setDeviceEvent(0, DESC);
    q.queue.add(small());
    expect(q.kicks()).toBe(2);
  });

  it('kicks with event indices only when it passes the descriptor that the device asked for', () => {
    const q = setUp({ eventIndex: true });
    q.setDeviceEvent(0x8000 + 1, DESC);
    q.queue.add(small());
    expect(q.kicks()).toBe(0);
    q.queue.add(request(0, [0x1000, 1], [0x2000, 1]));
    expect(q.kicks()).toBe(1);
    q.queue.add(small());
    expect(q.kicks()).toBe(1);
  });

  it('asks for the next interrupt at the descriptor and lap it has seen everything up to', () => {
    const q = setUp({ size: 2, eventIndex: true });
    expect(q.driverEvent()).toEqual([0x8000, DESC]);
    q.queue.add(small());
    q.queue.add(small());
    q.use(q.descriptor(0).id, 1);
    q.queue.collect();
    expect(q.driverEvent()).toEqual([0x8001, DESC]);
    q.use(q.descriptor(1).id, 1);
    q.queue.collect();
    expect(q.driverEvent()).toEqual([0, DESC]);
  });

  it('looks once more after it let interrupts come, for what was used just before', () => {
    for (const eventIndex of [false, true]) {
      const q = setUp({ eventIndex });
      const late = small();
      q.queue.add(late);
      const original = Object.getOwnPropertyDescriptor(DataView.prototype, 'setUint16')
        ?.value as DataView['setUint16'];
      const flagsAt = q.queue.addresses.driverArea + 2 - q.queue.addresses.descriptorArea;
      const spy = vi.spyOn(DataView.prototype, 'setUint16').mockImplementation(function (
        this: DataView,
        offset,
        value,
        littleEndian,
      ) {
        if (offset === flagsAt && value !== DISABLE && late.results.length === 0) {
          spy.mockRestore();
          q.use(q.descriptor(0).id, 1);
        }
        original.call(this, offset, value, littleEndian);
      });
      expect(q.queue.collect()).toBe(true);
      expect(late.results).toEqual([1]);
    }
  });

  it('holds interrupts off while it collects', () => {
    for (const eventIndex of [false, true]) {
      const q = setUp({ eventIndex });
      const flags: number[] = [];
      const late = small();
      const first: QueueRequest = {
        ...small(),
        complete: () => {
          flags.push(q.driverEvent()[1]);
          q.queue.add(late);
          q.use(q.descriptor(1).id, 1);
        },
      };
      q.queue.add(first);
      q.use(q.descriptor(0).id, 1);
      expect(q.queue.collect()).toBe(true);
      expect(flags).toEqual([DISABLE]);
      expect(late.results).toEqual([1]);
      expect(q.driverEvent()[1]).toBe(eventIndex ? DESC : ENABLE);
    }
  });

  it('gives its memory back when it is closed', () => {
    const q = setUp({ indirect: true });
    const before = new GuestRam(new Uint8Array(64 * PAGE_SIZE)).freeBytes;
    expect(q.ram.freeBytes).toBeLessThan(before);
    q.queue.close();
    expect(q.ram.freeBytes).toBe(before);
    expect(q.queue.add(small())).toBe(false);
  });

  it('refuses requests that it could never take', () => {
    const q = setUp({ size: 3 });
    const buffers = [1, 2, 3, 4].map((n) => [0x1000 * n, 1] as const);
    expect(() => q.queue.add(request(0, ...buffers))).toThrow(RangeError);
    expect(() => q.queue.add(request(0))).toThrow(RangeError);
    expect(q.queue.capacity(2)).toBe(1);
  });
});
