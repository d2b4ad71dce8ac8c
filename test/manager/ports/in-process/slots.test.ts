import { describe, expect, it } from 'vitest';
import { GuestPci } from '../../../../guest/pci/guest-pci.js';
import { InProcessMachine } from '../../../../manager/ports/in-process/in-process-machine.js';
import { TestFunction } from '../../../devices/pci/topology/test-function.js';

/** What machine and guest do later has been done. */
async function settled(): Promise<void> {
  for (let i = 0; i < 3; i++) await new Promise((resolve) => setImmediate(resolve));
}

/** A guest that uses everything it finds until it is told to let go. */
async function boot(machine: InProcessMachine) {
  const use = { inUse: false };
  const pci = new GuestPci(machine.bus, {
    drivers: [
      {
        name: 'user',
        matches: () => true,
        probe: async () => ({
          get inUse() {
            return use.inUse;
          },
          remove: async () => {},
        }),
      },
    ],
  });
  await pci.start();
  const release = () => {
    use.inUse = false;
    for (const { fn } of pci.functions()) pci.released(fn);
  };
  const ids = () => [...pci.functions()].map(({ fn }) => fn.deviceId).sort((a, b) => a - b);
  return { pci, use, release, ids };
}

function functions(...numbers: number[]) {
  return numbers.map((number) => ({ number, function: new TestFunction(100 + number) }));
}

describe('slots', () => {
  it('refuse what does not fit, and stay as they are', async () => {
    const machine = new InProcessMachine({ slots: 3, ramSizeBytes: 4096 });
    machine.plug(3, [{ number: 0, function: new TestFunction(1) }]);
    expect(() => machine.plug(3, [{ number: 0, function: new TestFunction(2) }])).toThrow(
      expect.objectContaining({ code: 'SLOT_TAKEN' }),
    );
    for (const slot of [0, 4, 1.5]) {
      expect(() => machine.plug(slot, [{ number: 0, function: new TestFunction(2) }])).toThrow(
        expect.objectContaining({ code: 'SLOT_UNKNOWN' }),
      );
    }
    for (const numbers of [[], [1], [0, 0], [0, 256], [0, 1.5]]) {
      expect(() => machine.plug(1, functions(...numbers))).toThrow(RangeError);
    }
    expect(() => machine.remove(1)).toThrow(expect.objectContaining({ code: 'SLOT_UNKNOWN' }));
    await expect(machine.requestUnplug(1)).rejects.toMatchObject({ code: 'SLOT_UNKNOWN' });
    expect(machine.freeSlots()).toEqual([1, 2]);
  });

  it.each([0, 32, 1.5])('are not %s', (slots) => {
    expect(() => new InProcessMachine({ slots })).toThrow(RangeError);
  });

  it('let their functions go at once where no guest is up', async () => {
    const machine = new InProcessMachine({ slots: 1, ramSizeBytes: 4096 });
    const fn = new TestFunction(1);
    machine.plug(1, [{ number: 0, function: fn }]);
    await machine.requestUnplug(1);
    expect([fn.port, machine.freeSlots()]).toEqual([undefined, [1]]);
  });

  it('hold cards of up to 256 functions, which a guest finds and lets go of', async () => {
    const machine = new InProcessMachine({ slots: 2, ramSizeBytes: 4096 });
    const guest = await boot(machine);
    machine.plug(1, functions(...Array.from({ length: 256 }, (_, i) => i)));
    machine.plug(2, functions(0, 3, 200));
    await settled();
    expect(guest.ids()).toHaveLength(259);
    expect([...guest.pci.functions()].every(({ fn }) => fn.locate(0, 0, 4) && fn.locate(2, 0, 4))).toBe(true);
    await machine.requestUnplug(1);
    expect(guest.ids()).toEqual([100, 103, 300]);
  });

  it('wait for the guest, and for all who asked', async () => {
    const machine = new InProcessMachine({ slots: 1, ramSizeBytes: 4096 });
    const guest = await boot(machine);
    machine.plug(1, [{ number: 0, function: new TestFunction(1) }]);
    await settled();
    guest.use.inUse = true;
    let done = 0;
    const both = [machine.requestUnplug(1), machine.requestUnplug(1)].map((each) => each.then(() => done++));
    await settled();
    expect([done, machine.freeSlots()]).toEqual([0, []]);
    guest.release();
    await Promise.all(both);
    expect(machine.freeSlots()).toEqual([1]);
  });

  it('take a request back that timed out: what was in use stays, and can be asked for again', async () => {
    const machine = new InProcessMachine({ slots: 1, ramSizeBytes: 4096 });
    const guest = await boot(machine);
    const fn = new TestFunction(1);
    machine.plug(1, [{ number: 0, function: fn }]);
    await settled();
    guest.use.inUse = true;
    await expect(machine.requestUnplug(1, { timeoutMs: 1 })).rejects.toMatchObject({ code: 'GUEST_TIMEOUT' });
    guest.release();
    await settled();
    expect([guest.ids(), machine.freeSlots()]).toEqual([[1], []]);
    await machine.requestUnplug(1);
    expect(fn.port).toBeUndefined();
  });

  it('that are pulled out meet a request that waits', async () => {
    const machine = new InProcessMachine({ slots: 1, ramSizeBytes: 4096 });
    const guest = await boot(machine);
    machine.plug(1, [{ number: 0, function: new TestFunction(1) }]);
    await settled();
    guest.use.inUse = true;
    const unplugged = machine.requestUnplug(1);
    machine.remove(1);
    await unplugged;
    await settled();
    expect(guest.ids()).toEqual([]);
  });

  it('give back what waits to be let go of when the guest is powered off, and keep the rest', async () => {
    const machine = new InProcessMachine({ slots: 2, ramSizeBytes: 4096 });
    const guest = await boot(machine);
    machine.plug(1, [{ number: 0, function: new TestFunction(1) }]);
    machine.plug(2, [{ number: 0, function: new TestFunction(2) }]);
    await settled();
    guest.use.inUse = true;
    const unplugged = machine.requestUnplug(1);
    await settled();
    machine.bus.powerOff();
    await unplugged;
    expect(machine.freeSlots()).toEqual([1]);
    expect((await boot(machine)).ids()).toEqual([2]);
  });
});

