/**
 * A ring whose process may be killed before each of its stores: to guest memory and to the in-flight area. What is there then goes to a ring of
 * a next process, which is held against what the driver knows.
 */
import { ArrayRegion } from '../../../../../devices/virtio/memory/array-region.js';
import { RegionMemory } from '../../../../../devices/virtio/memory/region-memory.js';
import type { Chain } from '../../../../../devices/virtio/device.js';
import { queueRegionBytes } from '../../../../../devices/virtio/ring/inflight/layout.js';
import { QueueConfig } from '../../../../../devices/virtio/ring/queue-config.js';
import { newQueueCounters, type RunningRing } from '../../../../../devices/virtio/ring/running-ring.js';
import { MockSplitDriver } from '../../mock-driver.js';
import { MockPackedDriver } from '../../mock-packed-driver.js';
import type { Random } from '../../../../support/random.js';
import { packedPosition } from '../fixture.js';
import { PlainMemory, watchMemory } from '../watched-memory.js';

export interface Mode {
  readonly packed: boolean;
  readonly indirect: boolean;
  readonly inOrder: boolean;
  readonly size: number;
  readonly startIndex: number;
}

const RAM_ADDRESS = 0x10_0000;
const RAM_BYTES = 0x4000;
/** Each request has buffers of its own, by which it is known. */
const BUFFER_BYTES = 16;
const BASE_FEATURES = (1n << 28n) | (1n << 29n) | (1n << 32n);
const RING_PACKED = 1n << 34n;
const IN_ORDER = 1n << 35n;

interface Request {
  readonly number: number;
  readonly id: number;
}

export class KilledRing {
  readonly mode: Mode;
  readonly ram = new Uint8Array(RAM_BYTES);
  readonly region: Uint8Array;
  readonly driver: MockSplitDriver | MockPackedDriver;
  readonly ring: RunningRing;
  kills = 0;
  readonly #random: Random;
  /** What is out: not taken yet, and taken, each in order. */
  #offered: Request[] = [];
  #taken: Request[] = [];
  readonly #held: { readonly chain: Chain; readonly request: Request }[] = [];
  #numbers = 0;
  /** Ring entries that the driver has reaped, or that were used before. */
  #reaped: number;
  readonly #entriesOf = new Map<number, number>();

  constructor(mode: Mode, random: Random, isWatched = true) {
    this.mode = mode;
    this.#random = random;
    this.#reaped = mode.startIndex;
    this.region = new Uint8Array(queueRegionBytes(mode.size, mode.packed));
    const place = { ...mode, ramAddress: RAM_ADDRESS, eventIdx: true };
    const Driver = mode.packed ? MockPackedDriver : MockSplitDriver;
    this.driver = new Driver(this.ram, place);
    for (const memory of isWatched ? [this.ram, this.region] : []) {
      const plain = new PlainMemory(memory);
      watchMemory(memory, {
        load: (offset, width) => plain.load(offset, width),
        store: (offset, width, value) => {
          this.#kill();
          plain.store(offset, width, value);
        },
      });
    }
    this.ring = this.#activate(this.ram, this.region);
  }

  /** One thing that the driver or the device does. */
  step(): void {
    const what = this.#random(8);
    if (what < 3) this.#offer();
    else if (what < 5) this.#take();
    else if (what === 5) this.#complete();
    else if (what === 6) this.#publish();
    else this.#reap();
  }

