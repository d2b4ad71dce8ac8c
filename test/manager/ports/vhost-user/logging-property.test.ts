/**
 * What a migration counts on, under random traffic: a page that differs from the copy that was made when its mark was last taken is
 * marked again. What the driver writes is not the device's to mark, so the copy follows the driver's writes.
 */
import { describe, expect, it } from 'vitest';
import type { Chain, VirtioDevice, Virtqueue } from '../../../../devices/virtio/device.js';
import { MockSplitDriver, type MockBuffer, type MockDriver } from '../../../devices/virtio/mock-driver.js';
import { MockPackedDriver } from '../../../devices/virtio/mock-packed-driver.js';
import { AnyQueue, GUEST_BASE, GuestRam, Harness, USER_BASE } from './harness.js';
import { logBytesFor, LogFile } from './log-file.js';
import { Feature, memTable, Request, state, u64, type RawFrontEnd } from './raw-front-end.js';

const PAGE = 0x1000;
const RAM_BYTES = 0x80000;
/** Rings lie below. */
const BUFFERS_AT = 0x20000;
const INDIRECT_AT = 0x10000;
const LOG_BYTES = logBytesFor(GUEST_BASE + RAM_BYTES);
/** Rings of several pages; each round starts at another place in them, so that traffic crosses the ends of pages and of the ring. */
const QUEUE_SIZE = 1024;
const STEPS = 60;
/** Further rounds, each with a seed of its own: CHASSIS_FUZZ_ROUNDS=1000 npx vitest run … */
const ROUNDS = Number(process.env.CHASSIS_FUZZ_ROUNDS ?? 4);

type Random = (below: number) => number;

/** mulberry32 */
function randomFrom(seed: number): Random {
  let state = seed;
  return (below) => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) % below;
  };
}

/** Writes anything into chains, at any time, as much as it says. */
class Scribbler implements VirtioDevice {
  readonly deviceId = 42;
  readonly pciClass = 0xff0000;
  readonly features = 0n;
  readonly queueSizes = [QUEUE_SIZE];
  readonly config = new Uint8Array(0);
  readonly #random: Random;
  readonly #kept: [Virtqueue, Chain][] = [];

  constructor(random: Random) {
    this.#random = random;
  }

  writeConfig(): void {}
  activate(): void {}
  close(): void {}

  reset(): void {
    this.#kept.length = 0;
  }

  handleChain(queue: Virtqueue, chain: Chain): void {
    if (this.#random(3) === 0) this.#kept.push([queue, chain]);
    else this.#scribble(queue, chain);
  }

  /** Gives back some chains that it kept, in any order, or all. */
  giveBack(all: boolean): void {
    const queues = new Set<Virtqueue>();
    while (this.#kept.length > 0 && (all || this.#random(3) > 0)) {
      const [[queue, chain]] = this.#kept.splice(this.#random(this.#kept.length), 1);
      this.#scribble(queue, chain);
      queues.add(queue);
    }
    for (const queue of queues) queue.flush();
  }

  #scribble(queue: Virtqueue, chain: Chain): void {
    const length = this.#random(chain.writable.byteLength + 1);
    const bytes = Uint8Array.from({ length }, () => this.#random(256));
    queue.push(chain, chain.writable.scatter(0, bytes, 0, length));
  }
}

/** Guest, driver and migrating front-end in one. */
class Migration {
  readonly #random: Random;
  readonly #harness: Harness<Scribbler>;
  readonly #ram: GuestRam;
  readonly #queue: AnyQueue;
  readonly #frontEnd: RawFrontEnd;
  readonly #features: bigint;
  #log: LogFile | undefined;
  /** Guest memory at the last time that marks were taken. */
  #copy = new Uint8Array(0);
  #tables = 0;
  checks = 0;

