import { describe, expect, it } from 'vitest';
import { eventfdCreate, eventfdDrain, memfdCreate } from '../../../../host/index.js';
import {
  GUEST_BASE,
  GuestRam,
  impatiently,
  mappingsOf,
  openDescriptors,
  owned,
  PackedQueue,
  startServer,
  TestQueue,
  USER_BASE,
  type AnyQueue,
  type EchoDevice,
  type Harness,
} from './harness.js';
import { logBytesFor, LogFile } from './log-file.js';
import {
  Feature,
  logBase,
  memRegion,
  memTable,
  Request,
  u64,
  vringAddr,
  type RawFrontEnd,
} from './raw-front-end.js';

const EINVAL = 22;
const MODERN = Feature.VERSION_1 | Feature.PROTOCOL_FEATURES;
const RAM_BYTES = 0x100000;
const LOG_BYTES = logBytesFor(GUEST_BASE + RAM_BYTES);

interface Bench {
  readonly harness: Harness<EchoDevice>;
  readonly device: EchoDevice;
  readonly frontEnd: RawFrontEnd;
  readonly queue: AnyQueue;
  readonly ram: GuestRam;
  readonly features: bigint;
}

/** A queue that has served a request, unlogged. */
async function running(features = MODERN): Promise<Bench> {
  const harness = startServer();
  const ram = new GuestRam('logged', RAM_BYTES);
  const frontEnd = await harness.ready(ram, features);
  const Queue = (features & Feature.RING_PACKED) !== 0n ? PackedQueue : TestQueue;
  const queue = new Queue(harness.reactor, ram, 0, (features & Feature.EVENT_IDX) !== 0n);
  await queue.start(frontEnd);
  await queue.roundTrip('unlogged');
  return { harness, device: harness.device, frontEnd, queue, ram, features };
}

/** Switches logging as QEMU does. */
async function logAll({ frontEnd, queue, features }: Bench, on: boolean): Promise<void> {
  await frontEnd.set(Request.SET_FEATURES, u64(on ? features | Feature.LOG_ALL : features));
  await frontEnd.set(Request.SET_VRING_ADDR, queue.addressesLogged(on));
}

async function logged(features?: bigint): Promise<Bench & { log: LogFile }> {
  const bench = await running(features);
  const log = new LogFile(LOG_BYTES);
  expect(await log.give(bench.frontEnd)).toBe(true);
  await logAll(bench, true);
  return { ...bench, log };
}

/** A message and its reply: by then the server has done whatever came before it. */
async function settled(frontEnd: RawFrontEnd): Promise<void> {
  await frontEnd.queryU64(Request.GET_FEATURES);
}

function pageOf(address: number): number {
  return Math.floor(address / 0x1000) * 0x1000;
}

/** A request of one page and a byte to be read, whose answer fills two pages and a byte: where that goes. */
function offerPages({ queue }: Bench, at: number): void {
  queue.driver.add([
    { address: at, length: 0x1001 },
    { address: at + 0x4fff, length: 0x2001, writable: true },
    { address: at + 0x9000, length: 0x1000, writable: true },
  ]);
  queue.kick();
}

