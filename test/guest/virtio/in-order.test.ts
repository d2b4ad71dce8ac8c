/** The driver's rings with VIRTIO_F_IN_ORDER, against a device by hand and against the real one. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Chain } from '../../../devices/virtio/device.js';
import { ArrayRegion } from '../../../devices/virtio/memory/array-region.js';
import { RegionMemory } from '../../../devices/virtio/memory/region-memory.js';
import { QueueConfig } from '../../../devices/virtio/ring/queue-config.js';
import { newQueueCounters } from '../../../devices/virtio/ring/running-ring.js';
import { GuestRam, PAGE_SIZE } from '../../../guest/memory/ram.js';
import { PackedDriverQueue } from '../../../guest/virtio/packed-queue.js';
import type { DriverQueue, QueueRequest } from '../../../guest/virtio/queue.js';
import { RequestOrder } from '../../../guest/virtio/request-order.js';
import { SplitDriverQueue } from '../../../guest/virtio/split-queue.js';

const [WRITE, AVAIL, USED] = [2, 0x80, 0x8000];
const EVENT_IDX = 1n << 29n;
const INDIRECT_DESC = 1n << 28n;
const RING_PACKED = 1n << 34n;
const IN_ORDER = 1n << 35n;

interface Options {
  readonly packed: boolean;
  readonly size: number;
  readonly indirect?: boolean;
  readonly eventIndex?: boolean;
}

function setUp({ packed, size, indirect = false, eventIndex = false }: Options) {
  const bytes = new Uint8Array(64 * PAGE_SIZE);
  const kicks: number[] = [];
  const notify = (next: number) => void kicks.push(next);
  const options = { index: 0, size, indirect, eventIndex, inOrder: true, notify };
  const ram = new GuestRam(bytes);
  const queue: DriverQueue = packed
    ? new PackedDriverQueue(ram, options)
    : new SplitDriverQueue(ram, options);
  return { bytes, view: new DataView(bytes.buffer), queue, kicks };
}

interface Recorded extends QueueRequest {
  readonly results: number[];
}

/** A request of `readable` buffers to read and `writable` to write, 10 bytes each. */
function request(readable: number, writable: number, onComplete: () => void = () => {}): Recorded {
  const results: number[] = [];
  const count = readable + writable;
  return {
    addresses: Array.from({ length: count }, (_, i) => 0x1000 + 16 * i),
    lengths: Array.from({ length: count }, () => 10),
    readableCount: readable,
    count,
    results,
    complete: (result) => {
      results.push(result);
      onComplete();
    },
  };
}

describe('RequestOrder', () => {
  it('says how many a batch has, also around its end, and forgets what was taken out', () => {
    const order = new RequestOrder(3);
    for (let round = 0; round < 5; round++) {
      for (const name of [7, 5, 6]) order.push(name);
      expect([7, 5, 6, 4].map((name) => order.batchUpTo(name))).toEqual([1, 2, 3, 0]);
      expect(order.shift()).toBe(7);
      expect([7, 5, 6].map((name) => order.batchUpTo(name))).toEqual([0, 1, 2]);
      order.push(7);
      expect([order.shift(), order.shift(), order.shift()]).toEqual([5, 6, 7]);
    }
    expect(order.batchUpTo(7)).toBe(0);
  });
});

