import { describe, expect, it, onTestFinished, vi } from 'vitest';
import { existsSync } from 'node:fs';
import {
  GuestRam,
  impatiently,
  mappingsOf,
  openDescriptors,
  startServer,
  TestQueue,
  type EchoDevice,
  type Harness,
} from './harness.js';
import { Feature, memRegion, memTable, Request, state, u64, type RawFrontEnd } from './raw-front-end.js';

interface Bench {
  readonly harness: Harness<EchoDevice>;
  readonly device: EchoDevice;
  readonly frontEnd: RawFrontEnd;
  readonly queue: TestQueue;
  readonly ram: GuestRam;
}

/** A queue that has served one request. */
async function running(): Promise<Bench> {
  const harness = startServer();
  const ram = new GuestRam('lifecycle');
  const frontEnd = await harness.ready(ram);
  const queue = new TestQueue(harness.reactor, ram);
  await queue.start(frontEnd);
  await queue.roundTrip('first');
  return { harness, device: harness.device, frontEnd, queue, ram };
}

function pending<T = void>(): { promise: Promise<T>; settle: (value: T) => void } {
  let settle: (value: T) => void = () => {};
  const promise = new Promise<T>((resolve) => (settle = resolve));
  return { promise, settle };
}

describe('a pause of the virtual machine', () => {
  it('keeps the device as it was: the ring goes on where it stopped', async () => {
    const { device, frontEnd, queue } = await running();
    const base = await frontEnd.getVringBase(0);
    await frontEnd.set(Request.SET_STATUS, u64(0));
    expect(base).toBe(1);
    await queue.start(frontEnd, base);
    expect(await queue.roundTrip('second')).toBe('second');
    expect(device.calls).toEqual(['activate']);
  });

  it('loses no request whose kick came while nobody listened', async () => {
    const { frontEnd, queue } = await running();
    const base = await frontEnd.getVringBase(0);
    queue.offer('unheard');
    await queue.start(frontEnd, base);
    await queue.call.reaches(2);
    expect(queue.driver.reap()).toHaveLength(1);
  });

  it('waits for the requests that are under way', async () => {
    const { device, frontEnd, queue } = await running();
    device.keep = true;
    queue.offer('slow');
    queue.offer('slow too');
    queue.kick();
    await device.until(() => device.kept.length === 2);
    const base = frontEnd.getVringBase(0);
    device.answer();
    expect(await base).toBe(3);
    expect(queue.driver.reap()).toHaveLength(2);
    await queue.call.reaches(2);
    expect(device.calls).toEqual(['activate']);
  });

  it('ends requests that do not end by themselves with a reset, and answers once that is done', async () => {
    const { harness, device, frontEnd, queue } = await running();
    const reset = pending();
    device.onReset = () => reset.promise;
    device.keep = true;
    queue.offer('blocked');
    queue.kick();
    await device.until(() => device.kept.length === 1);
    const base = frontEnd.getVringBase(0);
    await device.until(() => device.calls.includes('reset'));
    expect(harness.events.at(-1)).toBe(
      'log: 1 requests of queue 0 did not end within 1000 ms: the device is reset',
    );
    expect(frontEnd.poll()).toBe(0);
    device.answer();
    reset.settle();
    expect(await base).toBe(1);
    expect(queue.driver.usedIndex).toBe(1);
  });

  it('serves requests anew that the device had to leave, once the ring goes on', async () => {
    const { device, frontEnd, queue } = await running();
    device.keep = true;
    const answers = ['one', 'two'].map((text) => queue.offer(text)[1]);
    queue.kick();
    await device.until(() => device.kept.length === 2);
    const base = await impatiently(() => frontEnd.getVringBase(0));
    expect(base).toBe(1);
    device.keep = false;
    await queue.start(frontEnd, base);
    await queue.call.reaches(2);
    expect(queue.driver.reap()).toHaveLength(2);
    expect(answers.map((answer) => queue.textAt(answer))).toEqual(['one', 'two']);
  });

  it('cannot give back a request that others behind it have overtaken', async () => {
    const { device, frontEnd, queue } = await running();
    device.keep = true;
    queue.offer('blocked');
    queue.kick();
    await device.until(() => device.kept.length === 1);
    device.keep = false;
    await queue.roundTrip('overtakes');
    expect(await impatiently(() => frontEnd.getVringBase(0))).toBe(3);
  });

  it('cannot give back a request of a ring that started behind requests that were lost', async () => {
    const { device, frontEnd, queue } = await running();
    await frontEnd.getVringBase(0);
    queue.offer('lost');
    await queue.start(frontEnd, 2);
    device.keep = true;
    queue.offer('blocked');
    queue.kick();
    await device.until(() => device.kept.length === 1);
    expect(await impatiently(() => frontEnd.getVringBase(0))).toBe(3);
  });

  it('waits once for all rings that are stopped one after the other', async () => {
    const { harness, device, frontEnd, queue, ram } = await running();
    const other = new TestQueue(harness.reactor, ram, 1);
    await other.start(frontEnd);
    device.keep = true;
    for (const each of [queue, other]) {
      each.offer('blocked');
      each.kick();
    }
    await device.until(() => device.kept.length === 2);
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] });
    onTestFinished(() => void vi.useRealTimers());
    const disabled = frontEnd.ack(Request.SET_VRING_ENABLE, state(0, 0));
    while (vi.getTimerCount() === 0) await new Promise(setImmediate);
    vi.advanceTimersByTime(1000);
    expect(await disabled).toBe(0);
    // The clock stands still from here on: whoever waits again waits for ever.
    await frontEnd.set(Request.SET_VRING_ENABLE, state(1, 0));
    expect(await frontEnd.getVringBase(0)).toBe(1);
    expect(await frontEnd.getVringBase(1)).toBe(0);
  });

  it('goes on with the other rings after that reset', async () => {
    const { harness, device, frontEnd, queue, ram } = await running();
    const other = new TestQueue(harness.reactor, ram, 1);
    await other.start(frontEnd);
    await other.roundTrip('before');
    device.keep = true;
    queue.offer('blocked');
    queue.kick();
    await device.until(() => device.kept.length === 1);
    device.keep = false;
    await impatiently(() => frontEnd.getVringBase(0));
    expect(await other.roundTrip('after')).toBe('after');
    expect(device.calls).toEqual(['activate', 'reset', 'activate']);
  });

  it('finds nothing under way in a queue that the device fills, and waits for nothing', async () => {
    const { harness, device, frontEnd, queue } = await running();
    let looks = 0;
    device.filledQueues = { includes: (index) => index === 0, buffersAdded: () => (looks++, 0) };
    const [, room] = queue.offer('room');
    queue.kick();
    while (looks === 0) await new Promise(setImmediate);
    // The clock stands still: who waits, waits for ever.
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] });
    onTestFinished(() => void vi.useRealTimers());
    const base = await frontEnd.getVringBase(0);
    expect(base).toBe(1);
    await queue.start(frontEnd, base);
    const [ring] = device.context!.queues;
    // What it looked at and gave back is none of what a pause waits for, either.
    ring!.unpop(ring!.pop()!);
    expect(await frontEnd.ack(Request.SET_VRING_ENABLE, state(0, 0))).toBe(0);
    expect(ring!.pop()).toBeUndefined();
    expect(await frontEnd.ack(Request.SET_VRING_ENABLE, state(0, 1))).toBe(0);
    const chain = ring!.pop()!;
    ring!.push(chain, chain.writable.scatter(0, Buffer.from('full'), 0, 4));
    ring!.flush();
    await queue.call.reaches(2);
    expect(queue.textAt(room)).toBe('full');
    expect(device.calls).toEqual(['activate']);
    expect(harness.events).toEqual(['connect']);
  });

  it('is over when the front-end leaves meanwhile', async () => {
    const { harness, device, frontEnd, queue, ram } = await running();
    device.keep = true;
    queue.offer('blocked');
    queue.kick();
    await device.until(() => device.kept.length === 1);
    frontEnd.send(Request.GET_VRING_BASE, state(0, 0));
    await harness.disconnect(frontEnd);
    device.keep = false;
    const next = await harness.ready(ram);
    const fresh = new TestQueue(harness.reactor, ram);
    await fresh.start(next);
    device.answer();
    expect(await fresh.roundTrip('next')).toBe('next');
    expect(device.calls).toEqual(['activate', 'reset', 'activate']);
  });
});

