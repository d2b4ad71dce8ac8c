import { ArrayRegion } from '../../../../devices/virtio/memory/array-region.js';
import { RegionMemory } from '../../../../devices/virtio/memory/region-memory.js';
import { QueueConfig } from '../../../../devices/virtio/ring/queue-config.js';
import { newQueueCounters, type RunningRing } from '../../../../devices/virtio/ring/running-ring.js';
import type { QueueCounters } from '../../../../devices/virtio/device.js';
import { MockSplitDriver, type MockDriver, type MockRingPlace } from '../mock-driver.js';
import { MockPackedDriver } from '../mock-packed-driver.js';

const INDIRECT_DESC = 1n << 28n;
const EVENT_IDX = 1n << 29n;
const VERSION_1 = 1n << 32n;
const RING_PACKED = 1n << 34n;
const IN_ORDER = 1n << 35n;

/** RAM does not start at 0, so that forgetting where it starts shows. */
export const RAM_ADDRESS = 0x10_0000;
export const RAM_BYTES = 0x10_0000;

export interface RingOptions {
  readonly size?: number;
  readonly indirect?: boolean;
  readonly eventIdx?: boolean;
  readonly inOrder?: boolean;
  /** Chains of one descriptor that went through the ring before. */
  readonly startIndex?: number;
  /** Bytes of RAM: `RAM_BYTES` where that is left out. */
  readonly ramBytes?: number;
  /** Called with RAM before there is a ring in it. */
  readonly watch?: (ram: Uint8Array) => void;
}

export interface RingFixture<Driver extends MockDriver = MockSplitDriver> {
  readonly ram: Uint8Array;
  readonly memory: RegionMemory;
  readonly region: ArrayRegion;
  readonly config: QueueConfig;
  readonly features: bigint;
  readonly driver: Driver;
  readonly ring: RunningRing;
  readonly counters: QueueCounters;
  /** Indices of queues that interrupted, in order. */
  readonly interrupts: number[];
  /** Why the ring broke, each time it said so. */
  readonly problems: string[];
  /** How often the ring said that it is held. */
  readonly holds: { count: number };
  /** A guest address well inside RAM, `n` pages behind the ring. */
  readonly page: (n: number) => number;
}

export function makeRing(options: RingOptions = {}): RingFixture {
  const { startIndex = 0 } = options;
  return make(options, 0n, startIndex, (ram, place) => new MockSplitDriver(ram, place));
}

export function makePackedRing(options: RingOptions = {}): RingFixture<MockPackedDriver> {
  const { size = 8, startIndex = 0 } = options;
  const start = packedPosition(startIndex, size);
  return make(options, RING_PACKED, start, (ram, place) => new MockPackedDriver(ram, place));
}

/** Where a packed ring of `size` stands once `count` descriptors went through it: index, and the wrap counter in bit 15. */
export function packedPosition(count: number, size: number): number {
  return (count % size) + (Math.floor(count / size) % 2 === 0 ? 0x8000 : 0);
}

interface PlacedDriver extends MockDriver {
  readonly descriptorArea: number;
  readonly driverArea: number;
  readonly deviceArea: number;
  readonly freeAddress: number;
}

function make<Driver extends PlacedDriver>(
  options: RingOptions,
  format: bigint,
  start: number,
  makeDriver: (ram: Uint8Array, place: MockRingPlace) => Driver,
): RingFixture<Driver> {
  const { size = 8, indirect = true, eventIdx = true, inOrder = false, startIndex = 0 } = options;
  const ram = new Uint8Array(options.ramBytes ?? RAM_BYTES);
  const memory = new RegionMemory();
  const region = new ArrayRegion(RAM_ADDRESS, ram);
  memory.addRegion(region);
  const driver = makeDriver(ram, { ramAddress: RAM_ADDRESS, size, eventIdx, inOrder, startIndex });
  const config = new QueueConfig(3, Math.max(256, size));
  config.size = size;
  config.descriptorArea.set(driver.descriptorArea);
  config.driverArea.set(driver.driverArea);
  config.deviceArea.set(driver.deviceArea);
  if (startIndex !== 0) config.start = { nextAvail: start, nextUsed: start };
  const features =
    format |
    VERSION_1 |
    (indirect ? INDIRECT_DESC : 0n) |
    (eventIdx ? EVENT_IDX : 0n) |
    (inOrder ? IN_ORDER : 0n);
  options.watch?.(ram);
  const interrupts: number[] = [];
  const problems: string[] = [];
  const holds = { count: 0 };
  const signals = {
    interrupt: (index: number) => void interrupts.push(index),
    broken: (_index: number, reason: string) => void problems.push(reason),
    held: () => void holds.count++,
  };
  const counters = newQueueCounters();
  const { ring, problem } = config.activate(memory, features, signals, counters);
  if (ring === undefined) throw new Error(problem);
  const page = (n: number): number => driver.freeAddress + n * 4096;
  return { ram, memory, region, config, features, driver, ring, counters, interrupts, problems, holds, page };
}
