/** Hundreds of queues over one memory, each with its own size, and single ones of them reset while all are at work. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Chain } from '../../../../devices/virtio/device.js';
import { ArrayRegion } from '../../../../devices/virtio/memory/array-region.js';
import { RegionMemory } from '../../../../devices/virtio/memory/region-memory.js';
import { QueueConfig } from '../../../../devices/virtio/ring/queue-config.js';
import { newQueueCounters, type RunningRing } from '../../../../devices/virtio/ring/running-ring.js';
import { MockSplitDriver, type MockDriver } from '../mock-driver.js';
import { MockPackedDriver } from '../mock-packed-driver.js';

const RAM_ADDRESS = 0x1_0000_0000;
/** A queue and the one page that its buffers share. */
const QUEUE_BYTES = 0x4000;
const RING_FEATURES = { split: 0n, packed: 1n << 34n } as const;
const IN_ORDER = 1n << 35n;

type Format = keyof typeof RING_FEATURES;

/** One queue from both sides. What it was before a reset is forgotten by the driver, and not by the device. */
class Queue {
  readonly config: QueueConfig;
  readonly counters = newQueueCounters();
  readonly problems: string[] = [];
  readonly #ram: Uint8Array;
  readonly #memory: RegionMemory;
  readonly #format: Format;
  readonly #inOrder: boolean;
  readonly #outside = new Set<number>();
  ring!: RunningRing;
  driver!: MockDriver;
  answered = 0;

  constructor(
    ram: Uint8Array,
    memory: RegionMemory,
    index: number,
    size: number,
    format: Format,
    inOrder: boolean,
  ) {
    this.#ram = ram;
    this.#memory = memory;
    this.#format = format;
    this.#inOrder = inOrder;
    this.config = new QueueConfig(index, 256);
    this.restart(size);
  }

  /** Resets the queue and starts it again, in the same place: only what the driver does from now on counts. */
  restart(size: number): void {
    (this.ring as RunningRing | undefined)?.drop();
    this.#outside.clear();
    const at = this.config.index * QUEUE_BYTES;
    this.#ram.fill(0, at, at + QUEUE_BYTES);
    const ram = this.#ram.subarray(at, at + QUEUE_BYTES);
    const place = { ramAddress: RAM_ADDRESS + at, size, eventIdx: true, inOrder: this.#inOrder };
    const driver =
      this.#format === 'split' ? new MockSplitDriver(ram, place) : new MockPackedDriver(ram, place);
    this.driver = driver;
    this.config.reset();
    this.config.size = size;
    this.config.descriptorArea.set(driver.descriptorArea);
    this.config.driverArea.set(driver.driverArea);
    this.config.deviceArea.set(driver.deviceArea);
    const features = RING_FEATURES[this.#format] | (1n << 29n) | (this.#inOrder ? IN_ORDER : 0n);
    const broken = (_: number, why: string): void => void this.problems.push(why);
    const signals = { interrupt: () => {}, broken, held: () => {} };
    this.ring = this.config.activate(this.#memory, features, signals, this.counters).ring!;
  }

  offer(): void {
    if (this.driver.free === 0) return;
    const address = RAM_ADDRESS + (this.config.index + 1) * QUEUE_BYTES - 4096;
    this.#outside.add(this.driver.add([{ address, length: 64, writable: true }]));
  }

  /** Takes what the device gave back: each of these was offered since the last reset, and has not come back before. */
  reap(): void {
    for (const { id, length } of this.driver.reap()) {
      if (!this.#outside.delete(id)) throw new Error(`${id} came back, and was not out`);
      if (length !== 64) throw new Error(`${id} came back with ${length} bytes`);
      this.answered++;
    }
  }

  get unanswered(): number {
    return this.#outside.size;
  }
}

function makeQueues(count: number, sizeOf: (index: number, format: Format) => number): Queue[] {
  const ram = new Uint8Array(count * QUEUE_BYTES);
  const memory = new RegionMemory();
  memory.addRegion(new ArrayRegion(RAM_ADDRESS, ram));
  return Array.from({ length: count }, (_, index) => {
    const format = index % 2 === 0 ? 'split' : 'packed';
    return new Queue(ram, memory, index, sizeOf(index, format), format, index % 3 === 0);
  });
}

describe('queues of one device', () => {
  it('are 300, each with a size of its own, and answer everything once', () => {
    const queues = makeQueues(300, (index, format) =>
      format === 'split' ? 2 ** (index % 9) : 1 + (index % 256),
    );
    for (let round = 0; round < 3; round++) {
      for (const queue of queues) while (queue.driver.free > 0) queue.offer();
      for (const { ring } of queues) {
        for (let chain = ring.pop(); chain !== undefined; chain = ring.pop()) ring.push(chain, 64);
        ring.flush();
      }
      for (const queue of queues) queue.reap();
    }
    expect(queues.every(({ answered, config }) => answered === 3 * config.size)).toBe(true);
    expect(queues.every(({ answered, counters }) => counters.requests === answered)).toBe(true);
    expect(queues.flatMap(({ problems }) => problems)).toEqual([]);
  });

  it('are reset one by one under load: a chain from before comes back to nobody, and all others once', () => {
    const queues = makeQueues(6, () => 4);
    const act = fc.record({
      what: fc.constantFrom('offer', 'offer', 'take', 'take', 'push', 'push', 'push', 'reap', 'reset'),
      queue: fc.nat(queues.length - 1),
      which: fc.nat(100),
    });
    const property = fc.property(fc.array(act, { maxLength: 300 }), (acts) => {
      const held: { readonly ring: RunningRing; readonly chain: Chain }[] = [];
      const pushOne = (which: number): void => {
        const [{ ring, chain }] = held.splice(which % held.length, 1);
        ring.push(chain, 64);
        // A device that pushes twice does no harm, whether or not the queue was reset in between.
        ring.push(chain, 64);
        ring.flush();
      };
      for (const { what, queue: index, which } of acts) {
        const queue = queues[index];
        const { ring } = queue;
        if (what === 'offer') queue.offer();
        else if (what === 'reap') queue.reap();
        else if (what === 'reset') queue.restart(4);
        else if (what === 'push' && held.length > 0) pushOne(which);
        else if (what === 'take') {
          const chain = ring.pop();
          if (chain !== undefined) held.push({ ring, chain });
        }
      }
      for (const { ring } of queues) {
        for (let chain = ring.pop(); chain !== undefined; chain = ring.pop()) held.push({ ring, chain });
      }
      while (held.length > 0) pushOne(0);
      for (const queue of queues) {
        queue.reap();
        expect(queue.unanswered).toBe(0);
        expect(queue.problems).toEqual([]);
      }
    });
    fc.assert(property, { numRuns: 150 });
  });
});
