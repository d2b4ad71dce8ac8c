import { describe, expect, it } from 'vitest';
import { memfdCreate } from '../../../../host/index.js';
import {
  GUEST_BASE,
  GuestRam,
  mappingsOf,
  openDescriptors,
  owned,
  startServer,
  TestQueue,
  USER_BASE,
  type EchoDevice,
  type Harness,
} from './harness.js';
import {
  memRegion,
  memTable,
  Request,
  vringAddr,
  type RawFrontEnd,
  type WireRegion,
} from './raw-front-end.js';

const EINVAL = 22;
const EEXIST = 17;
const ENOENT = 2;
const EFAULT = 14;

interface Bench {
  readonly harness: Harness<EchoDevice>;
  readonly frontEnd: RawFrontEnd;
}

async function connected(): Promise<Bench> {
  const harness = startServer();
  return { harness, frontEnd: await harness.connect().negotiate() };
}

/** A queue that has served a request, with its memory in one region. */
async function running(): Promise<Bench & { ram: GuestRam; queue: TestQueue }> {
  const { harness, frontEnd } = await connected();
  const ram = new GuestRam('memory');
  await frontEnd.set(Request.ADD_MEM_REG, memRegion(ram.region), [ram.fd]);
  const queue = new TestQueue(harness.reactor, ram);
  await queue.start(frontEnd);
  await queue.roundTrip('first');
  return { harness, frontEnd, ram, queue };
}

describe('a table that is replaced while a ring is looked at', () => {
  it('has a chain wait whose buffers are in neither, and served without another kick when they are back', async () => {
    const { frontEnd, ram, queue } = await running();
    const ringsOnly = { ...ram.region, size: 0x8000 };
    expect(await frontEnd.ack(Request.SET_MEM_TABLE, memTable(ringsOnly), [ram.fd])).toBe(0);
    const [, answer] = queue.offer('second');
    queue.kick();
    for (let i = 0; i < 3; i++) await frontEnd.queryU64(Request.GET_FEATURES);
    expect(queue.driver.reap()).toEqual([]);
    expect(await frontEnd.ack(Request.SET_MEM_TABLE, memTable(ram.region), [ram.fd])).toBe(0);
    await queue.call.reaches(2);
    expect(queue.textAt(answer)).toBe('second');
    expect(queue.err.count).toBe(0);
  });
});

