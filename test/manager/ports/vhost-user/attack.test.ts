/** What a front-end with bad intentions tries, at every state that the back-end can be in: it may break its own device, and nothing else. */
import { describe, expect, it } from 'vitest';
import { closeFd, eventfdCreate, memfdCreate, socketPair } from '../../../../host/index.js';
import {
  GUEST_BASE,
  GuestRam,
  impatiently,
  mappingsOf,
  openDescriptors,
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
  logBase,
  memRegion,
  memTable,
  message,
  NEED_REPLY,
  NOTHING,
  Request,
  state,
  u64,
  VERSION,
  vringAddr,
  type RawFrontEnd,
} from './raw-front-end.js';

const MODERN = Feature.VERSION_1 | Feature.PROTOCOL_FEATURES;
const RAM_BYTES = 0x100000;
const LOG_BYTES = logBytesFor(GUEST_BASE + RAM_BYTES);

interface Target {
  readonly harness: Harness<EchoDevice>;
  readonly frontEnd: RawFrontEnd;
  readonly ram: GuestRam;
  readonly queue: TestQueue;
}

/** Each state is reached from the one before. */
const STATES: [string, (target: Target) => Promise<void>][] = [
  ['just connected', async () => {}],
  ['with features', async ({ frontEnd }) => void (await frontEnd.negotiate())],
  [
    'with memory',
    async ({ frontEnd, ram }) => frontEnd.set(Request.SET_MEM_TABLE, memTable(ram.region), [ram.fd]),
  ],
  ['with a ring', async ({ frontEnd, queue }) => queue.setUp(frontEnd)],
  [
    'with a kick',
    async ({ frontEnd, queue }) => frontEnd.set(Request.SET_VRING_KICK, u64(0), [queue.kickFd]),
  ],
  ['enabled', async ({ frontEnd }) => frontEnd.set(Request.SET_VRING_ENABLE, state(0, 1))],
  ['running', async ({ queue }) => void (await queue.roundTrip('x'))],
  [
    'logging',
    async ({ frontEnd, queue }) => {
      const fd = memfdCreate('attacked-log', LOG_BYTES);
      await frontEnd.query(Request.SET_LOG_BASE, logBase(LOG_BYTES), [fd]);
      closeFd(fd);
      await frontEnd.set(Request.SET_FEATURES, u64(MODERN | Feature.LOG_ALL));
      await frontEnd.set(Request.SET_VRING_ADDR, queue.addressesLogged(true));
    },
  ],
  ['disabled', async ({ frontEnd }) => frontEnd.set(Request.SET_VRING_ENABLE, state(0, 0))],
  ['stopped', async ({ frontEnd }) => void (await frontEnd.getVringBase(0))],
  ['reset', async ({ frontEnd }) => frontEnd.set(Request.RESET_DEVICE)],
  [
    'out of order',
    async ({ frontEnd }) => {
      frontEnd.send(Request.SET_VRING_NUM, state(0, 0));
      await frontEnd.queryU64(Request.GET_FEATURES);
    },
  ],
];

/** Requests with payloads that pass for theirs, so that it is the state and the descriptors that are wrong. */
function requests(ram: GuestRam, queue: TestQueue): [number, Uint8Array][] {
  return [
    [Request.GET_FEATURES, NOTHING],
    [Request.SET_FEATURES, u64(MODERN)],
    [Request.SET_FEATURES, u64(MODERN | Feature.LOG_ALL)],
    [Request.SET_OWNER, NOTHING],
    [Request.RESET_OWNER, NOTHING],
    [Request.SET_MEM_TABLE, memTable(ram.region)],
    [Request.SET_MEM_TABLE, memTable()],
    [Request.SET_LOG_BASE, logBase(LOG_BYTES)],
    [Request.SET_LOG_BASE, logBase(1, 0x1000)],
    [Request.SET_LOG_FD, NOTHING],
    [Request.SET_VRING_NUM, state(0, 32)],
    [Request.SET_VRING_ADDR, vringAddr(0, queue.addresses)],
    [Request.SET_VRING_ADDR, vringAddr(0, queue.addresses, 1, GUEST_BASE)],
    [Request.SET_VRING_BASE, state(0, 7)],
    [Request.GET_VRING_BASE, state(0, 0)],
    [Request.SET_VRING_KICK, u64(0)],
    [Request.SET_VRING_CALL, u64(0)],
    [Request.SET_VRING_ERR, u64(0)],
    [Request.GET_PROTOCOL_FEATURES, NOTHING],
    [Request.GET_QUEUE_NUM, NOTHING],
    [Request.SET_VRING_ENABLE, state(0, 1)],
    [Request.SET_VRING_ENABLE, state(0, 0)],
    [Request.SET_BACKEND_REQ_FD, NOTHING],
    [Request.GET_CONFIG, config(0, 8)],
    [Request.SET_CONFIG, config(0, 8)],
    [Request.GET_INFLIGHT_FD, Buffer.alloc(20)],
    [Request.SET_INFLIGHT_FD, Buffer.alloc(20)],
    [Request.RESET_DEVICE, NOTHING],
    [Request.GET_MAX_MEM_SLOTS, NOTHING],
    [Request.ADD_MEM_REG, memRegion({ ...ram.region, guest: 0, user: 0 })],
    [Request.REM_MEM_REG, memRegion(ram.region)],
    [Request.SET_STATUS, u64(15)],
    [Request.SET_STATUS, u64(0)],
    [Request.GET_STATUS, NOTHING],
    [42, Buffer.alloc(8)],
    [43, NOTHING],
  ];
}