describe('SplitDriverQueue in order', () => {
  const split = (size = 4, eventIndex = false) => {
    const made = setUp({ packed: false, size, eventIndex });
    const { descriptorArea, driverArea, deviceArea } = made.queue.addresses;
    const { view } = made;
    return {
      ...made,
      use: (slot: number, id: number, length: number, index: number) => {
        view.setUint32(deviceArea + 4 + 8 * (slot % size), id, true);
        view.setUint32(deviceArea + 8 + 8 * (slot % size), length, true);
        view.setUint16(deviceArea + 2, index, true);
      },
      head: (slot: number) => view.getUint16(driverArea + 4 + 2 * (slot % size), true),
      next: (i: number) => view.getUint16(descriptorArea + 16 * i + 14, true),
    };
  };

  it('uses descriptors one after the other, around the end of the table, as section 2.7.5 asks', () => {
    const q = split(5 - 1);
    const heads: number[] = [];
    for (let i = 0, used = 0; i < 6; i++) {
      expect(q.queue.add(request(1, 2))).toBe(true);
      const head = q.head(i);
      heads.push(head);
      expect([q.next(head), q.next((head + 1) % 4)]).toEqual([(head + 1) % 4, (head + 2) % 4]);
      q.use(used, head, 0, ++used);
      q.queue.collect();
    }
    expect(heads).toEqual([0, 3, 2, 1, 0, 3]);
  });

  it('completes a batch by its last chain: those before it were used completely', () => {
    const q = split();
    const all = [request(1, 0), request(0, 1), request(0, 1)];
    for (const each of all) q.queue.add(each);
    q.use(0, q.head(2), 3, 3);
    expect(q.queue.collect()).toBe(true);
    expect(all.map(({ results }) => results)).toEqual([[0], [10], [3]]);
    // The next element is where the batch would have ended with an element for each.
    const later = request(0, 1);
    q.queue.add(later);
    q.use(3, q.head(3), 4, 4);
    q.queue.collect();
    expect(later.results).toEqual([4]);
  });

  it.each([
    ['a chain that is not out', 1, 1],
    ['a huge id', 0x1_0000, 1],
    ['a batch that ends behind the used index', 2, 2],
  ])('is broken by %s, and completes nothing until it is aborted', (_what, id, index) => {
    const q = split();
    const all = [request(2, 0), request(1, 0), request(1, 0)];
    for (const each of all) q.queue.add(each);
    q.use(0, id === 2 ? q.head(2) : id, 1, index);
    expect(q.queue.collect()).toBe(false);
    expect(q.queue.broken).toBe(true);
    expect(all.flatMap(({ results }) => results)).toEqual([]);
    q.queue.abort(5);
    expect(all.map(({ results }) => results)).toEqual([[-5], [-5], [-5]]);
  });

  it('is broken by a used index that runs ahead of what is out', () => {
    const q = split();
    const only = request(0, 1);
    q.queue.add(only);
    q.use(0, q.head(0), 1, 5);
    expect(q.queue.collect()).toBe(false);
    expect(only.results).toEqual([1]);
  });

  it('tells its device how far it has come: the available index', () => {
    const q = split();
    for (let i = 0; i < 3; i++) q.queue.add(request(1, 0));
    expect(q.kicks).toEqual([1, 2, 3]);
  });
});

describe('PackedDriverQueue in order', () => {
  const packed = (size = 5) => {
    const made = setUp({ packed: true, size });
    const { descriptorArea } = made.queue.addresses;
    const { view } = made;
    return {
      ...made,
      id: (i: number) => view.getUint16(descriptorArea + 16 * i + 12, true),
      use: (i: number, id: number, length: number, wrap = true) => {
        view.setUint32(descriptorArea + 16 * i + 8, length, true);
        view.setUint16(descriptorArea + 16 * i + 12, id, true);
        view.setUint16(descriptorArea + 16 * i + 14, (wrap ? AVAIL | USED : 0) | WRITE, true);
      },
    };
  };

  it('completes a batch by its last chain, and goes on behind all of its descriptors', () => {
    const q = packed();
    const all = [request(1, 1), request(0, 1), request(1, 1)];
    for (const each of all) expect(q.queue.add(each)).toBe(true);
    q.use(0, q.id(4), 3);
    expect(q.queue.collect()).toBe(true);
    expect(all.map(({ results }) => results)).toEqual([[10], [10], [3]]);
    const later = request(0, 1);
    q.queue.add(later);
    q.use(0, q.id(0), 4, false);
    q.queue.collect();
    expect(later.results).toEqual([4]);
  });

  it.each([
    ['an id beyond the ring', 5],
    ['the largest id', 0xffff],
    ['an id that is not out', 4],
  ])('is broken by %s, and completes nothing', (_what, id) => {
    const q = packed();
    const all = [request(1, 0), request(1, 0)];
    for (const each of all) q.queue.add(each);
    expect([q.id(0), q.id(1)]).not.toContain(id);
    q.use(0, id, 1);
    expect(q.queue.collect()).toBe(false);
    expect(all.flatMap(({ results }) => results)).toEqual([]);
  });

  it('tells its device how far it has come: the place of the next descriptor, and its wrap counter above', () => {
    const q = packed(3);
    q.queue.add(request(1, 0));
    q.queue.add(request(1, 0));
    q.queue.add(request(1, 0));
    expect(q.kicks).toEqual([0x8001, 0x8002, 0]);
  });
});

const PAIRS = [false, true].flatMap((packed) =>
  [false, true].flatMap((eventIndex) =>
    [false, true].map((indirect) => ({
      name: `${packed ? 'packed' : 'split'}, ${eventIndex ? 'event index' : 'flags'}, ${indirect ? 'indirect' : 'direct'}`,
      packed,
      eventIndex,
      indirect,
    })),
  ),
);