describe('what is marked', () => {
  it.each([
    ['with flags', MODERN],
    ['with the event index', MODERN | Feature.EVENT_IDX],
  ])('is the written part of a chain and the used ring, of a split ring %s', async (_, features) => {
    const bench = await logged(features);
    const { queue, log } = bench;
    await settled(bench.frontEnd);
    log.take();
    const at = GUEST_BASE + 0x80000;
    offerPages(bench, at);
    await queue.call.reaches(2);
    expect([...log.take()]).toEqual([pageOf(queue.driver.deviceArea), at + 0x4000, at + 0x5000]);
  });

  it('is the written part of a chain, the descriptors and the event structure of a packed ring', async () => {
    const bench = await logged(MODERN | Feature.RING_PACKED);
    const { queue, log } = bench;
    log.take();
    const at = GUEST_BASE + 0x80000;
    offerPages(bench, at);
    await queue.call.reaches(2);
    const { descriptorArea, deviceArea } = queue.driver;
    const ring = new Set([descriptorArea, deviceArea].map(pageOf));
    expect([...log.take()]).toEqual([...ring, at + 0x4000, at + 0x5000]);
  });

  it.each([
    ['split', MODERN],
    ['packed', MODERN | Feature.RING_PACKED],
  ])('is nothing while a %s ring is not logged, and nothing any more afterwards', async (_, features) => {
    const bench = await running(features);
    const log = new LogFile(LOG_BYTES);
    await log.give(bench.frontEnd);
    await bench.queue.roundTrip('before');
    expect(log.pages()).toEqual([]);
    await logAll(bench, true);
    await bench.queue.roundTrip('logged');
    expect(log.pages().length).toBeGreaterThan(0);
    await logAll(bench, false);
    log.take();
    await bench.queue.roundTrip('after');
    expect(log.pages()).toEqual([]);
    expect(bench.device.calls).toEqual(['activate']);
    expect(bench.harness.events).toEqual(['connect']);
  });

  it('includes the buffer of a chain that was taken before', async () => {
    const bench = await running();
    const { device, frontEnd, queue } = bench;
    device.keep = true;
    const [, answer] = queue.offer('early');
    queue.kick();
    await device.until(() => device.kept.length === 1);
    const log = new LogFile(LOG_BYTES);
    await log.give(frontEnd);
    await logAll(bench, true);
    log.take();
    device.answer();
    expect(log.isMarked(answer.address)).toBe(true);
    expect(log.isMarked(queue.driver.deviceArea)).toBe(true);
  });

  it('is marked in the new log once that is there, and in the former no more', async () => {
    const bench = await logged();
    const next = new LogFile(LOG_BYTES, 0x1000);
    expect(await next.give(bench.frontEnd, true)).toBe(true);
    bench.log.take();
    await bench.queue.roundTrip('x');
    expect(bench.log.pages()).toEqual([]);
    expect(next.take().size).toBeGreaterThan(0);
    expect(next.untouchedAround).toBe(true);
    expect(mappingsOf('dirty-log')).toBe(3);
  });

  it('goes beside what others have marked', async () => {
    const { queue, log } = await logged();
    log.fill();
    await queue.roundTrip('x');
    expect(log.pages()).toHaveLength(LOG_BYTES * 8);
  });

  it('is the ring alone where its addresses ask for that alone, at the address that they name', async () => {
    const bench = await running();
    const { frontEnd, queue } = bench;
    const log = new LogFile(LOG_BYTES);
    await log.give(frontEnd);
    const elsewhere = 0x123000;
    await frontEnd.set(Request.SET_VRING_ADDR, vringAddr(0, queue.addresses, 1, elsewhere));
    await queue.roundTrip('x');
    expect(log.pages()).toEqual([elsewhere]);
  });

  it('is what was written to each place where the guest sees the same memory', async () => {
    const { frontEnd, queue, ram, log } = await logged();
    const alias = { guest: 0x200000, size: 0x80000, user: 0x1000_0000, offset: 0 };
    await frontEnd.set(Request.ADD_MEM_REG, memRegion(alias), [ram.fd]);
    log.take();
    const [, answer] = queue.offer('x');
    queue.kick();
    await queue.call.reaches(2);
    expect(log.isMarked(answer.address)).toBe(true);
    expect(log.isMarked(answer.address - GUEST_BASE + alias.guest)).toBe(true);
  });

  it('is what the device may have written to chains that a reset takes from it', async () => {
    const { device, frontEnd, queue, log } = await logged();
    device.keep = true;
    const [, answer] = queue.offer('blocked');
    queue.kick();
    await device.until(() => device.kept.length === 1);
    log.take();
    await impatiently(() => frontEnd.getVringBase(0));
    expect(log.isMarked(answer.address)).toBe(true);
    expect(device.calls).toContain('reset');
  });

  it('is what chains bring back whose memory is away meanwhile', async () => {
    const { device, frontEnd, queue, ram, log } = await logged();
    device.keep = true;
    const [, answer] = queue.offer('in flight');
    queue.kick();
    await device.until(() => device.kept.length === 1);
    await frontEnd.set(Request.REM_MEM_REG, memRegion(ram.region));
    log.take();
    device.answer();
    expect([...log.take()]).toEqual([pageOf(answer.address)]);
    await frontEnd.set(Request.ADD_MEM_REG, memRegion(ram.region), [ram.fd]);
    await queue.call.reaches(2);
    expect(log.isMarked(queue.driver.deviceArea)).toBe(true);
  });
});

