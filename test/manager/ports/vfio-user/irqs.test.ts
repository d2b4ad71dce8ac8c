import { describe, expect, it } from 'vitest';
import { eventfdDrain, eventfdSignal } from '../../../../host/index.js';
import { eventfd, Harness, memoryFile, openDescriptors, RecordingFunction, startServer } from './harness.js';
import { Command, EINVAL, EOPNOTSUPP, Irq, IrqFlag, pack, Payload, type RawClient } from './raw-client.js';

const { NONE, BOOL, EVENTFD, MASK, UNMASK, TRIGGER } = IrqFlag;
const EAGAIN = -11;

/** SET_IRQS, and the errno that it is answered with. */
async function setIrqs(
  client: RawClient,
  flags: number,
  [index, start, count]: readonly [index: number, start: number, count: number],
  options: { fds?: readonly number[]; data?: Uint8Array } = {},
): Promise<number> {
  return client.errnoOf(Command.SET_IRQS, Payload.setIrqs(flags, index, start, count, options.data), {
    fds: options.fds,
  });
}

const eventfds = (count: number): number[] => Array.from({ length: count }, eventfd);

describe('requests that are refused, with their descriptors closed', () => {
  const requests: Record<
    string,
    [flags: number, range: [number, number, number], fdCount?: number, data?: Uint8Array]
  > = {
    'no action': [NONE, [2, 0, 1]],
    'no kind of data': [TRIGGER, [2, 0, 1]],
    'two actions': [NONE | MASK | UNMASK, [0, 0, 1]],
    'two kinds of data': [NONE | BOOL | TRIGGER, [2, 0, 1], 0, Buffer.of(1)],
    'unknown flags': [NONE | TRIGGER | 64, [2, 0, 1]],
    'interrupt type 5': [NONE | TRIGGER, [5, 0, 1]],
    'interrupt type 0xffffffff': [NONE | TRIGGER, [0xffffffff, 0, 0]],
    'a type that the device lacks': [EVENTFD | TRIGGER, [1, 0, 1], 1],
    'a range beyond the last vector': [EVENTFD | TRIGGER, [2, 39, 2], 2],
    'a start beyond the last vector': [EVENTFD | TRIGGER, [2, 41, 0]],
    'a range that wraps': [EVENTFD | TRIGGER, [2, 0xffffffff, 2], 2],
    'all vectors and more': [EVENTFD | TRIGGER, [2, 0, 0xffffffff]],
    'two INTx pins': [EVENTFD | TRIGGER, [0, 0, 2], 2],
    'a second error interrupt': [EVENTFD | TRIGGER, [3, 0, 2], 2],
    'fewer descriptors than vectors': [EVENTFD | TRIGGER, [2, 0, 2], 1],
    'more descriptors than vectors': [EVENTFD | TRIGGER, [2, 0, 2], 3],
    'descriptors with booleans': [BOOL | TRIGGER, [2, 0, 1], 1, Buffer.of(1)],
    'descriptors without data': [NONE | TRIGGER, [2, 0, 1], 1],
    'descriptors with a disable': [NONE | TRIGGER, [2, 0, 0], 1],
    'fewer booleans than vectors': [BOOL | TRIGGER, [2, 0, 2], 0, Buffer.of(1)],
    'more booleans than vectors': [BOOL | TRIGGER, [2, 0, 2], 0, Buffer.of(1, 1, 1)],
    'no vectors from the second on': [NONE | TRIGGER, [2, 1, 0]],
    'no vectors to mask': [NONE | MASK, [0, 0, 0]],
    'no vectors with booleans': [BOOL | TRIGGER, [2, 0, 0]],
    'no vectors with eventfds': [EVENTFD | TRIGGER, [2, 0, 0]],
    'a mask of MSI-X vectors': [NONE | MASK, [2, 0, 1]],
    'an unmask of MSI-X vectors': [EVENTFD | UNMASK, [2, 0, 1], 1],
    'a mask of the error interrupt': [NONE | MASK, [3, 0, 1]],
    'a mask of the request interrupt': [NONE | UNMASK, [4, 0, 1]],
  };
  for (const [name, [flags, range, fdCount = 0, data]] of Object.entries(requests)) {
    it(name, async () => {
      const client = await startServer().negotiated();
      const fds = eventfds(fdCount);
      const before = openDescriptors();
      expect(await setIrqs(client, flags, range, { fds, data })).toBe(EINVAL);
      expect(openDescriptors()).toBe(before);
      expect(await client.errnoOf(Command.GET_INFO, Payload.deviceInfo())).toBe(0);
    });
  }

  it('an eventfd that would tell of masking, which nothing here does', async () => {
    const client = await startServer().negotiated();
    expect(await setIrqs(client, EVENTFD | MASK, [Irq.INTX, 0, 1], { fds: eventfds(1) })).toBe(EOPNOTSUPP);
  });

  it('something that is no eventfd, and the vectors beside it keep what they had', async () => {
    const harness = startServer();
    const client = await harness.negotiated();
    const old = eventfds(2);
    expect(await setIrqs(client, EVENTFD | TRIGGER, [Irq.MSIX, 0, 2], { fds: old })).toBe(0);
    const fresh = [eventfd(), memoryFile('no-eventfd', 4096)];
    const before = openDescriptors();
    for (const index of [Irq.MSIX, Irq.ERR, Irq.INTX]) {
      const fds = index === Irq.MSIX ? fresh : [fresh[1]];
      expect(await setIrqs(client, EVENTFD | TRIGGER, [index, 0, fds.length], { fds })).toBe(EINVAL);
    }
    expect(await setIrqs(client, EVENTFD | UNMASK, [Irq.INTX, 0, 1], { fds: [fresh[1]] })).toBe(EINVAL);
    expect(openDescriptors()).toBe(before);
    harness.fn.port?.triggerMsix(0);
    expect([eventfdDrain(old[0]), eventfdDrain(fresh[0])]).toEqual([1, EAGAIN]);
  });

  it('INTx of a function without a pin, and MSI-X of one without a table', async () => {
    class SilentFunction extends RecordingFunction {
      override readonly hasIntx = false;
      override readonly msixVectorCount = 0;
    }
    const harness = new Harness(() => new SilentFunction());
    const client = await harness.negotiated();
    for (const index of [Irq.INTX, Irq.MSI, Irq.MSIX]) {
      expect(await setIrqs(client, EVENTFD | TRIGGER, [index, 0, 1], { fds: eventfds(1) })).toBe(EINVAL);
      const { payload } = await client.request(Command.GET_IRQ_INFO, Payload.indexed(index));
      expect(payload.readUInt32LE(12)).toBe(0);
    }
    harness.fn.port?.triggerMsix(0);
    harness.fn.port?.setIntx(true);
    expect(harness.server.counters.irqs).toEqual({ interrupts: 0, deferred: 0 });
  });
});