describe.each(PAIRS)('driver and device in order: $name', ({ packed, eventIndex, indirect }) => {
  it('complete every request once and in order, whatever the order in which the device is done', () => {
    const sizes = fc.constantFrom(...(packed ? [1, 3, 5, 8] : [1, 4, 8]));
    const shapes = fc.array(fc.tuple(fc.nat(2), fc.nat(2)), { minLength: 1, maxLength: 60 });
    const property = fc.property(
      sizes,
      shapes,
      fc.array(fc.nat(20), { minLength: 5 }),
      (size, list, choices) => {
        const { bytes, queue } = setUp({ packed, size, eventIndex, indirect });
        const memory = new RegionMemory();
        memory.addRegion(new ArrayRegion(0, bytes));
        const config = new QueueConfig(0, size);
        config.descriptorArea.set(queue.addresses.descriptorArea);
        config.driverArea.set(queue.addresses.driverArea);
        config.deviceArea.set(queue.addresses.deviceArea);
        const features =
          IN_ORDER |
          (packed ? RING_PACKED : 0n) |
          (eventIndex ? EVENT_IDX : 0n) |
          (indirect ? INDIRECT_DESC : 0n);
        const problems: string[] = [];
        const broken = (_: number, why: string): void => void problems.push(why);
        const signals = { interrupt: () => {}, broken, held: () => {} };
        const ring = config.activate(memory, features, signals, newQueueCounters()).ring!;
        const order: number[] = [];
        const held: { chain: Chain; number: number }[] = [];
        const made: { recorded: Recorded; written: number }[] = [];
        const complete = (which: number): void => {
          const [{ chain, number }] = held.splice(which % held.length, 1);
          ring.push(chain, made[number].written);
        };
        let taken = 0;
        const serve = (): void => {
          for (let chain = ring.pop(); chain !== undefined; chain = ring.pop())
            held.push({ chain, number: taken++ });
        };
        list.forEach(([readable, writable], i) => {
          const count = Math.min(Math.max(1, readable + writable), queue.maxBuffers);
          const toRead = Math.min(readable, count);
          const recorded = request(toRead, count - toRead, () => order.push(i));
          const choice = choices[i % choices.length];
          made.push({
            recorded,
            written: choice % 2 === 0 ? 10 * (count - toRead) : choice % (10 * (count - toRead) + 1),
          });
          while (!queue.add(recorded)) {
            serve();
            complete(choice);
            ring.flush();
            expect(queue.collect()).toBe(true);
          }
          if (choice > 10) serve();
        });
        serve();
        while (held.length > 0) complete(choices[held.length % choices.length]);
        ring.flush();
        expect(queue.collect()).toBe(true);
        expect(problems).toEqual([]);
        expect(order).toEqual(list.map((_, i) => i));
        expect(made.map(({ recorded }) => recorded.results)).toEqual(made.map(({ written }) => [written]));
      },
    );
    fc.assert(property, { numRuns: 60 });
  });
});

describe('a completion that adds to its queue and collects', () => {
  it.each([false, true])('finds the batch that it is part of over and done with (packed: %s)', (packed) => {
    const { bytes, queue } = setUp({ packed, size: 4 });
    const memory = new RegionMemory();
    memory.addRegion(new ArrayRegion(0, bytes));
    const config = new QueueConfig(0, 4);
    config.descriptorArea.set(queue.addresses.descriptorArea);
    config.driverArea.set(queue.addresses.driverArea);
    config.deviceArea.set(queue.addresses.deviceArea);
    const features = IN_ORDER | (packed ? RING_PACKED : 0n);
    const signals = { interrupt: () => {}, broken: () => {}, held: () => {} };
    const ring = config.activate(memory, features, signals, newQueueCounters()).ring!;
    const serve = (): void => {
      for (let chain = ring.pop(); chain !== undefined; chain = ring.pop()) ring.push(chain, 10);
      ring.flush();
    };
    const nested = request(0, 1);
    const first = request(0, 1, () => {
      expect(queue.add(nested)).toBe(true);
      serve();
      expect(queue.collect()).toBe(true);
    });
    const others = [request(0, 1), request(0, 1), request(0, 1)];
    for (const each of [first, ...others]) expect(queue.add(each)).toBe(true);
    serve();
    expect(queue.collect()).toBe(true);
    expect([first, nested, ...others].map(({ results }) => results)).toEqual([[10], [10], [10], [10], [10]]);
  });
});