describe('the eventfd of the log', () => {
  it('tells of marks, and a second one takes its place', async () => {
    const { frontEnd, queue } = await logged();
    const [first, second] = [0, 1].map(() => owned(eventfdCreate()));
    await frontEnd.set(Request.SET_LOG_FD, undefined, [first]);
    await queue.roundTrip('x');
    expect(eventfdDrain(first)).toBeGreaterThan(0);
    const descriptors = openDescriptors();
    await frontEnd.set(Request.SET_LOG_FD, undefined, [second]);
    expect(openDescriptors()).toBe(descriptors);
    await queue.roundTrip('y');
    expect([eventfdDrain(first), eventfdDrain(second) > 0]).toEqual([-11, true]);
  });
});

describe('a log that does not fit', () => {
  it.each([
    ['one byte short of the memory', LOG_BYTES - 1, 0],
    ['of no size', 0, 0],
    ['longer than its file', LOG_BYTES * 2, 0],
    ['of 2^63 bytes', 2n ** 63n, 0],
    ['at an odd offset', LOG_BYTES, 1],
    ['at an offset near 2^64', LOG_BYTES, -0x1000n],
  ])('%s is answered with size 0, and then nothing can be logged', async (_, size, offset) => {
    const bench = await running();
    const { harness, frontEnd, queue, features } = bench;
    const fd = owned(memfdCreate('short-log', LOG_BYTES));
    const descriptors = openDescriptors();
    expect(await frontEnd.query(Request.SET_LOG_BASE, logBase(size, offset), [fd])).toEqual(logBase(0));
    expect(openDescriptors()).toBe(descriptors);
    expect(mappingsOf('short-log')).toBe(0);
    expect(harness.events.at(-1)).toMatch(/^log: the log of dirty pages was refused: .*: errno 22$/);
    expect(await frontEnd.ack(Request.SET_FEATURES, u64(features | Feature.LOG_ALL))).toBe(EINVAL);
    expect(await queue.roundTrip('goes on')).toBe('goes on');
    expect(await new LogFile(LOG_BYTES).give(frontEnd)).toBe(true);
    await logAll(bench, true);
  });

  it('is refused without a descriptor, or with one that is no memory', async () => {
    const { frontEnd } = await running();
    for (const fds of [[], [owned(eventfdCreate())], [frontEnd.fd]])
      expect(await frontEnd.query(Request.SET_LOG_BASE, logBase(LOG_BYTES), fds)).toEqual(logBase(0));
  });

  it('stops the device where it is to take over from one that is in use', async () => {
    const { harness, frontEnd, queue } = await logged();
    expect(await new LogFile(LOG_BYTES - 1).give(frontEnd)).toBe(false);
    await queue.err.reaches(1);
    expect(harness.events.slice(-2)).toEqual([
      'log: the log of dirty pages ends at 0x1000f8000, below 0x100100000',
      expect.stringMatching(/^log: the device needs a reset: the log of dirty pages was refused/),
    ]);
    expect(await frontEnd.queryU64(Request.GET_STATUS)).toBe(64n);
  });

  it('does not cover memory that is added: that is refused while it is in use', async () => {
    const bench = await logged();
    const { harness, frontEnd, queue, ram } = bench;
    const more = { guest: GUEST_BASE + RAM_BYTES, size: 0x1000, user: USER_BASE - 0x1000 };
    expect(await frontEnd.ack(Request.ADD_MEM_REG, memRegion(more), [ram.fd])).toBe(EINVAL);
    const both = memTable(ram.region, more);
    expect(await frontEnd.ack(Request.SET_MEM_TABLE, both, [ram.fd, ram.fd])).toBe(EINVAL);
    expect(harness.events.at(-1)).toBe('log: the log of dirty pages ends at 0x100100000, below 0x100101000');
    expect(await queue.roundTrip('goes on')).toBe('goes on');
    expect(await new LogFile(LOG_BYTES + 8).give(frontEnd)).toBe(true);
    expect(await frontEnd.ack(Request.ADD_MEM_REG, memRegion(more), [ram.fd])).toBe(0);
  });

  it('cannot be switched on where memory has outgrown it', async () => {
    const { frontEnd, ram, features } = await running();
    expect(await new LogFile(LOG_BYTES).give(frontEnd)).toBe(true);
    const more = { guest: GUEST_BASE + RAM_BYTES, size: 0x1000, user: USER_BASE - 0x1000 };
    await frontEnd.set(Request.ADD_MEM_REG, memRegion(more), [ram.fd]);
    expect(await frontEnd.ack(Request.SET_FEATURES, u64(features | Feature.LOG_ALL))).toBe(EINVAL);
  });

  it('does not take a ring whose place in it lies behind its end, in either order', async () => {
    const { frontEnd, queue } = await running();
    const beyond = GUEST_BASE + RAM_BYTES - 0x100;
    const payload = vringAddr(0, queue.addresses, 1, beyond);
    expect(await new LogFile(LOG_BYTES).give(frontEnd)).toBe(true);
    expect(await frontEnd.ack(Request.SET_VRING_ADDR, payload)).toBe(EINVAL);
    expect(await new LogFile(LOG_BYTES + 1).give(frontEnd)).toBe(true);
    expect(await frontEnd.ack(Request.SET_VRING_ADDR, payload)).toBe(0);
    expect(await new LogFile(LOG_BYTES).give(frontEnd)).toBe(false);
  });

  it('is unknown without its protocol feature', async () => {
    const harness = startServer();
    const frontEnd = harness.connect();
    frontEnd.send(Request.SET_LOG_BASE, logBase(LOG_BYTES), [owned(memfdCreate('log', LOG_BYTES))]);
    await frontEnd.closed();
    expect(harness.events).toEqual([
      'log: VHOST_USER_SET_LOG_BASE is unknown, malformed or was not negotiated',
    ]);
  });
});

