/**
 * The orders of messages that QEMU 11.1.3 produces, as they were recorded from it: what is acknowledged and what is not, too. Its
 * generic device (vhost-user-test-device) and vhost-user-blk differ in what they say about the status and in who resets.
 */
import { describe, expect, it } from 'vitest';
import { socketPair } from '../../../../host/index.js';
import {
  GUEST_BASE,
  GuestRam,
  mappingsOf,
  owned,
  PackedQueue,
  startServer,
  TestQueue,
  USER_BASE,
  type AnyQueue,
  type EchoDevice,
  type Harness,
} from './harness.js';
import { LogFile } from './log-file.js';
import {
  config,
  Feature,
  memRegion,
  ProtocolFeature,
  Request,
  state,
  u64,
  vringAddr,
  type RawFrontEnd,
  type WireRegion,
} from './raw-front-end.js';

/** What QEMU has of the protocol features that a back-end offers. */
const QEMU_PROTOCOL_FEATURES = Object.values(ProtocolFeature).reduce((bits, bit) => bits | bit, 0n);
const DRIVER_FEATURES = Feature.VERSION_1 | Feature.INDIRECT_DESC | Feature.EVENT_IDX;
const CONFIG_BYTES = 20;
const FEATURES_OK = 8;
const STARTED = 15;
/** QEMU's log has a word of 64 bits for each 256 KiB. */
const LOG_WORD = 0x40000;

interface Kind {
  /** vhost-user-blk says when it starts and stops, resets by RESET_DEVICE, and sets features twice. */
  readonly disk: boolean;
  readonly packed: boolean;
}

class Qemu {
  readonly harness: Harness<EchoDevice>;
  readonly ram = new GuestRam('qemu');
  readonly kind: Kind;
  frontEnd: RawFrontEnd;
  queue: AnyQueue;
  #regions: WireRegion[] = [];
  #logging = false;
  #log: LogFile | undefined;

  /** Plugs the device and reads its config space. */
  static async plug(kind: Kind): Promise<Qemu> {
    const qemu = new Qemu(kind);
    await qemu.open();
    return qemu;
  }

  private constructor(kind: Kind) {
    this.kind = kind;
    this.harness = startServer();
    this.frontEnd = this.harness.connect();
    this.queue = this.newQueue();
  }

  /** What a new driver makes: an empty ring. */
  newQueue(): AnyQueue {
    this.ram.bytes.fill(0, 0, 0x8000);
    const Queue = this.kind.packed ? PackedQueue : TestQueue;
    return new Queue(this.harness.reactor, this.ram, 0, true);
  }

