/**
 * The device's side of a virtqueue by itself: chains of two descriptors (one to read, one to write) taken, completed and
 * published, with no device work and a driver that only moves its index.
 */
import type { Chain, VirtioDevice, Virtqueue } from '../devices/virtio/device.js';
import { VirtioFeature } from '../devices/virtio/device.js';
import { ArrayRegion } from '../devices/virtio/memory/array-region.js';
import { RegionMemory } from '../devices/virtio/memory/region-memory.js';
import { QueueService } from '../devices/virtio/queue-service.js';
import { QueueConfig } from '../devices/virtio/ring/queue-config.js';
import { newQueueCounters, type RunningRing } from '../devices/virtio/ring/running-ring.js';

interface Shape {
  readonly name: string;
  readonly size: number;
  /** Chains the driver makes available at once. */
  readonly batch: number;
  readonly indirect: boolean;
  readonly eventIdx: boolean;
  readonly guestAddress: number;
}

interface Measurement extends Shape {
  readonly nsPerChain: number;
  readonly chainsPerSecond: number;
  readonly heapBytesPerChain: number;
}

const MIB = 1024 * 1024;
const HIGH = 5 * 1024 * MIB;
const CHAINS = 3_000_000;
const SHAPES: readonly Shape[] = [
  { name: 'batches of 64', size: 256, batch: 64, indirect: false, eventIdx: true, guestAddress: 0 },
  {
    name: 'batches of 64, no event index',
    size: 256,
    batch: 64,
    indirect: false,
    eventIdx: false,
    guestAddress: 0,
  },
  { name: 'batches of 64, indirect', size: 256, batch: 64, indirect: true, eventIdx: true, guestAddress: 0 },
  {
    name: 'batches of 64, above 4 GiB',
    size: 256,
    batch: 64,
    indirect: false,
    eventIdx: true,
    guestAddress: HIGH,
  },
  {
    name: 'batches of 64, indirect, above 4 GiB',
    size: 256,
    batch: 64,
    indirect: true,
    eventIdx: true,
    guestAddress: HIGH,
  },
  { name: 'one at a time', size: 256, batch: 1, indirect: false, eventIdx: true, guestAddress: 0 },
];

const nullDevice: VirtioDevice = {
  deviceId: 2,
  pciClass: 0,
  features: 0n,
  queueSizes: [256],
  config: new Uint8Array(0),
  writeConfig: () => {},
  activate: () => {},
  handleChain: (queue: Virtqueue, chain: Chain) => queue.push(chain, chain.writable.byteLength),
  reset: () => {},
  close: () => {},
};

/** Prints nanoseconds per chain, as a table or as JSON. */
export async function ring(json: boolean): Promise<void> {
  const measurements = SHAPES.map(measure);
  if (json) {
    console.log(JSON.stringify(measurements, undefined, 2));
    return;
  }
  for (const { name, nsPerChain, chainsPerSecond, heapBytesPerChain } of measurements) {
    const rate = `${(chainsPerSecond / 1e6).toFixed(2)} M chains/s`;
    console.log(
      `${name.padEnd(40)} ${nsPerChain.toFixed(0).padStart(5)} ns  ${rate}  ${heapBytesPerChain.toFixed(3)} B/chain`,
    );
  }
}

function measure(shape: Shape): Measurement {
  const ram = new Uint8Array(4 * MIB);
  const memory = new RegionMemory();
  memory.addRegion(new ArrayRegion(shape.guestAddress, ram));
  const running = activate(shape, memory);
  fillRing(shape, new DataView(ram.buffer));
  const avail = new Uint16Array(ram.buffer, AVAIL_OFFSET, shape.size + 3);
  const service = new QueueService(running, nullDevice, newQueueCounters());
  drive(shape, service, avail, CHAINS / 4);
  const heapBefore = process.memoryUsage().heapUsed;
  const start = process.hrtime.bigint();
  drive(shape, service, avail, CHAINS);
  const ns = Number(process.hrtime.bigint() - start);
  const heapAfter = process.memoryUsage().heapUsed;
  return {
    ...shape,
    nsPerChain: ns / CHAINS,
    chainsPerSecond: (CHAINS / ns) * 1e9,
    heapBytesPerChain: Math.max(0, heapAfter - heapBefore) / CHAINS,
  };
}

const AVAIL_OFFSET = 0x10000;
const USED_OFFSET = 0x20000;
const TABLES_OFFSET = 0x40000;
const BUFFERS_OFFSET = 0x100000;
const BUFFER_BYTES = 4096;
const NEXT = 1;
const WRITE = 2;
const INDIRECT = 4;

function activate(shape: Shape, memory: RegionMemory): RunningRing {
  const config = new QueueConfig(0, shape.size);
  config.descriptorArea.set(shape.guestAddress);
  config.driverArea.set(shape.guestAddress + AVAIL_OFFSET);
  config.deviceArea.set(shape.guestAddress + USED_OFFSET);
  let features = 1n << BigInt(VirtioFeature.VIRTIO_F_INDIRECT_DESC);
  if (shape.eventIdx) features |= 1n << BigInt(VirtioFeature.VIRTIO_F_EVENT_IDX);
  const signals = { interrupt: () => {}, broken: (_: number, reason: string) => console.error(reason) };
  const { ring: running, problem } = config.activate(memory, features, signals, newQueueCounters());
  if (running === undefined) throw new Error(problem);
  return running;
}

/** Every slot's chain, once: the driver offers the same ones over and over. */
function fillRing(shape: Shape, view: DataView): void {
  const chains = shape.indirect ? shape.size : shape.size / 2;
  for (let slot = 0; slot < shape.size; slot++) {
    const chain = slot % chains;
    const table = shape.indirect ? TABLES_OFFSET + chain * 32 : chain * 32;
    const first = shape.indirect ? 0 : chain * 2;
    const buffer = shape.guestAddress + BUFFERS_OFFSET + chain * 2 * BUFFER_BYTES;
    writeDescriptor(view, table, buffer, 128, NEXT, first + 1);
    writeDescriptor(view, table + 16, buffer + BUFFER_BYTES, BUFFER_BYTES, WRITE, 0);
    if (shape.indirect) writeDescriptor(view, chain * 16, shape.guestAddress + table, 32, INDIRECT, 0);
    view.setUint16(AVAIL_OFFSET + 4 + slot * 2, shape.indirect ? chain : first, true);
  }
}

function writeDescriptor(
  view: DataView,
  at: number,
  address: number,
  length: number,
  flags: number,
  next: number,
): void {
  view.setUint32(at, address >>> 0, true);
  view.setUint32(at + 4, Math.floor(address / 0x1_0000_0000), true);
  view.setUint32(at + 8, length, true);
  view.setUint16(at + 12, flags, true);
  view.setUint16(at + 14, next, true);
}

function drive(shape: Shape, service: QueueService, avail: Uint16Array, chains: number): void {
  for (let done = 0; done < chains; done += shape.batch) {
    avail[1] += shape.batch;
    while (service.service(shape.size));
  }
}