const DESCRIPTORS: [string, () => number[]][] = [
  ['no descriptor', () => []],
  ['an eventfd', () => [owned(eventfdCreate())]],
  ['a memory file', () => [owned(memfdCreate('attacking', LOG_BYTES))]],
  ['a socket', () => [owned(socketPair().map(owned)[0])]],
  ['two descriptors', () => [owned(eventfdCreate()), owned(memfdCreate('attacking', LOG_BYTES))]],
  ['nine descriptors', () => Array.from({ length: 9 }, () => owned(eventfdCreate()))],
];

/** A connection in the state; what the server closes or breaks in the meantime is no concern. */
async function reach(harness: Harness<EchoDevice>, ram: GuestRam, stateIndex: number): Promise<Target> {
  ram.bytes.fill(0);
  const target = { harness, ram, frontEnd: harness.connect(), queue: new TestQueue(harness.reactor, ram) };
  for (const [, step] of STATES.slice(0, stateIndex + 1)) await step(target);
  return target;
}

/** Sends a request and waits until it was served: false where the connection ended with it. */
async function survives(
  frontEnd: RawFrontEnd,
  request: number,
  payload: Uint8Array,
  fds: number[],
): Promise<boolean> {
  try {
    frontEnd.sendBytes(message(request, payload, VERSION | NEED_REPLY), fds);
    frontEnd.sendBytes(message(Request.GET_FEATURES));
    while ((await frontEnd.reply()).request !== Request.GET_FEATURES);
    return true;
  } catch {
    return false;
  }
}

describe.each(STATES.map(([name], index) => [name, index] as const))('a back-end %s', (_, stateIndex) => {
  it.each(DESCRIPTORS)('leaks nothing of %s, whatever the request', async (__, descriptors) => {
    const harness = startServer();
    const ram = new GuestRam('attacked', RAM_BYTES);
    const fds = descriptors();
    const first = await reach(harness, ram, stateIndex);
    let { frontEnd } = first;
    for (const [request, payload] of requests(ram, first.queue)) {
      if (await survives(frontEnd, request, payload, fds)) continue;
      frontEnd.close();
      ({ frontEnd } = await reach(harness, ram, stateIndex));
    }
    frontEnd.close();
    while (harness.server.connected) await new Promise(setImmediate);
    expect(['attacked', 'attacking', 'attacked-log'].map((name) => mappingsOf(name))).toEqual([1, 0, 0]);
    // A front-end that behaves is served as if nothing had been.
    const before = openDescriptors();
    const next = await reach(harness, ram, 6);
    await harness.disconnect(next.frontEnd);
    // The queue's three descriptors are the test's.
    expect(openDescriptors()).toBe(before + 3);
    expect(harness.events.filter((event) => event.startsWith('reactor'))).toEqual([]);
  });
});

/** A target that has a request under way, for as long as the test likes. */
async function busy(): Promise<Target & { answer: string }> {
  const harness = startServer();
  const ram = new GuestRam('attacked', RAM_BYTES);
  const target = await reach(harness, ram, 6);
  harness.device.keep = true;
  target.queue.offer('in flight');
  target.queue.kick();
  await harness.device.until(() => harness.device.kept.length === 1);
  return { ...target, answer: 'in flight' };
}

