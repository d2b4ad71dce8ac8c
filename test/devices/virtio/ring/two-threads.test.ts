import { Worker } from 'node:worker_threads';
import { afterEach, describe, expect, it } from 'vitest';
import { VirtioFeature } from '../../../../devices/virtio/device.js';
import { ArrayRegion } from '../../../../devices/virtio/memory/array-region.js';
import { RegionMemory } from '../../../../devices/virtio/memory/region-memory.js';
import { QueueService } from '../../../../devices/virtio/queue-service.js';
import { QueueConfig } from '../../../../devices/virtio/ring/queue-config.js';
import { newQueueCounters } from '../../../../devices/virtio/ring/running-ring.js';
import { nullDevice } from '../null-device.js';

const AVAIL = 0x1000;
const USED = 0x2000;
const CONTROL = 0x3000;
const RAM_BYTES = 0x4000;
const CHAINS = 150_000;
/** Nobody waits this long unless a kick or an interrupt was lost. */
const LOST_MS = 10_000;

/** Words of the control block: counters that the sides wait on. */
const KICKS = CONTROL / 4;
const INTERRUPTS = KICKS + 1;
const FAILED = KICKS + 2;

/**
 * A driver on another core. It offers chains in bursts, kicks only when the ring asks for it, and then sleeps until it is
 * interrupted, having asked for that at every burst.
 */
const DRIVER = `
const { workerData: { ram, eventIdx, size, chains, AVAIL, USED, KICKS, INTERRUPTS, FAILED, lostMs } } = require('node:worker_threads');
const words = new Int32Array(ram);
const avail = new Uint16Array(ram, AVAIL, 2 + size + 1);
const used = new Uint16Array(ram, USED, 2 + size * 4 + 1);
let offered = 0;
let seen = 0;
const reap = () => { const to = Atomics.load(used, 1); const count = (to - seen) & 0xffff; seen = to; return count; };
let completed = 0;
while (completed < chains) {
  const burst = Math.min(1 + (offered % 5), size - (offered - completed), chains - offered);
  const old = offered & 0xffff;
  for (let i = 0; i < burst; i++) { avail[2 + (offered % size)] = offered % size; offered++; }
  const now = offered & 0xffff;
  Atomics.store(avail, 1, now);
  const event = Atomics.load(used, 2 + size * 4);
  const kick = eventIdx ? ((now - event - 1) & 0xffff) < ((now - old) & 0xffff) : (Atomics.load(used, 0) & 1) === 0;
  if (burst > 0 && kick) { Atomics.add(words, KICKS, 1); Atomics.notify(words, KICKS); }
  for (;;) {
    const interrupts = Atomics.load(words, INTERRUPTS);
    completed += reap();
    if (completed === offered || offered - completed < size / 2 && offered < chains) break;
    if (eventIdx) Atomics.store(avail, 2 + size, seen); else Atomics.store(avail, 0, 0);
    if (Atomics.load(used, 1) !== seen) continue;
    if (Atomics.wait(words, INTERRUPTS, interrupts, lostMs) === 'timed-out') {
      Atomics.store(words, FAILED, 1);
      completed = chains;
      break;
    }
    if (!eventIdx) Atomics.store(avail, 0, 1);
  }
}
`;

/**
 * The same over a packed ring: `avail` and `used` are event suppression structures, of 32 bits each. A descriptor goes around with its
 * address; the device leaves that alone. Elements may come back in any order, but this device keeps it.
 */