it('GET_IRQ_INFO gives each type its vectors and what can be done with them', async () => {
  const client = await startServer().negotiated();
  const infos: Buffer[] = [];
  for (let index = 0; index < 5; index++) {
    infos.push((await client.request(Command.GET_IRQ_INFO, Payload.indexed(index))).payload);
  }
  const [eventfdFlag, maskable, automasked, noresize] = [1, 2, 4, 8];
  expect(infos).toEqual([
    pack([4, 16], [4, eventfdFlag | maskable | automasked], [4, 0], [4, 1]),
    pack([4, 16], [4, eventfdFlag | noresize], [4, 1], [4, 0]),
    pack([4, 16], [4, eventfdFlag], [4, 2], [4, 40]),
    pack([4, 16], [4, eventfdFlag | noresize], [4, 3], [4, 1]),
    pack([4, 16], [4, eventfdFlag | noresize], [4, 4], [4, 1]),
  ]);
});

describe('MSI-X', () => {
  it('signals the eventfd of each vector, 16 set at a time', async () => {
    const harness = startServer();
    const client = await harness.negotiated();
    const fds = eventfds(40);
    for (const start of [0, 16, 32]) {
      const some = fds.slice(start, start + 16);
      expect(await setIrqs(client, EVENTFD | TRIGGER, [Irq.MSIX, start, some.length], { fds: some })).toBe(0);
    }
    for (let vector = 0; vector < 40; vector++) {
      harness.fn.port?.triggerMsix(vector);
      expect(fds.map(eventfdDrain)).toEqual(fds.map((_, i) => (i === vector ? 1 : EAGAIN)));
    }
    expect(harness.server.counters.irqs).toEqual({ interrupts: 40, deferred: 0 });
  });

  it('makes up for interrupts of a vector without eventfd when it gets one, once', async () => {
    const harness = startServer();
    const client = await harness.negotiated();
    const fds = eventfds(2);
    harness.fn.port?.triggerMsix(3);
    harness.fn.port?.triggerMsix(3);
    expect(await setIrqs(client, EVENTFD | TRIGGER, [Irq.MSIX, 3, 2], { fds })).toBe(0);
    expect(fds.map(eventfdDrain)).toEqual([1, EAGAIN]);
    expect(await setIrqs(client, EVENTFD | TRIGGER, [Irq.MSIX, 3, 2], { fds })).toBe(0);
    expect(fds.map(eventfdDrain)).toEqual([EAGAIN, EAGAIN]);
    expect(harness.server.counters.irqs).toEqual({ interrupts: 1, deferred: 2 });
  });

  it('forgets what a reset device had to say', async () => {
    const harness = startServer();
    const client = await harness.negotiated();
    const fds = eventfds(1);
    harness.fn.port?.triggerMsix(0);
    await client.request(Command.RESET);
    expect(await setIrqs(client, EVENTFD | TRIGGER, [Irq.MSIX, 0, 1], { fds })).toBe(0);
    expect(eventfdDrain(fds[0])).toBe(EAGAIN);
  });

  it('keeps the eventfds through a device reset', async () => {
    const harness = startServer();
    const client = await harness.negotiated();
    const fds = eventfds(1);
    await setIrqs(client, EVENTFD | TRIGGER, [Irq.MSIX, 0, 1], { fds });
    await client.request(Command.RESET);
    harness.fn.port?.triggerMsix(0);
    expect(eventfdDrain(fds[0])).toBe(1);
  });

  it('takes vectors out one by one, in a range, or all together', async () => {
    const harness = startServer();
    const client = await harness.negotiated();
    const fds = eventfds(4);
    const before = openDescriptors();
    await setIrqs(client, EVENTFD | TRIGGER, [Irq.MSIX, 0, 4], { fds });
    expect(openDescriptors()).toBe(before + 4);
    expect(await setIrqs(client, EVENTFD | TRIGGER, [Irq.MSIX, 1, 2])).toBe(0);
    expect(openDescriptors()).toBe(before + 2);
    for (let vector = 0; vector < 4; vector++) harness.fn.port?.triggerMsix(vector);
    expect(fds.map(eventfdDrain)).toEqual([1, EAGAIN, EAGAIN, 1]);
    expect(await setIrqs(client, NONE | TRIGGER, [Irq.MSIX, 0, 0])).toBe(0);
    expect(openDescriptors()).toBe(before);
  });

  it('replaces an eventfd by another and closes the first', async () => {
    const harness = startServer();
    const client = await harness.negotiated();
    const [first, second] = eventfds(2);
    await setIrqs(client, EVENTFD | TRIGGER, [Irq.MSIX, 7, 1], { fds: [first] });
    const before = openDescriptors();
    await setIrqs(client, EVENTFD | TRIGGER, [Irq.MSIX, 7, 1], { fds: [second] });
    expect(openDescriptors()).toBe(before);
    harness.fn.port?.triggerMsix(7);
    expect([eventfdDrain(first), eventfdDrain(second)]).toEqual([EAGAIN, 1]);
  });

  it('can be fired by the client: all of a range, or those that it picks', async () => {
    const client = await startServer().negotiated();
    const fds = eventfds(3);
    await setIrqs(client, EVENTFD | TRIGGER, [Irq.MSIX, 0, 3], { fds });
    expect(await setIrqs(client, NONE | TRIGGER, [Irq.MSIX, 1, 2])).toBe(0);
    expect(fds.map(eventfdDrain)).toEqual([EAGAIN, 1, 1]);
    expect(await setIrqs(client, BOOL | TRIGGER, [Irq.MSIX, 0, 3], { data: Buffer.of(1, 0, 1) })).toBe(0);
    expect(fds.map(eventfdDrain)).toEqual([1, EAGAIN, 1]);
    expect(await setIrqs(client, NONE | TRIGGER, [Irq.MSIX, 0, 40])).toBe(0);
    expect(fds.map(eventfdDrain)).toEqual([1, 1, 1]);
  });

  it('ignores a vector that the function does not have', async () => {
    const harness = startServer();
    await harness.negotiated();
    harness.fn.port?.triggerMsix(40);
    harness.fn.port?.triggerMsix(0xffff);
    expect(harness.server.counters.irqs).toEqual({ interrupts: 0, deferred: 0 });
  });
});