describe('a reset by the driver', () => {
  it('shows when the rings start afresh: the device is reset before', async () => {
    const { harness, device, frontEnd, ram } = await running();
    await frontEnd.getVringBase(0);
    await frontEnd.set(Request.SET_STATUS, u64(0));
    expect(device.calls).toEqual(['activate']);
    const fresh = new TestQueue(harness.reactor, ram);
    await fresh.start(frontEnd);
    expect(await fresh.roundTrip('x')).toBe('x');
    expect(device.calls).toEqual(['activate', 'reset', 'activate']);
  });

  it('shows when another queue than the one that starts was set up anew', async () => {
    const { harness, device, frontEnd, queue, ram } = await running();
    const second = new TestQueue(harness.reactor, ram, 1);
    await second.start(frontEnd);
    await second.roundTrip('x');
    const base = await frontEnd.getVringBase(0);
    await frontEnd.getVringBase(1);
    const fresh = new TestQueue(harness.reactor, ram, 1);
    await fresh.setUp(frontEnd);
    await queue.start(frontEnd, base);
    await queue.roundTrip('y');
    expect(device.calls).toEqual(['activate', 'reset', 'activate']);
  });

  it('may take its time: the next rings start after it', async () => {
    const { harness, device, frontEnd, ram } = await running();
    const reset = pending();
    device.onReset = () => reset.promise;
    await frontEnd.getVringBase(0);
    const fresh = new TestQueue(harness.reactor, ram);
    await fresh.start(frontEnd);
    fresh.offer('early');
    fresh.kick();
    await device.until(() => device.calls.includes('reset'));
    expect(fresh.driver.usedIndex).toBe(0);
    reset.settle();
    await fresh.call.reaches(1);
    expect(device.calls).toEqual(['activate', 'reset', 'activate']);
  });

  it.each([
    ['RESET_DEVICE', Request.RESET_DEVICE, undefined],
    ['status 0 while rings run', Request.SET_STATUS, u64(0)],
  ])('%s is answered once the device is done', async (_, request, payload) => {
    const { harness, device, frontEnd, queue } = await running();
    const reset = pending();
    device.onReset = () => reset.promise;
    const answer = frontEnd.ack(request, payload);
    await device.until(() => device.calls.includes('reset'));
    expect(frontEnd.poll()).toBe(0);
    reset.settle();
    expect(await answer).toBe(0);
    queue.offer('x');
    queue.kick();
    await frontEnd.queryU64(Request.GET_FEATURES);
    expect(harness.server.counters(0).kicks).toBe(0);
    expect(queue.driver.usedIndex).toBe(1);
  });

  it('a device whose reset fails is logged, and starts again', async () => {
    const { harness, device, frontEnd, ram } = await running();
    device.onReset = () => Promise.reject(new Error('stuck'));
    expect(await frontEnd.ack(Request.RESET_DEVICE)).toBe(0);
    expect(harness.events.at(-1)).toContain('log: the device failed to reset: Error: stuck');
    await frontEnd.set(Request.SET_FEATURES, u64(Feature.VERSION_1 | Feature.PROTOCOL_FEATURES));
    const fresh = new TestQueue(harness.reactor, ram);
    await fresh.start(frontEnd);
    expect(await fresh.roundTrip('x')).toBe('x');
  });
});