  static async start(seed: number, features: bigint): Promise<Migration> {
    const random = randomFrom(seed);
    const harness = new Harness(new Scribbler(random));
    const ram = new GuestRam('migrating', RAM_BYTES);
    const frontEnd = await harness.ready(ram, features);
    const eventIdx = (features & Feature.EVENT_IDX) !== 0n;
    const place = { ramAddress: GUEST_BASE, size: QUEUE_SIZE, eventIdx, startIndex: 256 * seed - 20 };
    const packed = (features & Feature.RING_PACKED) !== 0n;
    const driver = packed ? new MockPackedDriver(ram.bytes, place) : new MockSplitDriver(ram.bytes, place);
    const queue = new AnyQueue(harness.reactor, ram, 0, driver);
    await queue.start(frontEnd, baseOf(driver, place.startIndex));
    return new Migration(random, harness, ram, queue, frontEnd, features);
  }

  constructor(
    random: Random,
    harness: Harness<Scribbler>,
    ram: GuestRam,
    queue: AnyQueue,
    frontEnd: RawFrontEnd,
    features: bigint,
  ) {
    this.#random = random;
    this.#harness = harness;
    this.#ram = ram;
    this.#queue = queue;
    this.#frontEnd = frontEnd;
    this.#features = features;
  }