describe('memory that is replaced without end', () => {
  it('while a request is under way fills no more than the slots, and goes with it', async () => {
    const { harness, frontEnd, ram } = await busy();
    for (let i = 0; i < 600; i++) {
      const fd = memfdCreate('replaced', 0x1000);
      const other = { guest: 0, size: 0x1000, user: 0 };
      await frontEnd.set(Request.SET_MEM_TABLE, memTable(ram.region, other), [ram.fd, fd]);
      closeFd(fd);
    }
    expect(mappingsOf('replaced')).toBeLessThanOrEqual(509 + 1);
    harness.device.answer();
    expect(mappingsOf('replaced')).toBe(1);
    expect(mappingsOf('attacked')).toBe(2);
  });

  it('by the same memory keeps room for memory that does go', async () => {
    const { harness, frontEnd, ram, queue } = await busy();
    for (let i = 0; i < 600; i++) await frontEnd.set(Request.SET_MEM_TABLE, memTable(ram.region), [ram.fd]);
    await frontEnd.set(Request.SET_MEM_TABLE, memTable());
    expect(mappingsOf('attacked')).toBe(2);
    harness.device.answer();
    expect(mappingsOf('attacked')).toBe(1);
    await frontEnd.set(Request.SET_MEM_TABLE, memTable(ram.region), [ram.fd]);
    await queue.call.reaches(2);
  });

  it('is unmapped by a reset that takes the last request away', async () => {
    const { harness, frontEnd } = await busy();
    await frontEnd.set(Request.SET_MEM_TABLE, memTable());
    expect(mappingsOf('attacked')).toBe(2);
    expect(await impatiently(() => frontEnd.getVringBase(0))).toBe(1);
    expect(harness.device.calls.at(-1)).toBe('reset');
    expect(mappingsOf('attacked')).toBe(1);
  });
});

describe('a log that is given again and again', () => {
  it('leaves one mapping and no descriptor', async () => {
    const harness = startServer();
    const ram = new GuestRam('attacked', RAM_BYTES);
    const { frontEnd, queue } = await reach(harness, ram, 7);
    const descriptors = openDescriptors();
    for (let i = 0; i < 300; i++) {
      const fd = memfdCreate('attacked-log', LOG_BYTES);
      expect((await frontEnd.query(Request.SET_LOG_BASE, logBase(LOG_BYTES), [fd])).readUInt32LE()).not.toBe(
        0,
      );
      closeFd(fd);
    }
    expect(mappingsOf('attacked-log')).toBe(1);
    expect(openDescriptors()).toBe(descriptors);
    expect(await queue.roundTrip('y')).toBe('y');
  });

  it('stays as it is while memory under it is replaced, and shrinks with it', async () => {
    const harness = startServer();
    const ram = new GuestRam('attacked', RAM_BYTES);
    const { frontEnd } = await reach(harness, ram, 6);
    const log = new LogFile(LOG_BYTES);
    await log.give(frontEnd);
    await frontEnd.set(Request.SET_FEATURES, u64(MODERN | Feature.LOG_ALL));
    await frontEnd.set(Request.SET_MEM_TABLE, memTable());
    const low = { guest: 0, size: 0x8000, user: USER_BASE + 0x100000 };
    await frontEnd.set(Request.SET_MEM_TABLE, memTable(low), [ram.fd]);
    expect(await new LogFile(1).give(frontEnd)).toBe(true);
    const back = await frontEnd.ack(Request.SET_MEM_TABLE, memTable(ram.region), [ram.fd]);
    expect(back).toBe(22);
    log.take();
    expect(log.pages()).toEqual([]);
  });
});

describe('a device that never answers', () => {
  it('holds no stop, no disabling and no reset up for longer than its time', async () => {
    const { frontEnd } = await busy();
    expect(await impatiently(() => frontEnd.ack(Request.SET_VRING_ENABLE, state(0, 0)))).toBe(0);
    expect(await impatiently(() => frontEnd.getVringBase(0))).toBe(1);
    expect(await frontEnd.ack(Request.RESET_DEVICE)).toBe(0);
  });

  it('does not keep the next front-end out', async () => {
    const { harness, frontEnd, ram } = await busy();
    await harness.disconnect(frontEnd);
    harness.device.keep = false;
    const next = await reach(harness, ram, 6);
    expect(await next.queue.roundTrip('next')).toBe('next');
  });
});