describe('a new session over the same connection', () => {
  it('starts with SET_OWNER, and finds nothing of the last one', async () => {
    const { harness, device, frontEnd, ram } = await running();
    const descriptors = openDescriptors();
    await frontEnd.getVringBase(0);
    await frontEnd.set(Request.SET_OWNER);
    expect(mappingsOf('lifecycle')).toBe(1);
    expect(device.calls).toEqual(['activate', 'reset']);
    await frontEnd.negotiate();
    await frontEnd.set(Request.ADD_MEM_REG, memRegion(ram.region), [ram.fd]);
    const fresh = new TestQueue(harness.reactor, ram);
    await fresh.start(frontEnd);
    expect(await fresh.roundTrip('x')).toBe('x');
    // The queue's own three, of the test.
    expect(openDescriptors()).toBe(descriptors + 3);
  });

  it('cannot start while rings run', async () => {
    const { frontEnd, queue } = await running();
    expect(await frontEnd.ack(Request.SET_OWNER)).toBe(16);
    expect(await queue.roundTrip('y')).toBe('y');
  });
});

describe('the status', () => {
  it('is kept, and reads back', async () => {
    const { frontEnd } = await running();
    await frontEnd.set(Request.SET_STATUS, u64(15));
    expect(await frontEnd.queryU64(Request.GET_STATUS)).toBe(15n);
  });
});

