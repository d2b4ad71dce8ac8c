/** A back-end with a device that echoes, a guest's memory, and a driver's queue in it. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { onTestFinished, vi } from 'vitest';
import type {
  Chain,
  DeviceContext,
  FilledQueues,
  VirtioDevice,
  Virtqueue,
} from '../../../../devices/virtio/device.js';
import {
  closeFd,
  EpollEvents,
  eventfdCreate,
  eventfdDrain,
  eventfdSignal,
  memfdCreate,
  Reactor,
  SharedMapping,
} from '../../../../host/index.js';
import { VhostUserServer, type VhostUserServerOptions } from '../../../../manager/ports/vhost-user/server.js';
import {
  MockSplitDriver,
  type MockBuffer,
  type MockRingPlace,
  type UsedElement,
} from '../../../devices/virtio/mock-driver.js';
import { MockPackedDriver } from '../../../devices/virtio/mock-packed-driver.js';
import {
  memTable,
  NO_FD,
  RawFrontEnd,
  Request,
  state,
  u64,
  VRING_F_LOG,
  vringAddr,
  type WireAddresses,
  type WireRegion,
} from './raw-front-end.js';

/** Copies what is readable to what is writable; or keeps chains for the test to answer. */
export class EchoDevice implements VirtioDevice {
  readonly deviceId: number = 42;
  readonly pciClass = 0xff0000;
  readonly features = 1n << 3n;
  readonly queueSizes = [64, 64];
  readonly config = Uint8Array.from({ length: 20 }, (_, i) => i + 1);
  /** `activate`, `reset`, `writeConfig …`, in order. */
  readonly calls: string[] = [];
  readonly kept: { queue: Virtqueue; chain: Chain }[] = [];
  keep = false;
  filledQueues: FilledQueues | undefined;
  context: DeviceContext | undefined;
  onReset: () => void | Promise<void> = () => {};
  #changed: (() => void)[] = [];

  writeConfig(offset: number, bytes: Uint8Array): void {
    this.calls.push(`writeConfig ${offset} ${Buffer.from(bytes).toString('hex')}`);
  }

  activate(context: DeviceContext): void {
    this.context = context;
    this.#record('activate');
  }

  handleChain(queue: Virtqueue, chain: Chain): void {
    if (this.keep) {
      this.kept.push({ queue, chain });
      this.#wake();
    } else {
      echo(queue, chain);
    }
  }

  /** Answers the chains that were kept. */
  answer(): void {
    const queues = new Set<Virtqueue>();
    for (const { queue, chain } of this.kept.splice(0)) {
      echo(queue, chain);
      queues.add(queue);
    }
    for (const queue of queues) queue.flush();
  }

  reset(): void | Promise<void> {
    this.context = undefined;
    this.#record('reset');
    return this.onReset();
  }

  close(): void {}

  async until(condition: () => boolean): Promise<void> {
    while (!condition()) await new Promise<void>((resolve) => this.#changed.push(resolve));
  }

  #record(call: string): void {
    this.calls.push(call);
    this.#wake();
  }

  #wake(): void {
    for (const wake of this.#changed.splice(0)) wake();
  }
}

function echo(queue: Virtqueue, chain: Chain): void {
  const bytes = new Uint8Array(chain.readable.byteLength);
  chain.readable.gather(0, bytes, 0, bytes.length);
  queue.push(chain, chain.writable.scatter(0, bytes, 0, bytes.length));
}

/** Where the guest sees its memory, and where the front-end does. */
export const GUEST_BASE = 0x1_0000_0000;
export const USER_BASE = 0x7f12_3400_0000;

/** The guest's memory: a file, mapped here too. */
export class GuestRam {
  readonly fd: number;
  readonly bytes: Uint8Array;
  readonly sizeBytes: number;
  readonly mapping: SharedMapping;

  constructor(name: string, sizeBytes = 0x100000) {
    this.fd = owned(memfdCreate(name, sizeBytes));
    this.sizeBytes = sizeBytes;
    this.mapping = new SharedMapping(this.fd);
    this.bytes = this.mapping.window(0, sizeBytes);
    onTestFinished(() => this.mapping.close());
  }

  /** All of it, as the front-end describes it. */
  get region(): WireRegion {
    return { guest: GUEST_BASE, size: this.sizeBytes, user: USER_BASE };
  }
}

/** An eventfd and who waits for it. */
export class Event {
  readonly fd = owned(eventfdCreate());
  count = 0;
  #waiters: (() => void)[] = [];

