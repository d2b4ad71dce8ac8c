import { describe, expect, it } from 'vitest';
import { GuestRam, impatiently, startServer, TestQueue, type EchoDevice, type Harness } from './harness.js';
import { Feature, NO_FD, Request, state, u64, vringAddr, type RawFrontEnd } from './raw-front-end.js';

interface Bench {
  readonly harness: Harness<EchoDevice>;
  readonly device: EchoDevice;
  readonly frontEnd: RawFrontEnd;
  readonly queue: TestQueue;
  readonly ram: GuestRam;
}

async function bench(features?: bigint): Promise<Bench> {
  const harness = startServer();
  const ram = new GuestRam('vrings');
  const frontEnd = await harness.ready(ram, features);
  const eventIdx = features !== undefined && (features & Feature.EVENT_IDX) !== 0n;
  const queue = new TestQueue(harness.reactor, ram, 0, eventIdx);
  return { harness, device: harness.device, frontEnd, queue, ram };
}

/** A message and its reply: by then the server has done whatever came before it. */
async function settled(frontEnd: RawFrontEnd): Promise<void> {
  await frontEnd.queryU64(Request.GET_FEATURES);
}

const MODERN = Feature.VERSION_1 | Feature.PROTOCOL_FEATURES;

describe('a ring', () => {
  it.each([
    ['with flags', MODERN],
    ['with the event index', MODERN | Feature.EVENT_IDX],
    ['of a legacy driver', Feature.PROTOCOL_FEATURES],
  ])('serves chains %s from kick to interrupt', async (_, features) => {
    const { frontEnd, queue } = await bench(features);
    await queue.start(frontEnd);
    for (let i = 0; i < 200; i++) expect(await queue.roundTrip(`request ${i}`)).toBe(`request ${i}`);
  });

  it('is not touched before its first kick', async () => {
    const { device, frontEnd, queue } = await bench();
    queue.offer('early');
    await queue.start(frontEnd);
    await settled(frontEnd);
    expect(queue.driver.usedIndex).toBe(0);
    expect(device.calls).toEqual([]);
    queue.kick();
    expect(await queue.used(1)).toHaveLength(1);
  });

  it('is not touched before it is enabled, though it was kicked', async () => {
    const { device, frontEnd, queue } = await bench();
    await queue.setUp(frontEnd);
    await frontEnd.set(Request.SET_VRING_KICK, u64(0), [queue.kickFd]);
    queue.offer('early');
    queue.kick();
    await settled(frontEnd);
    await settled(frontEnd);
    expect(device.calls).toEqual([]);
    await frontEnd.set(Request.SET_VRING_ENABLE, state(0, 1));
    expect(await queue.used(1)).toHaveLength(1);
  });

  it('needs no enabling where protocol features were not agreed on', async () => {
    const { frontEnd, queue } = await bench(Feature.VERSION_1);
    await queue.setUp(frontEnd);
    await frontEnd.set(Request.SET_VRING_KICK, u64(0), [queue.kickFd]);
    expect(await queue.roundTrip('x')).toBe('x');
  });

  it('without a descriptor for kicks is polled', async () => {
    const { harness, frontEnd, queue } = await bench();
    await queue.startPolled(frontEnd);
    for (let i = 1; i <= 20; i++) {
      queue.offer(`request ${i}`);
      await queue.used(i);
    }
    const { polls, kicks, requests } = harness.server.counters(0);
    expect({ kicks, requests }).toEqual({ kicks: 0, requests: 20 });
    expect(polls).toBeGreaterThan(0);
  });

  it('that is disabled takes no more chains, and gives back those it has', async () => {
    const { device, frontEnd, queue } = await bench();
    device.keep = true;
    await queue.start(frontEnd);
    queue.offer('one');
    queue.kick();
    await device.until(() => device.kept.length === 1);
    await impatiently(() => frontEnd.set(Request.SET_VRING_ENABLE, state(0, 0)));
    queue.offer('two');
    queue.kick();
    await settled(frontEnd);
    device.answer();
    await queue.call.reaches(1);
    expect(queue.driver.usedIndex).toBe(1);
    device.keep = false;
    await frontEnd.set(Request.SET_VRING_ENABLE, state(0, 1));
    await queue.call.reaches(2);
    expect(queue.driver.usedIndex).toBe(2);
    expect(device.calls).toEqual(['activate']);
  });

  it('counts kicks, interrupts and requests', async () => {
    const { harness, frontEnd, queue } = await bench();
    await queue.start(frontEnd);
    for (let i = 0; i < 5; i++) await queue.roundTrip('x');
    expect(harness.server.counters(0)).toMatchObject({ kicks: 5, interrupts: 5, requests: 5 });
  });

  it('interrupts as soon as it has a descriptor for it, where it had none', async () => {
    const { frontEnd, queue } = await bench();
    await queue.start(frontEnd);
    await frontEnd.set(Request.SET_VRING_CALL, u64(NO_FD));
    queue.offer('x');
    queue.kick();
    while (queue.driver.usedIndex === 0) await settled(frontEnd);
    expect(queue.call.count).toBe(0);
    await frontEnd.set(Request.SET_VRING_CALL, u64(0), [queue.call.fd]);
    await queue.call.reaches(1);
  });

  it('cannot be changed while it runs', async () => {
    const { frontEnd, queue } = await bench();
    await queue.start(frontEnd);
    await queue.roundTrip('x');
    const { addresses } = queue;
    expect(await frontEnd.ack(Request.SET_VRING_NUM, state(0, 32))).toBe(16);
    expect(await frontEnd.ack(Request.SET_VRING_BASE, state(0, 7))).toBe(16);
    const moved = { ...addresses, used: Number(addresses.used) + 4096 };
    expect(await frontEnd.ack(Request.SET_VRING_ADDR, vringAddr(0, moved))).toBe(16);
    expect(await frontEnd.ack(Request.SET_VRING_ADDR, vringAddr(0, addresses))).toBe(0);
    expect(await queue.roundTrip('y')).toBe('y');
  });

  it('joins one that runs already, and the device is activated once', async () => {
    const { harness, device, frontEnd, queue, ram } = await bench();
    const second = new TestQueue(harness.reactor, ram, 1);
    await queue.start(frontEnd);
    await queue.roundTrip('a');
    await second.start(frontEnd);
    expect(await second.roundTrip('b')).toBe('b');
    expect(await queue.roundTrip('c')).toBe('c');
    expect(device.calls).toEqual(['activate']);
  });

  it('whose size is no power of two is refused when it starts, by its descriptor for errors', async () => {
    const { harness, device, frontEnd, queue } = await bench();
    await queue.setUp(frontEnd);
    await frontEnd.set(Request.SET_VRING_NUM, state(0, 63));
    await frontEnd.set(Request.SET_VRING_KICK, u64(0), [queue.kickFd]);
    await frontEnd.set(Request.SET_VRING_ENABLE, state(0, 1));
    queue.kick();
    await queue.err.reaches(1);
    expect(harness.events.at(-1)).toBe(
      'log: the device needs a reset: queue 0: size 63 is not a power of two',
    );
    expect(device.calls).toEqual([]);
  });
});