const PACKED_DRIVER = `
const { workerData: { ram, eventIdx, size, chains, AVAIL, USED, KICKS, INTERRUPTS, FAILED, lostMs } } = require('node:worker_threads');
const words = new Int32Array(ram);
const flags = new Uint16Array(ram, 0, size * 8);
const lengths = new Uint32Array(ram, 0, size * 4);
const [AVAIL_FLAG, USED_FLAG, DISABLE, DESC] = [0x80, 0x8000, 1, 2];
const lap = (n) => Math.floor(n / size) % 2;
const place = (n) => n % size + (lap(n) === 0 ? 0x8000 : 0);
let offered = 0;
let completed = 0;
const used = () => {
  const seen = Atomics.load(flags, (completed % size) * 8 + 7) & (AVAIL_FLAG | USED_FLAG);
  return seen === (lap(completed) === 0 ? AVAIL_FLAG | USED_FLAG : 0);
};
const reap = () => { while (completed < offered && used()) completed++; };
while (completed < chains) {
  const burst = Math.min(1 + (offered % 5), size - (offered - completed), chains - offered);
  const old = offered;
  for (let i = 0; i < burst; i++) {
    const at = offered % size;
    lengths[at * 4 + 2] = 64;
    Atomics.store(flags, at * 8 + 7, lap(offered) === 0 ? AVAIL_FLAG : USED_FLAG);
    offered++;
  }
  const event = Atomics.load(words, USED / 4);
  let kick = event >>> 16 !== DISABLE;
  if (event >>> 16 === DESC) {
    kick = false;
    for (let n = old; n < offered; n++) if (place(n) === (event & 0xffff)) kick = true;
  }
  if (burst > 0 && kick) { Atomics.add(words, KICKS, 1); Atomics.notify(words, KICKS); }
  for (;;) {
    const interrupts = Atomics.load(words, INTERRUPTS);
    reap();
    if (completed === offered || offered - completed < size / 2 && offered < chains) break;
    Atomics.store(words, AVAIL / 4, eventIdx ? DESC << 16 | place(completed) : 0);
    if (used()) continue;
    if (Atomics.wait(words, INTERRUPTS, interrupts, lostMs) === 'timed-out') {
      Atomics.store(words, FAILED, 1);
      completed = chains;
      break;
    }
    if (!eventIdx) Atomics.store(words, AVAIL / 4, DISABLE << 16);
  }
}
`;

const FORMATS = [
  { name: 'a split ring', driver: DRIVER, size: 16, format: 0n },
  {
    name: 'a packed ring',
    driver: PACKED_DRIVER,
    size: 13,
    format: 1n << BigInt(VirtioFeature.VIRTIO_F_RING_PACKED),
  },
];
const MODES = FORMATS.flatMap((format) => [true, false].map((eventIdx) => ({ ...format, eventIdx })));

let worker: Worker | undefined;
afterEach(() => worker?.terminate());

describe('driver and device on two cores', () => {
  for (const { name, driver, size, format, eventIdx } of MODES) {
    it(`lose no kick, no interrupt and no chain in ${name} with ${eventIdx ? 'event index' : 'flags'}`, () => {
      const ram = new SharedArrayBuffer(RAM_BYTES);
      const words = new Int32Array(ram);
      const view = new DataView(ram);
      for (let i = 0; i < size; i++) {
        view.setUint32(i * 16, 0x800, true);
        view.setUint32(i * 16 + 8, 64, true);
      }
      const memory = new RegionMemory();
      memory.addRegion(new ArrayRegion(0, new Uint8Array(ram)));
      const config = new QueueConfig(0, size);
      config.driverArea.set(AVAIL);
      config.deviceArea.set(USED);
      const counters = newQueueCounters();
      const problems: string[] = [];
      const signals = {
        interrupt: () => {
          Atomics.add(words, INTERRUPTS, 1);
          Atomics.notify(words, INTERRUPTS);
        },
        broken: (_: number, reason: string) => void problems.push(reason),
        held: () => {},
      };
      const features = format | (eventIdx ? 1n << BigInt(VirtioFeature.VIRTIO_F_EVENT_IDX) : 0n);
      const { ring } = config.activate(memory, features, signals, counters);
      if (ring === undefined) throw new Error('the ring is sound');
      const service = new QueueService(ring, nullDevice(), counters);
      const workerData = {
        ram,
        eventIdx,
        size,
        chains: CHAINS,
        AVAIL,
        USED,
        KICKS,
        INTERRUPTS,
        FAILED,
      };
      worker = new Worker(driver, { eval: true, workerData: { ...workerData, lostMs: LOST_MS } });

      let kicks = 0;
      let lost = '';
      while (counters.requests < CHAINS && lost === '' && problems.length === 0) {
        while (service.service(8));
        if (counters.requests === CHAINS) break;
        const outcome = Atomics.wait(words, KICKS, kicks, LOST_MS);
        kicks = Atomics.load(words, KICKS);
        if (outcome === 'timed-out') lost = 'a kick was lost';
        if (Atomics.load(words, FAILED) === 1) lost = 'an interrupt was lost';
      }
      expect({ lost, problems, requests: counters.requests }).toEqual({
        lost: '',
        problems: [],
        requests: CHAINS,
      });
    });
  }
});
