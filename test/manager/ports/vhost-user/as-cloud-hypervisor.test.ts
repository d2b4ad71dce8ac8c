/**
 * The orders of messages that Cloud Hypervisor's generic vhost-user device produces (read in its `vu_common_ctrl.rs`, and in the front-end of
 * rust-vmm's `vhost`): once REPLY_ACK is agreed on, every message asks for an acknowledgement, those with a reply of their own, too.
 */
import { describe, expect, it } from 'vitest';
import { ReceivedFds, recvMessage, socketPair } from '../../../../host/index.js';
import {
  GUEST_BASE,
  GuestRam,
  impatiently,
  mappingsOf,
  owned,
  startServer,
  TestQueue,
  USER_BASE,
  type EchoDevice,
  type Harness,
} from './harness.js';
import { logBytesFor, LogFile } from './log-file.js';
import {
  config,
  Feature,
  memRegion,
  memTable,
  NEED_REPLY,
  NOTHING,
  ProtocolFeature,
  Request,
  state,
  u64,
  VERSION,
  vringAddr,
  type RawFrontEnd,
  type WireRegion,
} from './raw-front-end.js';

const { CONFIG, MQ, CONFIGURE_MEM_SLOTS, REPLY_ACK, INFLIGHT_SHMFD, LOG_SHMFD, BACKEND_REQ } =
  ProtocolFeature;
const DEVICE_STATE = 1n << 19n;
const AVAILABLE_PROTOCOL_FEATURES =
  CONFIG | MQ | CONFIGURE_MEM_SLOTS | REPLY_ACK | INFLIGHT_SHMFD | LOG_SHMFD | DEVICE_STATE | BACKEND_REQ;
const DRIVER_FEATURES = Feature.INDIRECT_DESC | Feature.EVENT_IDX | Feature.VERSION_1;
const WRITABLE = 1;

class CloudHypervisor {
  readonly harness: Harness<EchoDevice>;
  readonly ram: GuestRam;
  frontEnd: RawFrontEnd;
  queues: readonly TestQueue[];
  #features = 0n;
  #regions: WireRegion[];
  #log: LogFile | undefined;
  #channel = -1;

  /** GenericVhostUser::new */
  static async create(ram = new GuestRam('cloud')): Promise<CloudHypervisor> {
    const vmm = new CloudHypervisor(ram);
    await vmm.#connect();
    await vmm.#negotiate();
    return vmm;
  }

  private constructor(ram: GuestRam) {
    this.ram = ram;
    this.harness = startServer();
    this.frontEnd = this.harness.connect();
    this.queues = this.newQueues();
    this.#regions = [ram.region];
  }

  /** What a new driver makes: empty rings. */
  newQueues(): readonly TestQueue[] {
    this.ram.bytes.fill(0, 0, 0x10000);
    return [0, 1].map((index) => new TestQueue(this.harness.reactor, this.ram, index, true));
  }

  async readConfig(offset: number, size: number): Promise<Buffer> {
    const reply = await this.#query(Request.GET_CONFIG, config(offset, size));
    expect(reply.subarray(0, 12)).toEqual(config(offset, size).subarray(0, 12));
    return reply.subarray(12);
  }

  /** It panics where this is refused. */
  async writeConfig(offset: number, bytes: Uint8Array): Promise<void> {
    await this.frontEnd.set(Request.SET_CONFIG, config(offset, bytes.length, bytes, WRITABLE));
  }