describe('connections', () => {
  it('a second front-end is refused while one talks, and admitted after it', async () => {
    const { harness, frontEnd } = await running();
    const second = harness.connect();
    await second.closed();
    expect(harness.events.at(-1)).toBe(`log: refused a second connection`);
    await harness.disconnect(frontEnd);
    const third = await harness.connect().negotiate();
    expect(harness.server.connected).toBe(true);
    await harness.disconnect(third);
    expect(harness.events.slice(-2)).toEqual(['connect', 'disconnect: the front-end closed the connection']);
  });

  it('one that says nothing makes room for the next', async () => {
    const harness = startServer();
    const silent = harness.connect();
    const frontEnd = await harness.connect().negotiate();
    await silent.closed();
    expect(await frontEnd.queryU64(Request.GET_QUEUE_NUM)).toBe(2n);
  });

  it('closing the server resets the device, removes the socket and can be undone', async () => {
    const { harness, device, frontEnd } = await running();
    const reset = pending();
    device.onReset = () => reset.promise;
    const closed = harness.server.close();
    await frontEnd.closed();
    expect(existsSync(harness.path)).toBe(false);
    reset.settle();
    await closed;
    expect(harness.events.at(-1)).toBe('disconnect: the server was closed');
    harness.server.listen();
    await harness.connect().negotiate();
    expect(harness.events.at(-1)).toBe('connect');
  });

  it('a device that is busy with the last front-end starts for the next one once it is done', async () => {
    const { harness, device, frontEnd, ram } = await running();
    const reset = pending();
    device.onReset = () => reset.promise;
    await harness.disconnect(frontEnd);
    const next = await harness.ready(ram);
    const fresh = new TestQueue(harness.reactor, ram);
    await fresh.start(next);
    fresh.offer('x');
    fresh.kick();
    await next.queryU64(Request.GET_FEATURES);
    expect(device.calls).toEqual(['activate', 'reset']);
    reset.settle();
    await fresh.call.reaches(1);
  });
});

describe('a front-end that leaves', () => {
  const steps: [string, (frontEnd: RawFrontEnd, ram: GuestRam, queue: TestQueue) => Promise<void>][] = [
    ['nothing', async () => {}],
    ['the features', async (frontEnd) => void (await frontEnd.negotiate())],
    [
      'the memory',
      async (frontEnd, ram) => frontEnd.set(Request.SET_MEM_TABLE, memTable(ram.region), [ram.fd]),
    ],
    ['the ring', async (frontEnd, _, queue) => queue.setUp(frontEnd)],
    ['the kick', async (frontEnd, _, queue) => frontEnd.set(Request.SET_VRING_KICK, u64(0), [queue.kickFd])],
    ['the enabling', async (frontEnd) => frontEnd.set(Request.SET_VRING_ENABLE, state(0, 1))],
    ['requests', async (_, __, queue) => void (await queue.roundTrip('x'))],
    ['the stop', async (frontEnd) => void (await frontEnd.getVringBase(0))],
  ];

  it.each(steps.map(([name], count) => [name, count] as const))(
    'after %s leaves no descriptor and no mapping behind',
    async (_, count) => {
      const harness = startServer();
      const ram = new GuestRam('leaver');
      const queue = new TestQueue(harness.reactor, ram);
      const descriptors = openDescriptors();
      const mappings = mappingsOf('leaver');
      const frontEnd = harness.connect();
      for (const [, step] of steps.slice(0, count + 1)) await step(frontEnd, ram, queue);
      await harness.disconnect(frontEnd);
      expect(openDescriptors()).toBe(descriptors);
      expect(mappingsOf('leaver')).toBe(mappings);
      await harness.connect().negotiate();
      expect(harness.server.connected).toBe(true);
    },
  );
});