describe('a log outlives and ends', () => {
  it('is there without a log: a bit that only a driver set is harmless', async () => {
    const bench = await running();
    await logAll(bench, true);
    expect(await bench.queue.roundTrip('x')).toBe('x');
  });

  it('a pause: the ring that goes on is logged as it was', async () => {
    const { frontEnd, queue, log } = await logged();
    await frontEnd.getVringBase(0);
    log.take();
    await frontEnd.set(Request.SET_VRING_KICK, u64(0), [queue.kickFd]);
    await frontEnd.set(Request.SET_VRING_CALL, u64(0), [queue.call.fd]);
    await queue.roundTrip('x');
    expect(log.isMarked(queue.driver.deviceArea)).toBe(true);
  });

  it('RESET_DEVICE: nothing is logged until it is asked for again, into the same log', async () => {
    const bench = await logged();
    const { frontEnd, log } = bench;
    await frontEnd.set(Request.RESET_DEVICE);
    log.take();
    await frontEnd.set(Request.SET_FEATURES, u64(MODERN));
    const fresh = new TestQueue(bench.harness.reactor, bench.ram);
    await fresh.start(frontEnd);
    await fresh.roundTrip('x');
    expect(log.pages()).toEqual([]);
    await logAll({ ...bench, queue: fresh }, true);
    await fresh.roundTrip('y');
    expect(log.take().size).toBeGreaterThan(0);
  });

  it.each<[string, (bench: Bench) => Promise<void>]>([
    ['the connection', ({ harness, frontEnd }) => harness.disconnect(frontEnd)],
    [
      'the session',
      async ({ frontEnd }) => {
        await frontEnd.getVringBase(0);
        await frontEnd.set(Request.SET_OWNER);
      },
    ],
  ])('with %s its mapping and its eventfd go', async (_, end) => {
    const bench = await logged();
    await bench.frontEnd.set(Request.SET_LOG_FD, undefined, [owned(eventfdCreate())]);
    expect(mappingsOf('dirty-log')).toBe(2);
    const descriptors = openDescriptors();
    await end(bench);
    expect(mappingsOf('dirty-log')).toBe(1);
    expect(openDescriptors()).toBeLessThan(descriptors);
    bench.log.take();
    bench.device.answer();
    expect(bench.log.pages()).toEqual([]);
  });
});