  /** setup_vhost_user: the driver has set DRIVER_OK. A ring's base is where the driver's available ring stands. */
  async activate(): Promise<void> {
    const { frontEnd, queues } = this;
    this.#features = DRIVER_FEATURES | Feature.PROTOCOL_FEATURES;
    await frontEnd.set(Request.SET_FEATURES, u64(this.#features));
    const fds = this.#regions.map(() => this.ram.fd);
    await frontEnd.set(Request.SET_MEM_TABLE, memTable(...this.#regions), fds);
    for (const { index, driver } of queues)
      await frontEnd.set(Request.SET_VRING_NUM, state(index, driver.size));
    for (const queue of queues) {
      const { index } = queue;
      await frontEnd.set(Request.SET_VRING_ADDR, vringAddr(index, queue.addresses));
      await frontEnd.set(Request.SET_VRING_BASE, state(index, this.#availIndex(queue)));
      await frontEnd.set(Request.SET_VRING_CALL, u64(index), [queue.call.fd]);
      await frontEnd.set(Request.SET_VRING_KICK, u64(index), [queue.kickFd]);
    }
    await this.#enable(true);
    const [ours, theirs] = socketPair().map(owned);
    this.#channel = ours;
    await frontEnd.set(Request.SET_BACKEND_REQ_FD, NOTHING, [theirs]);
  }

  /** What came over the channel of SET_BACKEND_REQ_FD. */
  get backendRequest(): number {
    const bytes = Buffer.alloc(12);
    return recvMessage(this.#channel, bytes, 0, 12, new ReceivedFds(1)) === 12 ? bytes.readUInt32LE(0) : -1;
  }

  async pause(): Promise<void> {
    await this.#enable(false);
  }

  async resume(): Promise<void> {
    await this.#enable(true);
  }

  /** reset_vhost_user: the driver has reset the device. */
  async reset(): Promise<void> {
    for (const { index } of this.queues) {
      await this.frontEnd.set(Request.SET_VRING_ENABLE, state(index, 0));
      await this.#query(Request.GET_VRING_BASE, state(index, 0));
    }
    this.queues = this.newQueues();
  }

  async plugMemory(region: WireRegion): Promise<void> {
    await this.frontEnd.set(Request.ADD_MEM_REG, memRegion(region), [this.ram.fd]);
    this.#regions.push(region);
  }

  async startDirtyLog(): Promise<void> {
    await this.#updateLogBase();
    await this.frontEnd.set(Request.SET_FEATURES, u64(this.#features | Feature.LOG_ALL));
    await this.#logRings(true);
  }

  /** Swaps logs: what the former one has to say is complete then. */
  async dirtyLog(): Promise<Set<number>> {
    const former = this.#log;
    await this.#updateLogBase();
    return former?.take() ?? new Set();
  }

  async stopDirtyLog(): Promise<void> {
    await this.#logRings(false);
    await this.frontEnd.set(Request.SET_FEATURES, u64(this.#features));
    this.#log = undefined;
  }

  /** The socket closes, and nothing is said before. */
  async shutdown(): Promise<void> {
    await this.harness.disconnect(this.frontEnd);
  }

  /** The connection was lost: reinitialize_vhost_user. */
  async reconnect(): Promise<void> {
    await this.shutdown();
    this.frontEnd = this.harness.connect();
    await this.#connect();
    const known = AVAILABLE_PROTOCOL_FEATURES & ~DEVICE_STATE;
    this.frontEnd.send(Request.SET_PROTOCOL_FEATURES, u64(known));
    await this.activate();
  }

  async #connect(): Promise<void> {
    this.frontEnd.send(Request.SET_OWNER);
    const features = await this.frontEnd.queryU64(Request.GET_FEATURES);
    expect(features & Feature.LOG_ALL).toBe(Feature.LOG_ALL);
  }

  async #negotiate(): Promise<void> {
    const offered = await this.frontEnd.queryU64(Request.GET_PROTOCOL_FEATURES);
    this.frontEnd.send(Request.SET_PROTOCOL_FEATURES, u64(offered & AVAILABLE_PROTOCOL_FEATURES));
    const count = await this.#query(Request.GET_QUEUE_NUM, NOTHING);
    expect(count.readBigUInt64LE()).toBe(2n);
  }

  async #enable(on: boolean): Promise<void> {
    for (const { index } of this.queues)
      await this.frontEnd.set(Request.SET_VRING_ENABLE, state(index, on ? 1 : 0));
  }

  async #updateLogBase(): Promise<void> {
    const ends = this.#regions.map(({ guest, size }) => Number(guest) + Number(size));
    this.#log = new LogFile(logBytesFor(Math.max(...ends)));
    expect(await this.#log.give(this.frontEnd, true)).toBe(true);
  }

  async #logRings(on: boolean): Promise<void> {
    for (const queue of this.queues)
      await this.frontEnd.set(Request.SET_VRING_ADDR, queue.addressesLogged(on));
  }

  async #query(request: number, payload: Uint8Array): Promise<Buffer> {
    return this.frontEnd.query(request, payload, [], VERSION | NEED_REPLY);
  }

  #availIndex({ driver }: TestQueue): number {
    const { bytes } = this.ram;
    const at = driver.driverArea - GUEST_BASE + 2;
    return bytes[at] | (bytes[at + 1] << 8);
  }
}

function pageOf(address: number): number {
  return Math.floor(address / 0x1000) * 0x1000;
}

describe('as Cloud Hypervisor does', () => {
  it('reads the config space by registers, also behind its end, and writes it', async () => {
    const vmm = await CloudHypervisor.create();
    expect([...(await vmm.readConfig(0, 2))]).toEqual([1, 2]);
    expect([...(await vmm.readConfig(16, 8))]).toEqual([17, 18, 19, 20, 0, 0, 0, 0]);
    expect([...(await vmm.readConfig(4088, 8))]).toEqual(Array(8).fill(0));
    await vmm.writeConfig(4, Uint8Array.of(9));
    await vmm.writeConfig(400, Uint8Array.of(9, 9, 9, 9));
    expect(vmm.harness.device.calls).toEqual(['writeConfig 4 09']);
    expect(vmm.harness.server.connected).toBe(true);
  });

  it('activates the device, which serves all queues and tells of its config', async () => {
    const vmm = await CloudHypervisor.create();
    await vmm.activate();
    for (const queue of vmm.queues) expect(await queue.roundTrip('x')).toBe('x');
    vmm.harness.device.context?.configChanged();
    expect(vmm.backendRequest).toBe(2);
    expect(vmm.harness.device.calls).toEqual(['activate']);
  });

  it('pauses without stopping the rings, and by then nothing writes to memory any more', async () => {
    const vmm = await CloudHypervisor.create();
    const { device } = vmm.harness;
    await vmm.activate();
    const [queue] = vmm.queues;
    device.keep = true;
    queue.offer('in flight');
    queue.kick();
    await device.until(() => device.kept.length === 1);
    const paused = vmm.pause();
    // The device is asked to answer only once the pause waits for it.
    await new Promise(setImmediate);
    device.answer();
    await paused;
    expect(queue.driver.reap()).toHaveLength(1);
    queue.driver.allowInterrupts();
    device.keep = false;
    queue.offer('unheard');
    const saved = Buffer.from(vmm.ram.bytes);
    queue.kick();
    expect(await vmm.readConfig(0, 1)).toHaveLength(1);
    expect(saved.equals(vmm.ram.bytes)).toBe(true);
    await vmm.resume();
    await queue.call.reaches(2);
    expect(queue.driver.usedIndex).toBe(2);
    expect(device.calls).toEqual(['activate']);
  });

  it('does not wait for ever for a request when it pauses, and goes on with it afterwards', async () => {
    const vmm = await CloudHypervisor.create();
    const { device } = vmm.harness;
    await vmm.activate();
    const [queue] = vmm.queues;
    device.keep = true;
    const [, answer] = queue.offer('blocked');
    queue.kick();
    await device.until(() => device.kept.length === 1);
    await impatiently(() => vmm.pause());
    await vmm.resume();
    device.answer();
    await queue.call.reaches(1);
    expect(queue.textAt(answer)).toBe('blocked');
    expect(device.calls).toEqual(['activate']);
  });

  it('has the driver reset the device, and the next one start afresh', async () => {
    const vmm = await CloudHypervisor.create();
    await vmm.activate();
    for (const queue of vmm.queues) await queue.roundTrip('x');
    await vmm.reset();
    await vmm.activate();
    for (const queue of vmm.queues) expect(await queue.roundTrip('y')).toBe('y');
    expect(vmm.harness.device.calls).toEqual(['activate', 'reset', 'activate']);
    expect(vmm.harness.events).toEqual(['connect']);
  });

  it('plugs memory while requests run, and the next driver gets it in one table', async () => {
    const vmm = await CloudHypervisor.create();
    await vmm.activate();
    const [queue] = vmm.queues;
    await vmm.plugMemory({ guest: GUEST_BASE + 0x100_0000, size: 0x1000, user: USER_BASE - 0x10000 });
    expect(await queue.roundTrip('x')).toBe('x');
    await vmm.reset();
    await vmm.activate();
    expect(await vmm.queues[0].roundTrip('y')).toBe('y');
  });

  it('migrates: each look at the log swaps it for another one', async () => {
    const vmm = await CloudHypervisor.create();
    await vmm.activate();
    for (const queue of vmm.queues) await queue.roundTrip('before');
    await vmm.startDirtyLog();
    for (let i = 0; i < 3; i++) {
      const written = vmm.queues.map((queue) => queue.offer('during')[1].address);
      for (const queue of vmm.queues) queue.kick();
      for (const queue of vmm.queues) await queue.call.reaches(i + 2);
      const marked = await vmm.dirtyLog();
      for (const { driver } of vmm.queues) written.push(driver.deviceArea);
      for (const address of written) expect(marked).toContain(pageOf(address));
      for (const { driver } of vmm.queues) {
        driver.reap();
        driver.allowInterrupts();
      }
    }
    await vmm.pause();
    await vmm.dirtyLog();
    expect([...(await vmm.dirtyLog())]).toEqual([]);
    await vmm.shutdown();
    expect(mappingsOf('cloud')).toBe(1);
  });

  it('cancels a migration: the rings first, then all', async () => {
    const vmm = await CloudHypervisor.create();
    await vmm.activate();
    const [queue] = vmm.queues;
    await queue.roundTrip('before');
    await vmm.startDirtyLog();
    await queue.roundTrip('during');
    await vmm.stopDirtyLog();
    expect(await queue.roundTrip('after')).toBe('after');
    await vmm.startDirtyLog();
    expect(await queue.roundTrip('again')).toBe('again');
    expect((await vmm.dirtyLog()).size).toBeGreaterThan(0);
    expect(vmm.harness.device.calls).toEqual(['activate']);
    expect(vmm.harness.events).toEqual(['connect']);
  });

  it('connects again where the connection was lost, and goes on behind what was available', async () => {
    const vmm = await CloudHypervisor.create();
    await vmm.activate();
    for (const queue of vmm.queues) await queue.roundTrip('before');
    await vmm.reconnect();
    for (const queue of vmm.queues) expect(await queue.roundTrip('after')).toBe('after');
    expect(vmm.harness.device.calls).toEqual(['activate', 'reset', 'activate']);
  });

  it('restores a virtual machine: the protocol features come from the saved state', async () => {
    const vmm = await CloudHypervisor.create();
    await vmm.activate();
    const [queue] = vmm.queues;
    await queue.roundTrip('before');
    await vmm.pause();
    await vmm.reconnect();
    expect(await queue.roundTrip('restored')).toBe('restored');
  });
});
