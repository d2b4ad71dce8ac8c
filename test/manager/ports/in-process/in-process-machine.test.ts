import { describe, expect, it } from 'vitest';
import { IoVector } from '../../../../devices/io-vector.js';
import type { GuestPciFunction } from '../../../../guest/pci/function.js';
import { GuestPci } from '../../../../guest/pci/guest-pci.js';
import { InProcessMachine } from '../../../../manager/ports/in-process/in-process-machine.js';
import { TestFunction } from '../../../devices/pci/topology/test-function.js';

const COMMAND = 0x04;
const INTX_DISABLE = 0x400;

/** A machine of two slots, a function in the first, and a guest that has switched it on and does nothing more. */
async function plugged() {
  const machine = new InProcessMachine({ slots: 2, ramSizeBytes: 8192 });
  const fn = new TestFunction(1);
  machine.plug(1, [{ number: 0, function: fn }]);
  const pci = new GuestPci(machine.bus, { drivers: [] });
  await pci.start();
  const [{ fn: seen }] = pci.functions();
  seen.enable();
  await turn();
  fn.workDone = 0;
  return { machine, bus: machine.bus, fn, seen, bar: barOf(seen, 0) };
}

function barOf(fn: GuestPciFunction, index: number): number {
  const address = fn.locate(index, 0, 4);
  if (address === undefined) throw new Error(`BAR ${index} has no place`);
  return address;
}

/** What the machine does later has been done. */
function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

describe('work', () => {
  it('runs after the write that asked for it has returned, once for many', async () => {
    const { bus, fn, bar } = await plugged();
    bus.writeMemory(bar, 4, 1);
    bus.writeMemory(bar, 4, 2);
    expect(fn.workDone).toBe(0);
    await turn();
    expect(fn.workDone).toBe(1);
  });

  it('that a removed function still had is dropped', async () => {
    const { machine, bus, fn, bar } = await plugged();
    bus.writeMemory(bar, 4, 1);
    machine.remove(1);
    await turn();
    expect(fn.workDone).toBe(0);
  });

  it('that always leads to more does not starve the event loop', async () => {
    const { bus, fn, bar } = await plugged();
    fn.onAfterWrite = () => bus.writeMemory(bar, 4, fn.workDone);
    bus.writeMemory(bar, 4, 0);
    await turn();
    await turn();
    expect(fn.workDone).toBeGreaterThan(1);
    fn.onAfterWrite = () => {};
  });
});

describe('messages', () => {
  async function withMessages() {
    const all = await plugged();
    const got: [number, number][] = [];
    all.bus.onMessage((address, data) => got.push([address, data]));
    const { msix } = all.fn;
    msix.writeTable(0, 4, 0xfee0_0000);
    msix.writeTable(8, 4, 40);
    msix.writeTable(12, 4, 0);
    msix.setControl(true, false);
    return { ...all, got };
  }

  it('come after the call that sent them, and those that wait already are not sent twice', async () => {
    const { fn, got } = await withMessages();
    for (let i = 0; i < 1000; i++) fn.port?.triggerMsix(0);
    expect(got).toEqual([]);
    await turn();
    expect(got).toEqual([[0xfee0_0000, 40]]);
  });

  it('to addresses that are no interrupt controller’s go nowhere', async () => {
    const { fn, got } = await withMessages();
    for (const address of [0, 0xfedf_fffc, 0xfef0_0000]) {
      fn.msix.writeTable(0, 4, address);
      fn.port?.triggerMsix(0);
    }
    fn.msix.writeTable(0, 4, 0xfee0_0000);
    fn.msix.writeTable(4, 4, 1);
    fn.port?.triggerMsix(0);
    await turn();
    expect(got).toEqual([]);
  });

  it('do not come any more after power-off', async () => {
    const { bus, fn, got } = await withMessages();
    fn.port?.triggerMsix(0);
    bus.powerOff();
    await turn();
    expect(got).toEqual([]);
  });
});