  get log(): LogFile {
    if (this.#log === undefined) throw new Error('there is no log');
    return this.#log;
  }

  /** vhost_dev_init */
  async open(): Promise<void> {
    const { frontEnd } = this;
    this.#regions = [];
    await frontEnd.queryU64(Request.GET_FEATURES);
    const offered = await frontEnd.queryU64(Request.GET_PROTOCOL_FEATURES);
    frontEnd.send(Request.SET_PROTOCOL_FEATURES, u64(offered & QEMU_PROTOCOL_FEATURES));
    expect(await frontEnd.queryU64(Request.GET_QUEUE_NUM)).toBe(2n);
    expect(await frontEnd.queryU64(Request.GET_MAX_MEM_SLOTS)).toBe(509n);
    await frontEnd.set(Request.SET_BACKEND_REQ_FD, undefined, [owned(socketPair().map(owned)[0])]);
    frontEnd.send(Request.SET_OWNER);
    await frontEnd.queryU64(Request.GET_FEATURES);
    await this.#setCall();
    await frontEnd.set(Request.SET_VRING_ERR, u64(0), [this.queue.err.fd]);
    for (let i = this.kind.disk ? 1 : 6; i > 0; i--)
      expect(await frontEnd.query(Request.GET_CONFIG, config(0, CONFIG_BYTES))).toHaveLength(
        12 + CONFIG_BYTES,
      );
    if (this.kind.disk) frontEnd.send(Request.RESET_DEVICE);
  }

  /** vhost_dev_start, with the base where the driver's ring stands */
  async start(
    base = this.queue.freshBase,
    regions: readonly WireRegion[] = [this.ram.region],
  ): Promise<void> {
    const { frontEnd, queue, kind } = this;
    await this.#setFeatures();
    if (kind.disk) {
      await this.#setCall();
      await this.#setFeatures();
    }
    for (const region of regions) await this.#addRegion(region);
    frontEnd.send(Request.SET_VRING_NUM, state(0, queue.driver.size));
    frontEnd.send(Request.SET_VRING_BASE, state(0, base));
    await this.#setAddresses();
    await frontEnd.set(Request.SET_VRING_KICK, u64(0), [queue.kickFd]);
    if (!kind.disk) await this.#setCall();
    if (this.#logging) await this.#giveLog();
    await frontEnd.set(Request.SET_VRING_ENABLE, state(0, 1));
    if (!kind.disk) return this.#setCall();
    await frontEnd.queryU64(Request.GET_STATUS);
    frontEnd.send(Request.SET_STATUS, u64(STARTED));
  }

  /** vhost_dev_stop: the machine pauses, the driver resets, the device goes, QEMU ends. Answers the base. */
  async stop(): Promise<number> {
    const { frontEnd, kind } = this;
    await frontEnd.set(Request.SET_VRING_ENABLE, state(0, 0));
    const base = await frontEnd.getVringBase(0);
    if (kind.disk) frontEnd.send(Request.SET_STATUS, u64(0));
    return base;
  }

  /** The driver resets the device. */
  async reset(times = 1): Promise<void> {
    await this.stop();
    if (this.kind.disk) for (let i = 0; i < times; i++) this.frontEnd.send(Request.RESET_DEVICE);
    this.queue = this.newQueue();
  }

  /** vhost_migration_log(true) */
  async startLog(): Promise<void> {
    await this.#giveLog();
    this.#logging = true;
    await this.#setFeatures();
    await this.#setAddresses();
  }

  /** vhost_migration_log(false) */
  async stopLog(): Promise<void> {
    this.#logging = false;
    await this.#setFeatures();
    await this.#setAddresses();
    // QEMU waits for nothing here, but a test has to.
    await this.frontEnd.queryU64(Request.GET_STATUS);
  }

  /** vhost_commit: a larger log comes before the memory. */
  async plugMemory(region: WireRegion): Promise<void> {
    if (this.#logging) await this.#giveLog(Number(region.guest) + Number(region.size));
    await this.#addRegion(region);
  }

  async unplugMemory(region: WireRegion): Promise<void> {
    await this.frontEnd.set(Request.REM_MEM_REG, memRegion(region));
    this.#regions = this.#regions.filter((other) => other.guest !== region.guest);
  }

  /** The front-end's process ends. */
  async quit(): Promise<void> {
    await this.stop();
    await this.harness.disconnect(this.frontEnd);
  }

  /** The chardev connects again (reconnect-ms) after the connection was lost. */
  async reconnect(): Promise<void> {
    await this.harness.disconnect(this.frontEnd);
    this.frontEnd = this.harness.connect();
    await this.open();
  }

  async #setFeatures(): Promise<void> {
    const { frontEnd, kind } = this;
    const features = DRIVER_FEATURES | Feature.PROTOCOL_FEATURES | (kind.packed ? Feature.RING_PACKED : 0n);
    if (this.#logging) await frontEnd.set(Request.SET_FEATURES, u64(features | Feature.LOG_ALL));
    else frontEnd.send(Request.SET_FEATURES, u64(features));
    const status = await frontEnd.queryU64(Request.GET_STATUS);
    if ((status & BigInt(FEATURES_OK)) === 0n)
      frontEnd.send(Request.SET_STATUS, u64(status | BigInt(FEATURES_OK)));
  }

  /** It is only waited for while it asks for a log. */
  async #setAddresses(): Promise<void> {
    const { frontEnd, queue } = this;
    if (this.#logging) await frontEnd.set(Request.SET_VRING_ADDR, queue.addressesLogged(true));
    else frontEnd.send(Request.SET_VRING_ADDR, vringAddr(0, queue.addresses, 0, queue.driver.deviceArea));
  }

  async #setCall(): Promise<void> {
    await this.frontEnd.set(Request.SET_VRING_CALL, u64(0), [this.queue.call.fd]);
  }

  async #addRegion(region: WireRegion): Promise<void> {
    if (this.#regions.some((other) => other.guest === region.guest)) return;
    await this.frontEnd.set(Request.ADD_MEM_REG, memRegion(region), [this.ram.fd]);
    this.#regions.push(region);
  }

  async #giveLog(endAddress = GUEST_BASE + this.ram.sizeBytes): Promise<void> {
    const bytes = Math.ceil(endAddress / LOG_WORD) * 8;
    this.#log = this.#log?.sizeBytes === bytes ? this.#log : new LogFile(bytes);
    expect(await this.#log.give(this.frontEnd)).toBe(true);
  }
}

const KINDS: [string, Kind][] = [
  ['the generic device, split', { disk: false, packed: false }],
  ['the generic device, packed', { disk: false, packed: true }],
  ['vhost-user-blk, split', { disk: true, packed: false }],
  ['vhost-user-blk, packed', { disk: true, packed: true }],
];

describe.each(KINDS)('as QEMU does: %s', (_, kind) => {
  it('starts, serves, pauses and goes on with the same device', async () => {
    const qemu = await Qemu.plug(kind);
    const { harness } = qemu;
    await qemu.start();
    expect(await qemu.queue.roundTrip('first')).toBe('first');
    const base = await qemu.stop();
    await qemu.start(base);
    expect(await qemu.queue.roundTrip('second')).toBe('second');
    expect(harness.device.calls.filter((call) => call === 'activate')).toHaveLength(1);
    expect(harness.events).toEqual(['connect']);
  });

  it('has a firmware drive the device before Linux does', async () => {
    const qemu = await Qemu.plug(kind);
    await qemu.start();
    await qemu.queue.roundTrip('firmware');
    await qemu.reset(2);
    await qemu.start();
    expect(await qemu.queue.roundTrip('Linux')).toBe('Linux');
    expect(qemu.harness.device.calls).toEqual(['activate', 'reset', 'activate']);
  });

  it('unplugs the device and plugs it again over the same chardev, then removes that', async () => {
    const qemu = await Qemu.plug(kind);
    await qemu.start();
    await qemu.queue.roundTrip('x');
    await qemu.stop();
    await qemu.open();
    qemu.queue = qemu.newQueue();
    await qemu.start();
    expect(await qemu.queue.roundTrip('y')).toBe('y');
    await qemu.quit();
    expect(mappingsOf('qemu')).toBe(1);
    expect(qemu.harness.events).toEqual(['connect', 'disconnect: the front-end closed the connection']);
  });

  it('migrates: the log is on while requests run, and off again where the migration is cancelled', async () => {
    const qemu = await Qemu.plug(kind);
    await qemu.start();
    await qemu.queue.roundTrip('before');
    await qemu.startLog();
    await qemu.queue.roundTrip('during');
    expect(qemu.log.isMarked(qemu.queue.driver.deviceArea)).toBe(true);
    await qemu.stopLog();
    qemu.log.take();
    expect(await qemu.queue.roundTrip('after')).toBe('after');
    expect(qemu.log.pages()).toEqual([]);
    expect(qemu.harness.device.calls.filter((call) => call === 'activate')).toHaveLength(1);
  });

  it('pauses and goes on in the middle of a migration, where the log comes after the ring', async () => {
    const qemu = await Qemu.plug(kind);
    await qemu.start();
    await qemu.queue.roundTrip('before');
    await qemu.startLog();
    const base = await qemu.stop();
    qemu.log.take();
    await qemu.start(base);
    expect(await qemu.queue.roundTrip('goes on')).toBe('goes on');
    expect(qemu.log.take().size).toBeGreaterThan(0);
  });

  it('has the driver reset the device in the middle of a migration', async () => {
    const qemu = await Qemu.plug(kind);
    await qemu.start();
    await qemu.queue.roundTrip('before');
    await qemu.startLog();
    await qemu.reset();
    await qemu.start();
    qemu.log.take();
    expect(await qemu.queue.roundTrip('the next driver')).toBe('the next driver');
    expect(qemu.log.take().size).toBeGreaterThan(0);
    expect(qemu.harness.device.calls).toEqual(['activate', 'reset', 'activate']);
  });

  it('ends a migration: the source stops, and the destination goes on where it did', async () => {
    const source = await Qemu.plug(kind);
    await source.start();
    await source.queue.roundTrip('before');
    await source.startLog();
    const base = await source.stop();
    source.log.take();
    const destination = await Qemu.plug(kind);
    destination.ram.bytes.set(source.ram.bytes);
    source.queue.offer('unheard');
    destination.ram.bytes.set(source.ram.bytes);
    await destination.start(base);
    await destination.queue.call.reaches(1);
    expect(destination.harness.server.counters(0).requests).toBe(1);
    await source.quit();
    expect(source.log.pages()).toEqual([]);
  });

  it('plugs memory and unplugs it while requests run, also in a migration, where a larger log comes before', async () => {
    const qemu = await Qemu.plug(kind);
    await qemu.start();
    const one = { guest: GUEST_BASE + 0x100_0000, size: 0x1000, user: USER_BASE - 0x10000 };
    const two = { guest: GUEST_BASE + 0x200_0000, size: 0x1000, user: USER_BASE - 0x20000 };
    await qemu.plugMemory(one);
    await qemu.queue.roundTrip('more');
    await qemu.unplugMemory(one);
    await qemu.startLog();
    await qemu.plugMemory(two);
    await qemu.queue.roundTrip('and more');
    expect(qemu.log.take().size).toBeGreaterThan(0);
    expect(qemu.harness.events).toEqual(['connect']);
  });

  it('connects again, and has requests served that the last connection left behind', async () => {
    const qemu = await Qemu.plug({ ...kind, packed: false });
    const { harness, queue } = qemu;
    await qemu.start();
    await queue.roundTrip('first');
    harness.device.keep = true;
    const [, answer] = queue.offer('left behind');
    queue.kick();
    await harness.device.until(() => harness.device.kept.length === 1);
    await qemu.reconnect();
    harness.device.keep = false;
    await qemu.start(1);
    await queue.call.reaches(2);
    expect(queue.textAt(answer)).toBe('left behind');
  });

  it('quits, and nothing is left', async () => {
    const qemu = await Qemu.plug(kind);
    await qemu.start();
    await qemu.startLog();
    await qemu.queue.roundTrip('x');
    await qemu.quit();
    expect(mappingsOf('qemu')).toBe(1);
    expect(mappingsOf('dirty-log')).toBe(1);
  });
});
