/**
 * What is measured: a device that completes each chain at once, and a driver that offers the same chains again and again. A chain is two
 * descriptors, one to read and one to write. bench/ring.c does the same in C, with everything at the same place in memory.
 */
import type { Chain, VirtioDevice, Virtqueue } from '../devices/virtio/device.js';
import { VirtioFeature } from '../devices/virtio/device.js';
import { ArrayRegion } from '../devices/virtio/memory/array-region.js';
import { RegionMemory } from '../devices/virtio/memory/region-memory.js';
import { QueueService } from '../devices/virtio/queue-service.js';
import { queueRegionBytes } from '../devices/virtio/ring/inflight/layout.js';
import { QueueConfig } from '../devices/virtio/ring/queue-config.js';
import { newQueueCounters, type RunningRing } from '../devices/virtio/ring/running-ring.js';

export interface RingCase {
  readonly format: 'split' | 'packed';
  readonly size: number;
  /** Chains that the driver offers at once. */
  readonly batch: number;
  readonly indirect: boolean;
  readonly eventIdx: boolean;
  readonly inOrder: boolean;
  /** The ring writes down what is under way, as it does over vhost-user. */
  readonly recorded: boolean;
}

const RAM_BYTES = 0x100_0000;
const DRIVER_AREA = 0x2_0000;
const DEVICE_AREA = 0x4_0000;
const TABLES = 0x8_0000;
const BUFFERS = 0x10_0000;
const READABLE_BYTES = 128;
const BUFFER_BYTES = 4096;
const DESC_BYTES = 16;
const TABLE_BYTES = 2 * DESC_BYTES;
/** Above 4 GiB, where a guest with more than 3 GiB has most of its memory, and mapped where the kernel puts things: the hard case for a JIT. */
const GUEST_ADDRESS = 0x1_4000_0000;
const NATIVE_ADDRESS = 0x7f12_3400_0000;

const NEXT = 1;
const WRITE = 2;
const INDIRECT = 4;
const AVAIL = 1 << 7;
const USED = 1 << 15;

const nullDevice: VirtioDevice = {
  deviceId: 2,
  pciClass: 0,
  features: 0n,
  queueSizes: [1024],
  config: new Uint8Array(0),
  writeConfig: () => {},
  activate: () => {},
  handleChain: (queue: Virtqueue, chain: Chain) => queue.push(chain, chain.writable.byteLength),
  reset: () => {},
  close: () => {},
};

export class RingWorkload {
  readonly counters = newQueueCounters();
  readonly #case: RingCase;
  readonly #service: QueueService;
  readonly #offer: () => void;

  constructor(ringCase: RingCase) {
    const ram = new Uint8Array(RAM_BYTES);
    const memory = new RegionMemory();
    memory.addRegion(new ArrayRegion(GUEST_ADDRESS, ram, { address: NATIVE_ADDRESS }));
    this.#case = ringCase;
    this.#service = new QueueService(activate(ringCase, memory, this.counters), nullDevice, this.counters);
    this.#offer = ringCase.format === 'packed' ? packedDriver(ringCase, ram) : splitDriver(ringCase, ram);
  }