describe('memory regions', () => {
  const page = { guest: 0, size: 0x1000, user: USER_BASE };
  it.each<[string, WireRegion, number]>([
    ['of no size', { ...page, size: 0 }, EINVAL],
    ['beyond its file', { ...page, offset: 0x1000 }, EINVAL],
    ['longer than its file', { ...page, size: 0x1001 }, EINVAL],
    ['whose end overflows', { ...page, guest: -0x1000n, size: 0x2000n }, EINVAL],
    ['whose offset overflows', { ...page, offset: -0x1000n }, EINVAL],
    ['whose user address overflows', { ...page, user: -0x1000n }, EINVAL],
    ['of 2^63 bytes', { ...page, size: 1n << 63n }, EINVAL],
  ])('a region %s is refused', async (_, region, errno) => {
    const { frontEnd } = await connected();
    const fd = owned(memfdCreate('short', 0x1000));
    const descriptors = openDescriptors();
    expect(await frontEnd.ack(Request.SET_MEM_TABLE, memTable(region), [fd])).toBe(errno);
    expect(await frontEnd.ack(Request.ADD_MEM_REG, memRegion(region), [fd])).toBe(errno);
    expect(mappingsOf('short')).toBe(0);
    expect(openDescriptors()).toBe(descriptors);
  });

  it('regions that overlap are refused, and the table stays as it was', async () => {
    const { frontEnd, queue, ram } = await running();
    const a = { guest: 0, size: 0x2000, user: USER_BASE };
    const b = { guest: 0x1000, size: 0x2000, user: USER_BASE + 0x2000, offset: 0x2000 };
    expect(await frontEnd.ack(Request.SET_MEM_TABLE, memTable(a, b), [ram.fd, ram.fd])).toBe(EEXIST);
    expect(await frontEnd.ack(Request.ADD_MEM_REG, memRegion(ram.region), [ram.fd])).toBe(EEXIST);
    expect(await queue.roundTrip('still here')).toBe('still here');
  });

  it('regions of one file share a mapping, and the last one to go takes it along', async () => {
    const { frontEnd } = await connected();
    const fd = owned(memfdCreate('shared', 0x3000));
    const regions = [0, 1, 2].map((i) => {
      return { guest: i * 0x10000, size: 0x1000, user: USER_BASE + i * 0x1000, offset: i * 0x1000 };
    });
    for (const region of regions) await frontEnd.set(Request.ADD_MEM_REG, memRegion(region), [fd]);
    expect(mappingsOf('shared')).toBe(1);
    for (const region of regions)
      await frontEnd.set(Request.REM_MEM_REG, memRegion({ ...region, offset: 7 }));
    expect(mappingsOf('shared')).toBe(0);
  });

  it('a region is removed by all of its bounds, and a descriptor that comes along is closed', async () => {
    const { frontEnd } = await connected();
    const fd = owned(memfdCreate('removed', 0x1000));
    const region = { guest: 0x1000, size: 0x1000, user: USER_BASE };
    await frontEnd.set(Request.ADD_MEM_REG, memRegion(region), [fd]);
    for (const wrong of [{ guest: 0 }, { size: 0x800 }, { user: USER_BASE + 1 }])
      expect(await frontEnd.ack(Request.REM_MEM_REG, memRegion({ ...region, ...wrong }))).toBe(ENOENT);
    const descriptors = openDescriptors();
    expect(await frontEnd.ack(Request.REM_MEM_REG, memRegion(region), [fd])).toBe(0);
    // Its own is closed with it.
    expect(openDescriptors()).toBe(descriptors - 1);
  });

  it('there are 509 slots and not one more', async () => {
    const { frontEnd } = await connected();
    const fd = owned(memfdCreate('slots', 0x1000));
    for (let i = 0; i < 509; i++) {
      const region = { guest: i * 0x1000, size: 0x1000, user: USER_BASE + i * 0x1000 };
      await frontEnd.set(Request.ADD_MEM_REG, memRegion(region), [fd]);
    }
    const last = { guest: 509 * 0x1000, size: 0x1000, user: 0 };
    expect(await frontEnd.ack(Request.ADD_MEM_REG, memRegion(last), [fd])).toBe(28);
  });

  it('a ring across the end of a region is refused', async () => {
    const { frontEnd, queue } = await running();
    await frontEnd.getVringBase(0);
    const end = USER_BASE + 0x100000;
    const { addresses } = queue;
    for (const moved of [
      { descriptor: end - 16 },
      { available: end - 2 },
      { used: end - 4 },
      { used: USER_BASE - 8 },
    ])
      expect(await frontEnd.ack(Request.SET_VRING_ADDR, vringAddr(0, { ...addresses, ...moved }))).toBe(
        EFAULT,
      );
  });
});

