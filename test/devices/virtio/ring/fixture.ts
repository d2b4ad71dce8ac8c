import { ArrayRegion } from '../../../../devices/virtio/memory/array-region.js';
import { RegionMemory } from '../../../../devices/virtio/memory/region-memory.js';
import { QueueConfig } from '../../../../devices/virtio/ring/queue-config.js';
import { newQueueCounters, type RunningRing } from '../../../../devices/virtio/ring/running-ring.js';
import type { QueueCounters } from '../../../../devices/virtio/device.js';
import { MockSplitDriver } from '../mock-driver.js';

const INDIRECT_DESC = 1n << 28n;
const EVENT_IDX = 1n << 29n;
const VERSION_1 = 1n << 32n;

/** RAM does not start at 0, so that forgetting where it starts shows. */
export const RAM_ADDRESS = 0x10_0000;
export const RAM_BYTES = 0x10_0000;

export interface RingOptions {
  readonly size?: number;
  readonly indirect?: boolean;
  readonly eventIdx?: boolean;
  readonly startIndex?: number;
}

export interface RingFixture {
  readonly ram: Uint8Array;
  readonly memory: RegionMemory;
  readonly region: ArrayRegion;
  readonly config: QueueConfig;
  readonly features: bigint;
  readonly driver: MockSplitDriver;
  readonly ring: RunningRing;
  readonly counters: QueueCounters;
  /** Indices of queues that interrupted, in order. */
  readonly interrupts: number[];
  /** Why the ring broke, each time it said so. */
  readonly problems: string[];
  /** A guest address well inside RAM, `n` pages behind the ring. */
  readonly page: (n: number) => number;
}

export function makeRing(options: RingOptions = {}): RingFixture {
  const { size = 8, indirect = true, eventIdx = true, startIndex = 0 } = options;
  const ram = new Uint8Array(RAM_BYTES);
  const memory = new RegionMemory();
  const region = new ArrayRegion(RAM_ADDRESS, ram);
  memory.addRegion(region);
  const driver = new MockSplitDriver(ram, { ramAddress: RAM_ADDRESS, size, eventIdx, startIndex });
  const config = new QueueConfig(3, 256);
  config.size = size;
  config.descriptorArea.set(driver.descriptorArea);
  config.driverArea.set(driver.driverArea);
  config.deviceArea.set(driver.deviceArea);
  config.start = { nextAvail: startIndex, nextUsed: startIndex };
  const features = VERSION_1 | (indirect ? INDIRECT_DESC : 0n) | (eventIdx ? EVENT_IDX : 0n);
  const interrupts: number[] = [];
  const problems: string[] = [];
  const signals = {
    interrupt: (index: number) => void interrupts.push(index),
    broken: (_index: number, reason: string) => void problems.push(reason),
  };
  const counters = newQueueCounters();
  const { ring, problem } = config.activate(memory, features, signals, counters);
  if (ring === undefined) throw new Error(problem);
  const page = (n: number): number => driver.freeAddress + n * 4096;
  return { ram, memory, region, config, features, driver, ring, counters, interrupts, problems, page };
}