describe('a driver that breaks the rules', () => {
  it('stops the device, shows in the status and at the descriptor for errors, and can start over', async () => {
    const { harness, device, frontEnd, queue, ram } = await bench();
    await queue.start(frontEnd);
    await queue.roundTrip('x');
    queue.driver.setAvailIndex(40000);
    queue.kick();
    await queue.err.reaches(1);
    expect(harness.events.at(-1)).toMatch(/^log: the device needs a reset: queue 0: the available index/);
    expect(await frontEnd.queryU64(Request.GET_STATUS)).toBe(64n);
    expect(await frontEnd.getVringBase(0)).toBe(1);
    await frontEnd.set(Request.SET_STATUS, u64(0));
    expect(await frontEnd.queryU64(Request.GET_STATUS)).toBe(0n);
    const fresh = new TestQueue(harness.reactor, ram);
    await fresh.start(frontEnd);
    expect(await fresh.roundTrip('again')).toBe('again');
    expect(device.calls).toEqual(['activate', 'reset', 'activate']);
  });

  it('a device that throws is out of order until it is reset', async () => {
    const { harness, device, frontEnd, queue } = await bench();
    device.handleChain = () => {
      throw new Error('a bug');
    };
    await queue.start(frontEnd);
    queue.offer('x');
    queue.kick();
    await queue.err.reaches(1);
    expect(harness.events.at(-1)).toContain('the device failed: Error: a bug');
    expect(harness.server.connected).toBe(true);
  });

  it('a request that failed unheard keeps the rings still until they are set up again', async () => {
    const { harness, device, frontEnd, queue } = await bench();
    frontEnd.send(Request.SET_VRING_NUM, state(0, 1024));
    await queue.start(frontEnd);
    queue.offer('x');
    queue.kick();
    await settled(frontEnd);
    expect(harness.events.at(-1)).toBe(
      'log: the device needs a reset: VHOST_USER_SET_VRING_NUM failed: errno 22',
    );
    expect(device.calls).toEqual([]);
    expect(await frontEnd.getVringBase(0)).toBe(0);
    await queue.start(frontEnd);
    queue.kick();
    await queue.call.reaches(1);
    expect(device.calls).toEqual(['activate']);
  });
});