  async step(): Promise<void> {
    const steps: (() => void | Promise<void>)[] = [
      () => this.#driver(),
      () => this.#driver(),
      () => this.#driver(),
      () => this.#harness.device.giveBack(false),
      () => this.#settled(),
      () => this.#settled(),
      () => this.#toggle(),
      () => this.#swapLog(),
      () => this.#changeMemory(),
      () => this.#pause(),
    ];
    await steps[this.#random(steps.length)]();
    if (this.#random(2) === 0) this.#check();
  }

  async finish(): Promise<void> {
    this.#harness.device.giveBack(true);
    await this.#settled();
    this.#check();
    expect(this.#harness.events).toEqual(['connect']);
  }

  /** Whatever differs is marked, in the log or in the one that takes its place, and now copied. */
  #check(next?: LogFile): void {
    if (this.#log === undefined) return;
    const marked = new Set([...this.#log.take(), ...(next?.pages() ?? [])]);
    for (let at = 0; at < RAM_BYTES; at += PAGE) {
      if (this.#pageDiffers(at)) expect(marked, `page 0x${at.toString(16)}`).toContain(GUEST_BASE + at);
    }
    expect(this.#log.untouchedAround).toBe(true);
    this.#copy = this.#ram.bytes.slice();
    this.checks++;
  }

  #pageDiffers(at: number): boolean {
    const { bytes } = this.#ram;
    return Buffer.compare(bytes.subarray(at, at + PAGE), this.#copy.subarray(at, at + PAGE)) !== 0;
  }

  /** The driver's writes are in the copy, too: the rest of their pages stays as it was there. */
  #asDriver(work: (driver: MockDriver) => void): void {
    const before = this.#ram.bytes.slice();
    work(this.#queue.driver);
    const { bytes } = this.#ram;
    for (let i = 0; i < this.#copy.length; i++) if (bytes[i] !== before[i]) this.#copy[i] = bytes[i];
  }

  #driver(): void {
    this.#asDriver((driver) => {
      driver.reap();
      for (let count = this.#random(4); count > 0 && driver.free >= 4; count--) this.#offer(driver);
      if (this.#random(2) === 0) driver.allowInterrupts();
      else driver.suppressInterrupts();
    });
    this.#queue.kick();
  }

  #offer(driver: MockDriver): void {
    const buffers: MockBuffer[] = [{ address: GUEST_BASE + BUFFERS_AT, length: 1 }];
    for (let count = this.#random(3); count >= 0; count--) {
      const length = 1 + this.#random(this.#random(2) === 0 ? 16 : 3 * PAGE);
      const address = GUEST_BASE + BUFFERS_AT + this.#random(RAM_BYTES - BUFFERS_AT - length);
      buffers.push({ address, length, writable: true });
    }
    const indirect = (this.#features & Feature.INDIRECT_DESC) !== 0n && this.#random(2) === 0;
    // A table for each chain that the ring can hold: those that the device has not seen yet stay as they are.
    if (indirect) driver.add(buffers, GUEST_BASE + INDIRECT_AT + (this.#tables++ % QUEUE_SIZE) * 0x40);
    else driver.add(buffers);
  }

  async #settled(): Promise<void> {
    await this.#frontEnd.queryU64(Request.GET_FEATURES);
  }

  async #toggle(): Promise<void> {
    if (this.#log === undefined) return this.#startLog();
    this.#check();
    this.#log = undefined;
    const off = [() => this.#setFeatures(false), () => this.#setAddresses(false)];
    for (const each of this.#random(2) === 0 ? off : off.reverse()) await each();
  }

  async #startLog(): Promise<void> {
    const log = await this.#giveLog();
    await this.#setFeatures(true);
    await this.#setAddresses(true);
    this.#copy = this.#ram.bytes.slice();
    this.#log = log;
  }

  /** As Cloud Hypervisor does to take marks. Between the reply and the look the device may have gone on, into the next log. */
  async #swapLog(): Promise<void> {
    if (this.#log === undefined) return;
    const next = await this.#giveLog();
    this.#check(next);
    this.#log = next;
  }

  async #giveLog(): Promise<LogFile> {
    const log = new LogFile(LOG_BYTES, this.#random(2) * PAGE);
    expect(await log.give(this.#frontEnd)).toBe(true);
    return log;
  }

  async #setFeatures(on: boolean): Promise<void> {
    await this.#frontEnd.set(
      Request.SET_FEATURES,
      u64(on ? this.#features | Feature.LOG_ALL : this.#features),
    );
  }

  async #setAddresses(on: boolean): Promise<void> {
    await this.#frontEnd.set(Request.SET_VRING_ADDR, this.#queue.addressesLogged(on));
  }

  /** The same memory in other pieces: requests under way go on in it. */
  async #changeMemory(): Promise<void> {
    const { fd, region } = this.#ram;
    const parts = this.#random(2) === 0 ? 1 : 4;
    const size = RAM_BYTES / parts;
    const regions = Array.from({ length: parts }, (_, i) => ({
      ...region,
      guest: GUEST_BASE + i * size,
      size,
      user: USER_BASE + i * size,
      offset: i * size,
    }));
    await this.#frontEnd.set(Request.SET_MEM_TABLE, memTable(...regions), Array<number>(parts).fill(fd));
  }

  async #pause(): Promise<void> {
    const { index } = this.#queue;
    let disabled = false;
    const done = this.#frontEnd.set(Request.SET_VRING_ENABLE, state(index, 0)).then(() => (disabled = true));
    while (!disabled) {
      this.#harness.device.giveBack(true);
      await new Promise(setImmediate);
    }
    await done;
    // In case that it waited in vain, because this process did not run for long.
    this.#harness.device.giveBack(true);
    const base = await this.#frontEnd.getVringBase(index);
    await this.#queue.start(this.#frontEnd, base);
    if (this.#log !== undefined) await this.#setAddresses(true);
  }
}

/** The base of a ring that both sides start in the middle of. */
function baseOf(driver: MockSplitDriver | MockPackedDriver, startIndex: number): number {
  if (driver instanceof MockSplitDriver) return startIndex;
  return driver.usedPosition * 0x10000 + driver.availPosition;
}

const MODERN = Feature.VERSION_1 | Feature.PROTOCOL_FEATURES;
const KINDS: [string, bigint][] = [
  ['a split ring', MODERN],
  ['a split ring with everything', MODERN | Feature.EVENT_IDX | Feature.INDIRECT_DESC],
  ['a packed ring', MODERN | Feature.RING_PACKED],
  ['a packed ring with everything', MODERN | Feature.RING_PACKED | Feature.EVENT_IDX | Feature.INDIRECT_DESC],
];

describe('a migration of a guest', () => {
  it.each(KINDS)(
    'finds each page marked that the device behind %s has changed',
    async (_, features) => {
      let checks = 0;
      for (let seed = 1; seed <= ROUNDS; seed++) {
        const migration = await Migration.start(seed, features);
        for (let i = 0; i < STEPS; i++) await migration.step();
        await migration.finish();
        checks += migration.checks;
      }
      expect(checks).toBeGreaterThan(ROUNDS);
    },
    // More rounds than usual take as long as they take.
    30_000 + ROUNDS * 2_000,
  );
});