  #offer(): void {
    const count = 1 + this.#random(this.mode.indirect ? 3 : 2);
    const entries = this.mode.indirect ? 1 : count;
    if (this.driver.free < entries) return;
    // More numbers than can be out at once.
    const number = this.#numbers++ % (4 * this.mode.size);
    const at = this.driver.freeAddress + number * 64;
    const buffers = Array.from({ length: count }, (_, i) => ({
      address: at + i * BUFFER_BYTES,
      length: BUFFER_BYTES,
      writable: i > 0,
    }));
    const table = this.driver.freeAddress + 0x1000 + number * 64;
    const id = this.driver.add(buffers, this.mode.indirect ? table : undefined);
    this.#entriesOf.set(id, this.mode.packed ? entries : 1);
    this.#offered.push({ number, id });
  }

  #take(): void {
    const chain = this.ring.pop();
    if (chain === undefined) return;
    if (this.#random(6) === 0) return this.ring.unpop(chain);
    const request = this.#offered.shift()!;
    this.#taken.push(request);
    this.#held.push({ chain, request });
  }

  #complete(): void {
    if (this.#held.length === 0) return;
    const [{ chain }] = this.#held.splice(this.#random(this.#held.length), 1);
    this.ring.push(chain, chain.writable.byteLength);
  }

  #publish(): void {
    this.ring.flush();
  }

  #reap(): void {
    for (const { id } of this.driver.reap()) {
      this.#taken = this.#taken.filter((request) => request.id !== id);
      this.#reaped += this.#entriesOf.get(id)!;
    }
  }

  #activate(ram: Uint8Array, region: Uint8Array): RunningRing {
    const { packed, inOrder, size, startIndex } = this.mode;
    const memory = new RegionMemory();
    memory.addRegion(new ArrayRegion(RAM_ADDRESS, ram));
    const config = new QueueConfig(0, size);
    config.descriptorArea.set(this.driver.descriptorArea);
    config.driverArea.set(this.driver.driverArea);
    config.deviceArea.set(this.driver.deviceArea);
    config.inflight = region;
    // What QEMU says after a lost connection: where a split ring's driver saw it last, and of a packed one what it knew at the start.
    const view = new DataView(ram.buffer);
    const used = view.getUint16(this.driver.deviceArea - RAM_ADDRESS + 2, true);
    const start = packed ? packedPosition(startIndex, size) : used;
    config.start = { nextAvail: start, nextUsed: start };
    const features = BASE_FEATURES | (packed ? RING_PACKED : 0n) | (inOrder ? IN_ORDER : 0n);
    const problems: string[] = [];
    const signals = {
      interrupt: () => true,
      broken: (_: number, reason: string) => void problems.push(reason),
      held: () => undefined,
    };
    const { ring, problem } = config.activate(memory, features, signals, newQueueCounters());
    if (ring === undefined) throw new Error(problem);
    return ring;
  }

  /** What a next process makes of memory as it is now. */
  #kill(): void {
    this.kills++;
    const ram = this.ram.slice();
    const answered = this.#visible(ram);
    const isOpen = ({ id }: Request) => !answered.includes(id);
    const expected = [...this.#taken.filter(isOpen), ...this.#offered.filter(isOpen)];
    // It is killed in its turn, after it has found out, and once it has begun.
    const region = this.region.slice();
    for (let life = 0; life < 2; life++) this.#takeAll(this.#activate(ram, region), expected, life * 2);
    const ring = this.#activate(ram, region);
    const chains = this.#takeAll(ring, expected, Infinity);
    for (const chain of this.mode.inOrder ? chains : chains.reverse()) ring.push(chain, 0);
    ring.flush();
    const all = this.#visible(ram);
    const out = [...this.#taken, ...this.#offered].map(({ id }) => id);
    const isSame = all.length === out.length && out.every((id) => all.includes(id));
    if (!isSame) throw new Error(`answered were ${all.join()}, and out are ${out.join()}`);
  }

  #takeAll(ring: RunningRing, expected: readonly Request[], most: number): Chain[] {
    const chains: Chain[] = [];
    for (let i = 0; i < most; i++) {
      const chain = ring.pop();
      if (chain === undefined) break;
      chains.push(chain);
    }
    const first = this.driver.freeAddress - RAM_ADDRESS;
    const numbers = chains.map(({ readable }) => (readable.offsets[0] - first) / 64);
    const wanted = expected.map(({ number }) => number).slice(0, most);
    if (numbers.join() !== wanted.join())
      throw new Error(`given were ${numbers.join()}, and not ${wanted.join()}`);
    return chains;
  }

  /** The ids that a driver would reap. */
  #visible(ram: Uint8Array): number[] {
    return this.mode.packed ? this.#visiblePacked(ram) : this.#visibleSplit(ram);
  }

  #visibleSplit(ram: Uint8Array): number[] {
    const view = new DataView(ram.buffer);
    const at = this.driver.deviceArea - RAM_ADDRESS;
    const end = view.getUint16(at + 2, true);
    const ids: number[] = [];
    for (let i = this.#reaped & 0xffff; i !== end;) {
      const id = view.getUint32(at + 4 + 8 * (i % this.mode.size), true);
      const batch = this.#batch(ids, id);
      ids.push(...batch);
      i = (i + batch.length) & 0xffff;
    }
    return ids;
  }

  #visiblePacked(ram: Uint8Array): number[] {
    const view = new DataView(ram.buffer);
    const { size } = this.mode;
    const ids: number[] = [];
    for (let count = this.#reaped; ;) {
      const at = this.driver.descriptorArea - RAM_ADDRESS + 16 * (count % size);
      const flags = view.getUint16(at + 14, true) & 0x8080;
      if (flags !== (Math.floor(count / size) % 2 === 0 ? 0x8080 : 0)) return ids;
      if (ids.length === this.#taken.length + this.#offered.length) return ids;
      const batch = this.#batch(ids, view.getUint16(at + 12, true));
      ids.push(...batch);
      for (const id of batch) count += this.#entriesOf.get(id)!;
    }
  }

  /** With VIRTIO_F_IN_ORDER an element stands for all up to the one that it names. */
  #batch(before: readonly number[], id: number): number[] {
    if (!this.mode.inOrder) return [id];
    const order = [...this.#taken, ...this.#offered].map((request) => request.id).slice(before.length);
    return order.slice(0, order.indexOf(id) + 1);
  }
}