describe('memory that changes while rings run', () => {
  it('a table with the same file is taken over without a pause', async () => {
    const { frontEnd, queue, ram, harness } = await running();
    harness.device.keep = true;
    const [, answer] = queue.offer('in flight');
    queue.kick();
    await harness.device.until(() => harness.device.kept.length === 1);
    const halves = [0, 1].map((i) => {
      const half = ram.sizeBytes / 2;
      return { guest: GUEST_BASE + i * half, size: half, user: USER_BASE + i * half, offset: i * half };
    });
    await frontEnd.set(Request.SET_MEM_TABLE, memTable(...halves), [ram.fd, ram.fd]);
    harness.device.answer();
    await queue.call.reaches(2);
    queue.driver.reap();
    expect(queue.textAt(answer)).toBe('in flight');
    harness.device.keep = false;
    expect(await queue.roundTrip('after')).toBe('after');
    expect(mappingsOf('memory')).toBe(2);
  });

  it('many changes between requests lose none of them', async () => {
    const { frontEnd, queue, ram, harness } = await running();
    for (let i = 0; i < 50; i++) {
      queue.offer(`request ${i}`);
      queue.kick();
      await frontEnd.set(Request.SET_MEM_TABLE, memTable(ram.region), [ram.fd]);
    }
    while (queue.driver.usedIndex < 51) await queue.call.reaches(queue.call.count + 1);
    expect(harness.events).toEqual(['connect']);
  });

  it('a region that is taken away and comes back holds the ring up, and answers of the meantime arrive', async () => {
    const { frontEnd, queue, ram, harness } = await running();
    harness.device.keep = true;
    const [, answer] = queue.offer('in flight');
    queue.kick();
    await harness.device.until(() => harness.device.kept.length === 1);
    await frontEnd.set(Request.REM_MEM_REG, memRegion(ram.region));
    harness.device.keep = false;
    harness.device.answer();
    queue.offer('waiting');
    queue.kick();
    await frontEnd.queryU64(Request.GET_FEATURES);
    expect(queue.driver.usedIndex).toBe(1);
    await frontEnd.set(Request.ADD_MEM_REG, memRegion(ram.region), [ram.fd]);
    while (queue.driver.usedIndex < 3) await queue.call.reaches(queue.call.count + 1);
    expect(queue.textAt(answer)).toBe('in flight');
    expect(harness.events).toEqual(['connect']);
    expect(harness.device.calls).toEqual(['activate']);
  });

  it('a region that is taken away is the front-end’s again once no request under way writes to it', async () => {
    const { frontEnd, queue, ram, harness } = await running();
    harness.device.keep = true;
    const [, answer] = queue.offer('in flight');
    queue.kick();
    await harness.device.until(() => harness.device.kept.length === 1);
    for (const take of [
      () => frontEnd.set(Request.REM_MEM_REG, memRegion(ram.region)),
      () => frontEnd.set(Request.SET_MEM_TABLE, memTable()),
    ]) {
      let isTaken = false;
      const taken = take().then(() => (isTaken = true));
      for (let turn = 0; turn < 50; turn++) await new Promise(setImmediate);
      expect(isTaken).toBe(false);
      harness.device.answer();
      await taken;
      expect(queue.textAt(answer)).toBe('in flight');
      await frontEnd.set(Request.ADD_MEM_REG, memRegion(ram.region), [ram.fd]);
      while (queue.driver.reap().length === 0) await new Promise(setImmediate);
      queue.offer('next');
      queue.kick();
      await harness.device.until(() => harness.device.kept.length === 1);
    }
  });

  it('a file that only requests under way use goes with the last of them', async () => {
    const { frontEnd, queue, ram, harness } = await running();
    harness.device.keep = true;
    queue.offer('in flight');
    queue.kick();
    await harness.device.until(() => harness.device.kept.length === 1);
    await frontEnd.set(Request.REM_MEM_REG, memRegion(ram.region));
    expect(mappingsOf('memory')).toBe(2);
    harness.device.answer();
    expect(mappingsOf('memory')).toBe(1);
  });

  it('a ring that finds itself elsewhere stops the device', async () => {
    const { frontEnd, queue, ram, harness } = await running();
    const moved = { ...ram.region, guest: 0 };
    await frontEnd.set(Request.SET_MEM_TABLE, memTable(moved), [ram.fd]);
    await queue.err.reaches(1);
    expect(harness.events.at(-1)).toBe(
      'log: the device needs a reset: queue 0 was moved in memory while it ran',
    );
  });

  it('a buffer outside memory stops the device, not the process', async () => {
    const { frontEnd, queue, harness } = await running();
    queue.driver.add([{ address: 0x10, length: 8 }]);
    queue.kick();
    await queue.err.reaches(1);
    expect(harness.events.at(-1)).toMatch(/a buffer lies outside memory$/);
    expect(await frontEnd.queryU64(Request.GET_QUEUE_NUM)).toBe(2n);
  });
});