  /** Has `chains` chains served, a multiple of the batch. */
  run(chains: number): void {
    const { batch, size } = this.#case;
    for (let done = 0; done < chains; done += batch) {
      this.#offer();
      while (this.#service.service(size));
    }
  }
}

function activate(
  ringCase: RingCase,
  memory: RegionMemory,
  counters: ReturnType<typeof newQueueCounters>,
): RunningRing {
  const config = new QueueConfig(0, ringCase.size);
  config.descriptorArea.set(GUEST_ADDRESS);
  config.driverArea.set(GUEST_ADDRESS + DRIVER_AREA);
  config.deviceArea.set(GUEST_ADDRESS + DEVICE_AREA);
  if (ringCase.recorded)
    config.inflight = new Uint8Array(queueRegionBytes(ringCase.size, ringCase.format === 'packed'));
  const bit = (feature: number, wanted: boolean): bigint => (wanted ? 1n << BigInt(feature) : 0n);
  const features =
    bit(VirtioFeature.VIRTIO_F_INDIRECT_DESC, ringCase.indirect) |
    bit(VirtioFeature.VIRTIO_F_EVENT_IDX, ringCase.eventIdx) |
    bit(VirtioFeature.VIRTIO_F_RING_PACKED, ringCase.format === 'packed') |
    bit(VirtioFeature.VIRTIO_F_IN_ORDER, ringCase.inOrder);
  const signals = {
    interrupt: () => {},
    held: () => {},
    broken: (_: number, reason: string) => {
      throw new Error(reason);
    },
  };
  const { ring, problem } = config.activate(memory, features, signals, counters);
  if (ring === undefined) throw new Error(problem);
  return ring;
}

/** Every slot has its chain from the start, so that offering a batch is moving the index. */
function splitDriver({ size, batch, indirect }: RingCase, ram: Uint8Array): () => void {
  const view = new DataView(ram.buffer);
  const chains = indirect ? size : size / 2;
  for (let slot = 0; slot < size; slot++) {
    const chain = slot % chains;
    const first = indirect ? 0 : chain * 2;
    const table = indirect ? TABLES + chain * TABLE_BYTES : first * DESC_BYTES;
    const buffer = GUEST_ADDRESS + BUFFERS + chain * 2 * BUFFER_BYTES;
    writeDescriptor(view, table, buffer, READABLE_BYTES, NEXT, first + 1);
    writeDescriptor(view, table + DESC_BYTES, buffer + BUFFER_BYTES, BUFFER_BYTES, WRITE, 0);
    if (indirect) writeDescriptor(view, chain * DESC_BYTES, GUEST_ADDRESS + table, TABLE_BYTES, INDIRECT, 0);
    view.setUint16(DRIVER_AREA + 4 + slot * 2, indirect ? chain : first, true);
  }
  const avail = new Uint16Array(ram.buffer, DRIVER_AREA, 2);
  return () => void Atomics.store(avail, 1, avail[1] + batch);
}

/**
 * The device writes over what it uses, so each batch is copied into the ring again. There are two laps of it, one for each value of the wrap
 * counter.
 */
function packedDriver({ size, batch, indirect }: RingCase, ram: Uint8Array): () => void {
  const laps = new Uint8Array(2 * size * DESC_BYTES);
  const view = new DataView(ram.buffer);
  for (let at = 0; at < 2 * size; at++) {
    writeLapDescriptor(
      new DataView(laps.buffer),
      at * DESC_BYTES,
      at % size,
      at < size ? AVAIL : USED,
      indirect,
    );
  }
  for (let slot = 0; indirect && slot < size; slot++) {
    const buffer = GUEST_ADDRESS + BUFFERS + slot * BUFFER_BYTES;
    const table = TABLES + slot * TABLE_BYTES;
    writeDescriptor(view, table, buffer, READABLE_BYTES, 0, 0);
    writeDescriptor(view, table + DESC_BYTES, buffer + BUFFER_BYTES, BUFFER_BYTES, 0, WRITE);
  }
  const batchBytes = batch * (indirect ? 1 : 2) * DESC_BYTES;
  const batches = Array.from({ length: laps.length / batchBytes }, (_, i) =>
    laps.subarray(i * batchBytes, (i + 1) * batchBytes),
  );
  let next = 0;
  return () => {
    ram.set(batches[next], (next * batchBytes) % (size * DESC_BYTES));
    next = next + 1 === batches.length ? 0 : next + 1;
  };
}

function writeLapDescriptor(view: DataView, at: number, slot: number, lap: number, indirect: boolean): void {
  const buffer = GUEST_ADDRESS + BUFFERS + slot * BUFFER_BYTES;
  if (indirect) {
    writeDescriptor(view, at, GUEST_ADDRESS + TABLES + slot * TABLE_BYTES, TABLE_BYTES, slot, INDIRECT | lap);
  } else if (slot % 2 === 0) writeDescriptor(view, at, buffer, READABLE_BYTES, slot, NEXT | lap);
  else writeDescriptor(view, at, buffer, BUFFER_BYTES, slot, WRITE | lap);
}

/** `third` and `fourth` are flags and next in a split ring, id and flags in a packed one. */
function writeDescriptor(
  view: DataView,
  at: number,
  address: number,
  length: number,
  third: number,
  fourth: number,
): void {
  view.setUint32(at, address >>> 0, true);
  view.setUint32(at + 4, Math.floor(address / 2 ** 32), true);
  view.setUint32(at + 8, length, true);
  view.setUint16(at + 12, third, true);
  view.setUint16(at + 14, fourth, true);
}
