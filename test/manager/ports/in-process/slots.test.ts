import { describe, expect, it } from 'vitest';
import { InProcessBus } from '../../../../manager/ports/in-process/in-process-bus.js';
import { FakeFunction } from './fake-function.js';

/** A function at device 3, with work done so far forgotten. */
async function plugged() {
  const bus = new InProcessBus({ ramSizeBytes: 8192 });
  const fn = new FakeFunction();
  bus.plug(3, [{ number: 0, function: fn }]);
  await turn();
  fn.log.length = 0;
  return { bus, fn };
}

/** What the machine does later has been done. */
function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

describe('slots', () => {
  it('take functions that were reset, and tell the guest', async () => {
    const bus = new InProcessBus({ ramSizeBytes: 4096 });
    const heard: unknown[] = [];
    bus.onHotplug((...event) => heard.push(event));
    const fn = new FakeFunction();
    bus.plug(31, [{ number: 0, function: fn }]);
    expect(fn.log).toEqual(['reset', 'in']);
    expect(heard).toEqual([]);
    await turn();
    expect(heard).toEqual([[0, 31, 'check']]);
    expect(bus.freeDevices()).toHaveLength(31);
  });

  it('refuse what does not fit, and stay as they are', async () => {
    const { bus } = await plugged();
    const of = (...numbers: number[]) => numbers.map((number) => ({ number, function: new FakeFunction() }));
    expect(() => bus.plug(3, of(0))).toThrow(expect.objectContaining({ code: 'SLOT_TAKEN' }));
    expect(() => bus.plug(32, of(0))).toThrow(expect.objectContaining({ code: 'SLOT_UNKNOWN' }));
    expect(() => bus.plug(-1, of(0))).toThrow(expect.objectContaining({ code: 'SLOT_UNKNOWN' }));
    for (const numbers of [[], [1], [0, 0], [0, 8], [0, 1.5]]) {
      expect(() => bus.plug(4, of(...numbers))).toThrow(RangeError);
    }
    expect(() => bus.remove(4)).toThrow(expect.objectContaining({ code: 'SLOT_UNKNOWN' }));
    await expect(bus.requestUnplug(4)).rejects.toMatchObject({ code: 'SLOT_UNKNOWN' });
    expect(bus.freeDevices()).toHaveLength(31);
  });

  it('let their functions go at once where no guest is up', async () => {
    const { bus, fn } = await plugged();
    await bus.requestUnplug(3);
    expect(fn.log).toEqual(['out', 'reset']);
    expect(fn.port).toBeUndefined();
    expect(bus.freeDevices()).toContain(3);
  });

  it('wait for the guest to eject, and for all who asked', async () => {
    const { bus, fn } = await plugged();
    const heard: unknown[] = [];
    bus.onHotplug((...event) => heard.push(event));
    const both = Promise.all([bus.requestUnplug(3), bus.requestUnplug(3)]);
    await turn();
    expect(heard).toEqual([[0, 3, 'eject-request']]);
    expect(fn.log).toEqual([]);
    bus.eject(1, 3);
    bus.eject(0, 4);
    expect(fn.log).toEqual([]);
    bus.eject(0, 3);
    await both;
    expect(fn.log).toEqual(['out', 'reset']);
  });

  it('take a request back that timed out, and refuse an ejection that comes late', async () => {
    const { bus, fn } = await plugged();
    const heard: unknown[] = [];
    bus.onHotplug((...event) => heard.push(event));
    await expect(bus.requestUnplug(3, { timeoutMs: 1 })).rejects.toMatchObject({ code: 'GUEST_TIMEOUT' });
    bus.eject(0, 3);
    await turn();
    expect(heard).toEqual([
      [0, 3, 'eject-request'],
      [0, 3, 'eject-cancelled'],
      [0, 3, 'check'],
    ]);
    expect(fn.log).toEqual([]);
    expect(bus.freeDevices()).not.toContain(3);
  });

  it('that are pulled out meet a request that waits', async () => {
    const { bus } = await plugged();
    const heard: unknown[] = [];
    bus.onHotplug((...event) => heard.push(event));
    const unplugged = bus.requestUnplug(3);
    bus.remove(3);
    await unplugged;
    await turn();
    expect(heard.map((event) => (event as unknown[])[2])).toEqual([
      'eject-request',
      'eject-cancelled',
      'check',
    ]);
  });

  it('keep their functions through a power-off, reset; a request that waits is met', async () => {
    const { bus, fn } = await plugged();
    const other = new FakeFunction();
    bus.plug(4, [{ number: 0, function: other }]);
    bus.onHotplug(() => {});
    const unplugged = bus.requestUnplug(3);
    other.log.length = 0;
    bus.powerOff();
    await unplugged;
    expect(other.log).toEqual(['reset']);
    expect(fn.port).toBeUndefined();
    expect(bus.guestIsUp).toBe(false);
    expect(bus.readConfig(0, 4, 0, 0, 2)).toBe(0x1234);
  });
});
