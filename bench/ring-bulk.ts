/** Bulk over two cores: how often driver and device have to wake each other while both are busy. */
import { Worker } from 'node:worker_threads';
import { VirtioFeature } from '../devices/virtio/device.js';
import { ArrayRegion } from '../devices/virtio/memory/array-region.js';
import { RegionMemory } from '../devices/virtio/memory/region-memory.js';
import { QueueConfig } from '../devices/virtio/ring/queue-config.js';
import { newQueueCounters, type RunningRing } from '../devices/virtio/ring/running-ring.js';
import {
  BulkControl,
  BulkPlace,
  BUFFER_BYTES,
  LOOKS_BEFORE_SLEEP,
  type BulkSetup,
} from './ring-bulk-driver.js';

export interface BulkResult {
  readonly name: string;
  readonly kicksPerThousand: number;
  readonly interruptsPerThousand: number;
  readonly nsPerChain: number;
}

const SIZE = 128;
const CHAINS = 2_000_000;
/** Chains between two flushes, so that the driver gets some back while the device is at the others. */
const BATCH = 32;

export async function measureBulk(): Promise<BulkResult[]> {
  const results: BulkResult[] = [];
  for (const packed of [false, true]) {
    for (const eventIdx of [false, true]) results.push(await measure(packed, eventIdx));
  }
  return results;
}

async function measure(packed: boolean, eventIdx: boolean): Promise<BulkResult> {
  const ram = new SharedArrayBuffer(BulkPlace.RAM_BYTES);
  const setup: BulkSetup = { ram, packed, eventIdx, size: SIZE, chains: CHAINS };
  const control = new Int32Array(ram, BulkPlace.CONTROL, 4);
  const counters = newQueueCounters();
  const ring = activate(setup, control, counters);
  const driver = new Worker(new URL('./ring-bulk-driver.js', import.meta.url), { workerData: setup });
  await new Promise((resolve) => driver.once('online', resolve));
  const start = process.hrtime.bigint();
  serve(ring, control);
  const ns = Number(process.hrtime.bigint() - start);
  await driver.terminate();
  const perThousand = (count: number): number => (count / counters.requests) * 1000;
  return {
    name: `${packed ? 'packed' : 'split'}, ${eventIdx ? 'event index' : 'flags'}`,
    kicksPerThousand: perThousand(Atomics.load(control, BulkControl.KICKS)),
    interruptsPerThousand: perThousand(counters.interrupts),
    nsPerChain: ns / counters.requests,
  };
}

/** Polls while there is something to do and for a while after that, then waits to be kicked. */
function serve(ring: RunningRing, control: Int32Array): void {
  while (Atomics.load(control, BulkControl.DONE) === 0) {
    const kicks = Atomics.load(control, BulkControl.KICKS);
    ring.disableNotifications();
    for (let looks = 0; looks < LOOKS_BEFORE_SLEEP; looks++) if (takeBatch(ring)) looks = 0;
    if (ring.enableNotifications()) continue;
    if (Atomics.load(control, BulkControl.DONE) === 0) Atomics.wait(control, BulkControl.KICKS, kicks);
  }
}

function takeBatch(ring: RunningRing): boolean {
  let taken = 0;
  for (; taken < BATCH; taken++) {
    const chain = ring.pop();
    if (chain === undefined) break;
    ring.push(chain, BUFFER_BYTES);
  }
  if (taken > 0) ring.flush();
  return taken > 0;
}

function activate(
  { ram, packed, eventIdx, size }: BulkSetup,
  control: Int32Array,
  counters: ReturnType<typeof newQueueCounters>,
): RunningRing {
  const memory = new RegionMemory();
  memory.addRegion(new ArrayRegion(0, new Uint8Array(ram)));
  const config = new QueueConfig(0, size);
  config.driverArea.set(BulkPlace.DRIVER_AREA);
  config.deviceArea.set(BulkPlace.DEVICE_AREA);
  const features =
    (packed ? 1n << BigInt(VirtioFeature.VIRTIO_F_RING_PACKED) : 0n) |
    (eventIdx ? 1n << BigInt(VirtioFeature.VIRTIO_F_EVENT_IDX) : 0n);
  const signals = {
    interrupt: () => {
      Atomics.add(control, BulkControl.INTERRUPTS, 1);
      Atomics.notify(control, BulkControl.INTERRUPTS);
    },
    held: () => {},
    broken: (_: number, reason: string) => {
      throw new Error(reason);
    },
  };
  const { ring, problem } = config.activate(memory, features, signals, counters);
  if (ring === undefined) throw new Error(problem);
  return ring;
}