  constructor(reactor: Reactor) {
    reactor.add(this.fd, EpollEvents.EPOLLIN, () => {
      this.count += Math.max(eventfdDrain(this.fd), 0);
      for (const wake of this.#waiters.splice(0)) wake();
    });
    onTestFinished(() => {
      reactor.remove(this.fd);
    });
  }

  async reaches(count: number): Promise<void> {
    while (this.count < count) await new Promise<void>((resolve) => this.#waiters.push(resolve));
  }
}

type AnyDriver = MockSplitDriver | MockPackedDriver;

/** A packed ring's base has its wrap counters at 1. */
export const FRESH_PACKED_BASE = 0x8000_8000;

/** The driver's and the front-end's side of one queue, of either format. */
export class AnyQueue<D extends AnyDriver = AnyDriver> {
  readonly index: number;
  readonly driver: D;
  readonly kickFd = owned(eventfdCreate());
  readonly call: Event;
  readonly err: Event;
  readonly #ram: GuestRam;
  #bufferAt: number;

  constructor(reactor: Reactor, ram: GuestRam, index: number, driver: D) {
    this.index = index;
    this.#ram = ram;
    this.driver = driver;
    this.call = new Event(reactor);
    this.err = new Event(reactor);
    this.#bufferAt = GUEST_BASE + 0x20000 + index * 0x20000;
  }

  get freshBase(): number {
    return this.driver instanceof MockPackedDriver ? FRESH_PACKED_BASE : 0;
  }

  /** The ring's areas in the front-end's addresses. */
  get addresses(): WireAddresses {
    const { descriptorArea, driverArea, deviceArea } = this.driver;
    const toUser = (address: number): number => address - GUEST_BASE + USER_BASE;
    return { descriptor: toUser(descriptorArea), available: toUser(driverArea), used: toUser(deviceArea) };
  }

  /** SET_VRING_ADDR as front-ends send it to have writes to the ring logged, or no more. */
  addressesLogged(logged: boolean): Buffer {
    if (!logged) return vringAddr(this.index, this.addresses);
    return vringAddr(this.index, this.addresses, VRING_F_LOG, this.driver.deviceArea);
  }

  /** Everything but the kick and the enabling, as QEMU sends it. */
  async setUp(frontEnd: RawFrontEnd, base = this.freshBase): Promise<void> {
    await frontEnd.set(Request.SET_VRING_NUM, state(this.index, this.driver.size));
    await frontEnd.set(Request.SET_VRING_BASE, state(this.index, base));
    await frontEnd.set(Request.SET_VRING_ADDR, vringAddr(this.index, this.addresses));
    await frontEnd.set(Request.SET_VRING_CALL, u64(this.index), [this.call.fd]);
    await frontEnd.set(Request.SET_VRING_ERR, u64(this.index), [this.err.fd]);
  }

  async start(frontEnd: RawFrontEnd, base = this.freshBase): Promise<void> {
    await this.setUp(frontEnd, base);
    await frontEnd.set(Request.SET_VRING_KICK, u64(this.index), [this.kickFd]);
    await frontEnd.set(Request.SET_VRING_ENABLE, state(this.index, 1));
  }

  async startPolled(frontEnd: RawFrontEnd): Promise<void> {
    await this.setUp(frontEnd);
    await frontEnd.set(Request.SET_VRING_KICK, u64(this.index | NO_FD));
    await frontEnd.set(Request.SET_VRING_ENABLE, state(this.index, 1));
  }

  kick(): void {
    eventfdSignal(this.kickFd);
  }

  /** Puts text into the ring, with as much room for the answer. Answers the buffers. */
  offer(text: string): MockBuffer[] {
    const at = this.#bufferAt;
    this.#bufferAt += 0x100;
    const { bytes } = this.#ram;
    bytes.set(Buffer.from(text), at - GUEST_BASE);
    const buffers = [
      { address: at, length: text.length },
      { address: at + 0x80, length: text.length, writable: true },
    ];
    this.driver.add(buffers);
    return buffers;
  }

  textAt({ address, length }: MockBuffer): string {
    return Buffer.from(
      this.#ram.bytes.subarray(address - GUEST_BASE, address - GUEST_BASE + length),
    ).toString();
  }

  /** Offers text, kicks, and answers what came back once the device interrupts. */
  async roundTrip(text: string): Promise<string> {
    const count = this.call.count + 1;
    const [, answer] = this.offer(text);
    this.kick();
    await this.call.reaches(count);
    this.driver.reap();
    this.driver.allowInterrupts();
    return this.textAt(answer);
  }

  /** Sends a message with room for a reply, and answers the reply. */
  async exchange(message: Uint8Array, roomBytes: number): Promise<Buffer> {
    const { bytes } = this.#ram;
    const at = this.#bufferAt;
    bytes.set(message, at - GUEST_BASE);
    const reply = at + 0x4000;
    this.driver.add([
      { address: at, length: message.length },
      { address: reply, length: roomBytes, writable: true },
    ]);
    let { count } = this.call;
    this.kick();
    // A back-end that goes on for another one interrupts once more than there is to hear of.
    for (;;) {
      const [element] = await this.used(++count);
      if (element !== undefined)
        return Buffer.from(bytes.slice(reply - GUEST_BASE, reply - GUEST_BASE + element.length));
    }
  }

  async used(count = this.call.count + 1): Promise<UsedElement[]> {
    await this.call.reaches(count);
    return this.driver.reap();
  }
}

/** A split ring's queue. */
export class TestQueue extends AnyQueue<MockSplitDriver> {
  constructor(reactor: Reactor, ram: GuestRam, index = 0, eventIdx = false) {
    super(reactor, ram, index, new MockSplitDriver(...ringPlace(ram, index, eventIdx)));
  }
}

/** A packed ring's queue. */
export class PackedQueue extends AnyQueue<MockPackedDriver> {
  constructor(reactor: Reactor, ram: GuestRam, index = 0, eventIdx = false) {
    super(reactor, ram, index, new MockPackedDriver(...ringPlace(ram, index, eventIdx)));
  }
}

function ringPlace(ram: GuestRam, index: number, eventIdx: boolean): [Uint8Array, MockRingPlace] {
  const at = index * 0x8000;
  return [ram.bytes.subarray(at), { ramAddress: GUEST_BASE + at, size: 64, eventIdx }];
}

export class Harness<D extends VirtioDevice> {
  readonly reactor: Reactor;
  readonly server: VhostUserServer;
  readonly path: string;
  readonly inflightPath: string;
  readonly device: D;
  /** `connect`, `disconnect: …` and the log, in order. */
  readonly events: string[] = [];
  readonly #frontEnds: RawFrontEnd[] = [];
  #woken: (() => void)[] = [];

  constructor(device: D, options: Partial<VhostUserServerOptions> = {}) {
    const directory = mkdtempSync(join(tmpdir(), 'chassis-vhost-user-'));
    this.path = join(directory, 'socket');
    this.inflightPath = join(directory, 'inflight');
    this.device = device;
    this.reactor = new Reactor({ onError: (error) => this.#record(`reactor: ${String(error)}`) });
    this.reactor.start();
    this.server = new VhostUserServer({
      path: this.path,
      reactor: this.reactor,
      device,
      inflightPath: this.inflightPath,
      ...options,
      onConnect: () => this.#record('connect'),
      onDisconnect: (reason) => this.#record(`disconnect: ${reason}`),
      log: (line) => this.#record(line.replace(`${this.path}: `, 'log: ')),
    });
    this.server.listen();
    onTestFinished(async () => {
      for (const frontEnd of this.#frontEnds) frontEnd.close();
      await this.server.close();
      this.reactor.close();
      rmSync(directory, { recursive: true, force: true });
    });
  }

  /** A front-end that has sent nothing yet. */
  connect(): RawFrontEnd {
    const frontEnd = new RawFrontEnd(this.reactor, this.path);
    this.#frontEnds.push(frontEnd);
    return frontEnd;
  }

  /** A front-end that has agreed on features, and given its memory. */
  async ready(ram: GuestRam, features?: bigint): Promise<RawFrontEnd> {
    const frontEnd = await this.connect().negotiate(features);
    await frontEnd.set(Request.SET_MEM_TABLE, memTable(ram.region), [ram.fd]);
    return frontEnd;
  }

  /** Resolves once the server has reported `count` events in all. */
  async eventCount(count: number): Promise<void> {
    while (this.events.length < count) await new Promise<void>((resolve) => this.#woken.push(resolve));
  }

  /** Closes the front-end and resolves once the server has released what it held for it. */
  async disconnect(frontEnd: RawFrontEnd): Promise<void> {
    const count = this.events.length + 1;
    frontEnd.close();
    await this.eventCount(count);
  }

  #record(event: string): void {
    this.events.push(event);
    for (const wake of this.#woken.splice(0)) wake();
  }
}

export function startServer(): Harness<EchoDevice> {
  return new Harness(new EchoDevice());
}

/** Does what has to wait for a device that does not answer, and lets the time go by quickly that it may wait. */
export async function impatiently<T>(work: () => Promise<T>): Promise<T> {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] });
  try {
    let done = false;
    const outcome = work().finally(() => (done = true));
    while (!done) {
      vi.advanceTimersByTime(100);
      await new Promise(setImmediate);
    }
    return await outcome;
  } finally {
    vi.useRealTimers();
  }
}

export function owned(fd: number): number {
  onTestFinished(() => {
    closeFd(fd);
  });
  return fd;
}

export { mappingsOf, openDescriptors } from '../vfio-user/harness.js';