describe('extension chassis', () => {
  it('bring slots while the guest runs, one in the other, and take them along when they leave', async () => {
    const machine = new InProcessMachine({ slots: 2, ramSizeBytes: 4096 });
    const guest = await boot(machine);
    const outer = machine.extend(1, 4);
    expect(outer).toEqual([3, 4, 5, 6]);
    await settled();
    const inner = machine.extend(outer[3], 2);
    await settled();
    machine.plug(inner[1], functions(0, 1));
    machine.plug(outer[0], [{ number: 0, function: new TestFunction(7) }]);
    await settled();
    expect(guest.ids()).toEqual([7, 100, 101]);
    expect(machine.slots()).toEqual([1, 2, 3, 4, 5, 6, 7, 8]);
    await machine.requestUnplug(outer[3]);
    await settled();
    expect(guest.ids()).toEqual([7]);
    expect(machine.slots()).toEqual([1, 2, 3, 4, 5, 6]);
    machine.remove(1);
    await settled();
    expect([guest.ids(), machine.slots(), machine.freeSlots()]).toEqual([[], [1, 2], [1, 2]]);
  });

  it('have no more slots than the guest has bus numbers for', async () => {
    const machine = new InProcessMachine({ slots: 31, ramSizeBytes: 4096 });
    expect(machine.roomForExtension(1)).toBe(32);
    const guest = await boot(machine);
    const room = machine.roomForExtension(1);
    expect(room).toBeLessThan(8);
    expect(() => machine.extend(1, room + 1)).toThrow(expect.objectContaining({ code: 'NO_SLOT_FREE' }));
    const slots = machine.extend(1, room);
    await settled();
    for (const [i, slot] of slots.entries())
      machine.plug(slot, [{ number: 0, function: new TestFunction(i) }]);
    await settled();
    expect(guest.ids()).toEqual(slots.map((_, i) => i));
  });

  it('that are there at boot are counted in what is left', () => {
    const machine = new InProcessMachine({ slots: 10, ramSizeBytes: 4096 });
    for (let slot = 1; slot <= 7; slot++) machine.extend(slot, 32);
    // 10 root ports and 7 switches with an inside and 32 ports each.
    expect(machine.roomForExtension(8)).toBe(255 - 10 - 7 * 33 - 1);
    expect(() => machine.extend(8, 14)).toThrow(expect.objectContaining({ code: 'NO_SLOT_FREE' }));
  });

  it.each([0, 33, 1.5])('do not have %s slots', (count) => {
    expect(() => new InProcessMachine({ slots: 1 }).extend(1, count)).toThrow(RangeError);
  });
});