describe('INTx', () => {
  async function withTrigger(): Promise<{ harness: Harness; client: RawClient; trigger: number }> {
    const harness = startServer();
    const client = await harness.negotiated();
    const trigger = eventfd();
    expect(await setIrqs(client, EVENTFD | TRIGGER, [Irq.INTX, 0, 1], { fds: [trigger] })).toBe(0);
    return { harness, client, trigger };
  }

  it('fires once and masks itself until it is unmasked', async () => {
    const { harness, client, trigger } = await withTrigger();
    harness.fn.port?.setIntx(true);
    harness.fn.port?.setIntx(true);
    expect(eventfdDrain(trigger)).toBe(1);
    harness.fn.port?.setIntx(false);
    harness.fn.port?.setIntx(true);
    expect(eventfdDrain(trigger)).toBe(EAGAIN);
    expect(await setIrqs(client, NONE | UNMASK, [Irq.INTX, 0, 1])).toBe(0);
    expect(eventfdDrain(trigger)).toBe(1);
  });

  it('stays silent when it is unmasked and no longer asserted', async () => {
    const { harness, client, trigger } = await withTrigger();
    harness.fn.port?.setIntx(true);
    expect(eventfdDrain(trigger)).toBe(1);
    harness.fn.port?.setIntx(false);
    expect(await setIrqs(client, NONE | UNMASK, [Irq.INTX, 0, 1])).toBe(0);
    expect(eventfdDrain(trigger)).toBe(EAGAIN);
    harness.fn.port?.setIntx(true);
    expect(eventfdDrain(trigger)).toBe(1);
  });

  it('is masked by the client, where its boolean says so', async () => {
    const { harness, client, trigger } = await withTrigger();
    expect(await setIrqs(client, BOOL | MASK, [Irq.INTX, 0, 1], { data: Buffer.of(1) })).toBe(0);
    harness.fn.port?.setIntx(true);
    expect(await setIrqs(client, BOOL | UNMASK, [Irq.INTX, 0, 1], { data: Buffer.of(0) })).toBe(0);
    expect(eventfdDrain(trigger)).toBe(EAGAIN);
    expect(await setIrqs(client, BOOL | UNMASK, [Irq.INTX, 0, 1], { data: Buffer.of(1) })).toBe(0);
    expect(eventfdDrain(trigger)).toBe(1);
  });

  it('fires when an eventfd comes after the device has asserted it', async () => {
    const harness = startServer();
    const client = await harness.negotiated();
    harness.fn.port?.setIntx(true);
    const trigger = eventfd();
    await setIrqs(client, EVENTFD | TRIGGER, [Irq.INTX, 0, 1], { fds: [trigger] });
    expect(eventfdDrain(trigger)).toBe(1);
  });

  it('is unmasked after it was switched off and on again', async () => {
    const { harness, client, trigger } = await withTrigger();
    harness.fn.port?.setIntx(true);
    expect(eventfdDrain(trigger)).toBe(1);
    expect(await setIrqs(client, NONE | TRIGGER, [Irq.INTX, 0, 0])).toBe(0);
    await setIrqs(client, EVENTFD | TRIGGER, [Irq.INTX, 0, 1], { fds: [trigger] });
    expect(eventfdDrain(trigger)).toBe(1);
  });

  it('is unmasked by the eventfd that the client gave for that, each time', async () => {
    const { harness, client, trigger } = await withTrigger();
    const unmask = eventfd();
    expect(await setIrqs(client, EVENTFD | UNMASK, [Irq.INTX, 0, 1], { fds: [unmask] })).toBe(0);
    for (let round = 1; round <= 3; round++) {
      harness.fn.port?.setIntx(true);
      expect(eventfdDrain(trigger)).toBe(round === 1 ? 1 : EAGAIN);
      eventfdSignal(unmask);
      while (harness.server.counters.irqs.interrupts < round + 1)
        await new Promise((resolve) => setImmediate(resolve));
      expect(eventfdDrain(trigger)).toBe(1);
      harness.fn.port?.setIntx(false);
    }
  });

  it('loses the eventfd for unmasking when the client takes it back, or gives another', async () => {
    const { client } = await withTrigger();
    const [first, second] = eventfds(2);
    const before = openDescriptors();
    await setIrqs(client, EVENTFD | UNMASK, [Irq.INTX, 0, 1], { fds: [first] });
    await setIrqs(client, EVENTFD | UNMASK, [Irq.INTX, 0, 1], { fds: [second] });
    expect(openDescriptors()).toBe(before + 1);
    expect(await setIrqs(client, EVENTFD | UNMASK, [Irq.INTX, 0, 1])).toBe(0);
    expect(openDescriptors()).toBe(before);
    eventfdSignal(first);
    eventfdSignal(second);
    expect(await client.errnoOf(Command.GET_INFO, Payload.deviceInfo())).toBe(0);
  });

  it('is lowered by a device reset', async () => {
    const { harness, client, trigger } = await withTrigger();
    harness.fn.port?.setIntx(true);
    expect(eventfdDrain(trigger)).toBe(1);
    await client.request(Command.RESET);
    expect(await setIrqs(client, NONE | UNMASK, [Irq.INTX, 0, 1])).toBe(0);
    expect(eventfdDrain(trigger)).toBe(EAGAIN);
  });

  it('can be fired by the client, whatever its level and mask', async () => {
    const { client, trigger } = await withTrigger();
    await setIrqs(client, NONE | MASK, [Irq.INTX, 0, 1]);
    expect(await setIrqs(client, NONE | TRIGGER, [Irq.INTX, 0, 1])).toBe(0);
    expect(eventfdDrain(trigger)).toBe(1);
  });
});

it('eventfds for errors and requests are kept, and closed when they are taken out', async () => {
  const client = await startServer().negotiated();
  const fds = eventfds(1);
  const before = openDescriptors();
  for (const index of [Irq.ERR, Irq.REQ]) {
    expect(await setIrqs(client, EVENTFD | TRIGGER, [index, 0, 1], { fds })).toBe(0);
    expect(openDescriptors()).toBe(before + 1);
    expect(await setIrqs(client, NONE | TRIGGER, [index, 0, 0])).toBe(0);
    expect(openDescriptors()).toBe(before);
  }
});

it('a type that the device lacks can be disabled', async () => {
  const client = await startServer().negotiated();
  expect(await setIrqs(client, NONE | TRIGGER, [Irq.MSI, 0, 0])).toBe(0);
});