describe('the shared line', () => {
  it('is asserted again and again until it is not, then told so once', async () => {
    const { bus, fn } = await plugged();
    const heard: boolean[] = [];
    bus.onIntx((asserted) => {
      heard.push(asserted);
      if (heard.length === 3) fn.port?.setIntx(false);
    });
    fn.port?.setIntx(true);
    expect(heard).toEqual([]);
    await turn();
    await turn();
    expect(heard).toEqual([true, true, true, false]);
  });

  it('does not hear of functions whose pin is disabled', async () => {
    const { bus, fn, seen } = await plugged();
    seen.setCommand(0, INTX_DISABLE);
    const heard: boolean[] = [];
    bus.onIntx((asserted) => {
      heard.push(asserted);
      fn.port?.setIntx(false);
    });
    fn.port?.setIntx(true);
    await turn();
    expect(heard).toEqual([]);
    seen.setCommand(INTX_DISABLE, 0);
    await turn();
    expect(heard).toEqual([true, false]);
  });

  it('that was asserted before a guest listens is heard by it', async () => {
    const { bus, fn } = await plugged();
    fn.port?.setIntx(true);
    await turn();
    const heard: boolean[] = [];
    bus.onIntx((asserted) => {
      heard.push(asserted);
      fn.port?.setIntx(false);
    });
    await turn();
    expect(heard).toEqual([true, false]);
  });
});

describe('power-off', () => {
  it('resets what is plugged in, which stays, and gives the next guest a way of its own', async () => {
    const { machine, bus, fn, seen, bar } = await plugged();
    const { resets } = fn;
    bus.powerOff();
    expect(fn.resets).toBeGreaterThan(resets);
    expect(machine.freeSlots()).toEqual([2]);
    expect(machine.bus).not.toBe(bus);
    const again = new GuestPci(machine.bus, { drivers: [] });
    await again.start();
    expect([...again.functions()].map((found) => found.fn.deviceId)).toEqual([1]);
    expect(seen.readConfig(COMMAND, 2)).toBe(0xffff);
    expect(bar).toBeGreaterThan(0);
  });

  it('leaves a guest that goes on running nothing to reach, to hear or to power off', async () => {
    const { machine, bus, fn, seen, bar } = await plugged();
    bus.powerOff();
    const next = machine.bus;
    const { registers } = fn;
    registers.clear();
    bus.onMessage(() => expect.unreachable());
    bus.onIntx(() => expect.unreachable());
    seen.writeConfig(COMMAND, 2, 0x6);
    bus.writeMemory(bar, 4, 7);
    bus.io?.write(0x1000, 4, 7);
    bus.powerOff();
    expect([bus.readMemory(bar, 4), bus.readConfig(0, 0, 0, 0, 2)]).toEqual([0xffff_ffff, 0xffff]);
    expect(bus.io?.read(0x1000, 2)).toBe(0xffff);
    expect(registers.size).toBe(0);
    expect(machine.bus).toBe(next);
  });
});

describe('RAM', () => {
  it('is what devices see, and nothing else', async () => {
    const { machine, bus, bar } = await plugged();
    const into = new IoVector();
    expect(machine.memory.translate(0, 8192, true, into)).toBe(true);
    into.segment(0)[5] = 9;
    expect(bus.ram[5]).toBe(9);
    expect(machine.memory.translate(8191, 2, true, into)).toBe(false);
    expect(machine.memory.translate(bar, 4, false, into)).toBe(false);
    expect(machine.memory.ringWindow(bar, 4)).toBeUndefined();
  });

  it('may be the caller’s, with its address', () => {
    const bytes = new Uint8Array(4096);
    const machine = new InProcessMachine({ ram: { bytes, address: 0x7f00_0000 } });
    expect([machine.bus.ram, machine.bus.ramAddress]).toEqual([bytes, 0x7f00_0000]);
    const into = new IoVector();
    machine.memory.translate(16, 4, true, into);
    expect(into.addresses[0]).toBe(0x7f00_0010);
  });

  it('is 64 MiB by default, and never reaches the MMIO window', () => {
    expect(new InProcessMachine().bus.ram.byteLength).toBe(64 * 2 ** 20);
    const huge = { byteLength: 0xc000_0001 } as Uint8Array;
    expect(() => new InProcessMachine({ ram: { bytes: huge, address: 0 } })).toThrow(RangeError);
  });
});
