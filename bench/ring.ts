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
  readonly packed?: boolean;
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
  {
    name: 'packed, batches of 64',
    size: 256,
    batch: 64,
    indirect: false,
    eventIdx: true,
    guestAddress: 0,
    packed: true,
  },
  {
    name: 'packed, batches of 64, indirect',
    size: 256,
    batch: 64,
    indirect: true,
    eventIdx: true,
    guestAddress: 0,
    packed: true,
  },
  {
    name: 'packed, one at a time',
    size: 256,
    batch: 1,
    indirect: false,
    eventIdx: true,
    guestAddress: 0,
    packed: true,
  },
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
  const offer = shape.packed === true ? offerPacked(shape, ram) : offerSplit(shape, ram);
  const service = new QueueService(running, nullDevice, newQueueCounters());
  drive(shape, service, offer, CHAINS / 4);
  const heapBefore = process.memoryUsage().heapUsed;
  const start = process.hrtime.bigint();
  drive(shape, service, offer, CHAINS);
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
const AVAIL = 1 << 7;
const USED = 1 << 15;

function activate(shape: Shape, memory: RegionMemory): RunningRing {
  const config = new QueueConfig(0, shape.size);
  config.descriptorArea.set(shape.guestAddress);
  config.driverArea.set(shape.guestAddress + AVAIL_OFFSET);
  config.deviceArea.set(shape.guestAddress + USED_OFFSET);
  let features = 1n << BigInt(VirtioFeature.VIRTIO_F_INDIRECT_DESC);
  if (shape.packed === true) features |= 1n << BigInt(VirtioFeature.VIRTIO_F_RING_PACKED);
  if (shape.eventIdx) features |= 1n << BigInt(VirtioFeature.VIRTIO_F_EVENT_IDX);
  const signals = { interrupt: () => {}, broken: (_: number, reason: string) => console.error(reason) };
  const { ring: running, problem } = config.activate(memory, features, signals, newQueueCounters());
  if (running === undefined) throw new Error(problem);
  return running;
}

/** Every slot's chain, once: the driver offers the same ones over and over. */
function fillRing(shape: Shape, view: DataView): void {
  if (shape.packed === true) {
    fillPackedRing(shape, view);
    return;
  }
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

/** The parts of a packed ring's descriptors that stay; `offerPacked` writes the others. */
function fillPackedRing(shape: Shape, view: DataView): void {
  for (let slot = 0; slot < shape.size; slot++) {
    const buffer = shape.guestAddress + BUFFERS_OFFSET + slot * BUFFER_BYTES;
    const table = TABLES_OFFSET + slot * 32;
    const address = shape.indirect ? shape.guestAddress + table : buffer;
    // Ids and flags lie where a split ring has flags and next: no flags means that nothing is available yet.
    writeDescriptor(view, slot * 16, address, 0, slot, 0);
    if (!shape.indirect) continue;
    writeDescriptor(view, table, buffer, 128, 0, 0);
    writeDescriptor(view, table + 16, buffer, BUFFER_BYTES, 0, WRITE);
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

/** Makes the next batch available. */
type Offer = () => void;

function offerSplit(shape: Shape, ram: Uint8Array): Offer {
  const avail = new Uint16Array(ram.buffer, AVAIL_OFFSET, shape.size + 3);
  return () => void (avail[1] += shape.batch);
}

/** The device writes over what it used: ids, lengths and flags have to be written anew on every lap, so this side costs something. */
function offerPacked(shape: Shape, ram: Uint8Array): Offer {
  const flags = new Uint16Array(ram.buffer, 0, shape.size * 8);
  const lengths = new Uint32Array(ram.buffer, 0, shape.size * 4);
  let at = 0;
  let available = AVAIL;
  const put = (length: number, itsFlags: number): void => {
    lengths[at * 4 + 2] = length;
    flags[at * 8 + 7] = itsFlags | available;
    at = (at + 1) % shape.size;
    if (at === 0) available ^= AVAIL | USED;
  };
  return () => {
    for (let i = 0; i < shape.batch; i++) {
      if (shape.indirect) put(32, INDIRECT);
      else {
        put(128, NEXT);
        put(BUFFER_BYTES, WRITE);
      }
    }
  };
}

function drive(shape: Shape, service: QueueService, offer: Offer, chains: number): void {
  for (let done = 0; done < chains; done += shape.batch) {
    offer();
    while (service.service(shape.size));
  }
}
