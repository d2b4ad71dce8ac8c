import { describe, expect, it } from 'vitest';
import { IoVector } from '../../../../devices/io-vector.js';
import { InProcessBus } from '../../../../manager/ports/in-process/in-process-bus.js';
import { FakeFunction } from './fake-function.js';

const MEMORY_SPACE = 0x2;
const BUS_MASTER = 0x4;
const INTX_DISABLE = 0x400;
const ALL_ONES = 0xffff_ffff;
const BAR0 = 0xc000_1000;
const BAR2 = 0xc000_0100;

/** A function at device 3 with its BARs placed, and work done so far forgotten. */
async function plugged(command = MEMORY_SPACE | BUS_MASTER) {
  const bus = new InProcessBus({ ramSizeBytes: 8192 });
  const fn = new FakeFunction();
  bus.plug(3, [{ number: 0, function: fn }]);
  fn.place(BAR0, BAR2, command, (offset, width, value) => bus.writeConfig(0, 3, 0, offset, width, value));
  await turn();
  fn.log.length = 0;
  return { bus, fn };
}

/** What the machine does later has been done. */
function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

describe('config space', () => {
  it('is all ones where nothing is', () => {
    const bus = new InProcessBus({ ramSizeBytes: 4096 });
    expect(bus.readConfig(0, 3, 0, 0, 4)).toBe(ALL_ONES);
    expect(bus.readConfig(0, 99, 0, 0, 2)).toBe(0xffff);
    expect(bus.readConfig(1, 3, 0, 0, 1)).toBe(0xff);
    bus.writeConfig(0, 3, 0, 4, 2, 7);
  });

  it('belongs to the function, beyond its end and unaligned too', async () => {
    const { bus } = await plugged();
    expect(bus.readConfig(0, 3, 0, 0, 4)).toBe(0x0001_1234);
    expect(bus.readConfig(0, 3, 1, 0, 4)).toBe(ALL_ONES);
    expect(bus.readConfig(1, 3, 0, 0, 4)).toBe(ALL_ONES);
    expect(bus.readConfig(0, 3, 0, 256, 4)).toBe(ALL_ONES);
    expect(bus.readConfig(0, 3, 0, 1, 2)).toBe(0xffff);
  });

  it('says multi-function for function 0 of a slot with several, at every width', () => {
    const bus = new InProcessBus({ ramSizeBytes: 4096 });
    bus.plug(5, [
      { number: 0, function: new FakeFunction() },
      { number: 7, function: new FakeFunction(2) },
    ]);
    expect(bus.readConfig(0, 5, 0, 0x0e, 1)).toBe(0x80);
    expect(bus.readConfig(0, 5, 0, 0x0e, 2)).toBe(0x80);
    expect(bus.readConfig(0, 5, 0, 0x0c, 4)).toBe(0x0080_0000);
    expect(bus.readConfig(0, 5, 0, 0x10, 4)).toBe(0);
    expect(bus.readConfig(0, 5, 7, 0x0e, 1)).toBe(0);
    expect(bus.readConfig(0, 5, 7, 2, 2)).toBe(2);
  });
});

describe('memory', () => {
  it('reaches the BAR that the function’s registers place there', async () => {
    const { bus, fn } = await plugged();
    bus.writeMemory(BAR0 + 8, 4, 0x1234_5678);
    expect(bus.readMemory(BAR0 + 8, 2)).toBe(0x5678);
    expect(bus.readMemory(BAR2 + 1, 1)).toBe(0);
    expect(fn.log).toEqual(['write 0+8/4=305419896', 'read 0+8/2', 'read 2+1/1']);
  });

  it('reaches a 64-bit BAR above 4 GiB', async () => {
    const { bus, fn } = await plugged();
    bus.writeConfig(0, 3, 0, 0x1c, 4, 0x12);
    expect(bus.readMemory(0x12 * 2 ** 32 + BAR2 + 4, 4)).toBe(0);
    expect(fn.log).toEqual(['read 2+4/4']);
  });

  it('is all ones where no BAR is, across its end, unaligned, and for RAM', async () => {
    const { bus, fn } = await plugged();
    for (const address of [0, 0x1000, BAR0 - 4, BAR0 + 0x1000, BAR0 + 2, BAR2 + 0x100, 2 ** 52]) {
      expect(bus.readMemory(address, 4)).toBe(ALL_ONES);
      bus.writeMemory(address, 4, 0);
    }
    expect(fn.log).toEqual([]);
  });

  it('follows the command register and moved BARs', async () => {
    const { bus, fn } = await plugged();
    expect(bus.readMemory(BAR0, 4)).toBe(0);
    bus.writeConfig(0, 3, 0, 4, 2, 0);
    expect(bus.readMemory(BAR0, 4)).toBe(ALL_ONES);
    bus.writeConfig(0, 3, 0, 4, 2, MEMORY_SPACE);
    bus.writeConfig(0, 3, 0, 0x10, 4, 0xd000_0000);
    expect(bus.readMemory(BAR0, 4)).toBe(ALL_ONES);
    expect(bus.readMemory(0xd000_0000, 4)).toBe(0);
    expect(fn.log).toEqual(['read 0+0/4', 'read 0+0/4']);
  });

  it('of a removed function is all ones', async () => {
    const { bus } = await plugged();
    expect(bus.readMemory(BAR0, 4)).toBe(0);
    bus.remove(3);
    expect(bus.readMemory(BAR0, 4)).toBe(ALL_ONES);
  });

  it('that devices see is RAM and nothing else', async () => {
    const { bus } = await plugged();
    const into = new IoVector();
    expect(bus.memory.translate(0, 8192, true, into)).toBe(true);
    into.segment(0)[5] = 9;
    expect(bus.ram[5]).toBe(9);
    expect(bus.memory.translate(8191, 2, true, into)).toBe(false);
    expect(bus.memory.translate(BAR0, 4, false, into)).toBe(false);
    expect(bus.memory.ringWindow(BAR0, 4)).toBeUndefined();
  });
});

describe('work', () => {
  it('runs after the write that asked for it has returned, once for many', async () => {
    const { bus, fn } = await plugged();
    bus.writeMemory(BAR0, 4, 1);
    bus.writeMemory(BAR0, 4, 2);
    expect(fn.log).toEqual(['write 0+0/4=1', 'write 0+0/4=2']);
    await turn();
    expect(fn.log.filter((line) => line === 'work')).toHaveLength(1);
  });

  it('follows config writes too, and never reads', async () => {
    const { bus, fn } = await plugged();
    bus.readMemory(BAR0, 4);
    await turn();
    expect(fn.log).toEqual(['read 0+0/4']);
    bus.writeConfig(0, 3, 0, 0x40, 4, 1);
    await turn();
    expect(fn.log).toEqual(['read 0+0/4', 'work']);
  });

  it('that a removed function still had is dropped', async () => {
    const { bus, fn } = await plugged();
    bus.writeMemory(BAR0, 4, 1);
    bus.remove(3);
    await turn();
    expect(fn.log).not.toContain('work');
  });

  it('that always leads to more does not starve the event loop', async () => {
    const { bus, fn } = await plugged();
    let runs = 0;
    fn.onAfterWrite = () => {
      runs++;
      bus.writeMemory(BAR0, 4, runs);
    };
    bus.writeMemory(BAR0, 4, 0);
    await turn();
    await turn();
    expect(runs).toBeGreaterThan(1);
    fn.onAfterWrite = () => {};
  });
});

describe('messages', () => {
  async function withMessages(command?: number) {
    const { bus, fn } = await plugged(command);
    const got: [number, number][] = [];
    bus.onMessage((address, data) => got.push([address, data]));
    for (const vector of [0, 1]) {
      fn.msix.writeTable(16 * vector, 4, 0xfee0_0000);
      fn.msix.writeTable(16 * vector + 8, 4, 40 + vector);
      fn.msix.writeTable(16 * vector + 12, 4, 0);
    }
    fn.msix.setControl(true, false);
    return { bus, fn, got };
  }

  it('are the table’s, and come after the call that sent them', async () => {
    const { fn, got } = await withMessages();
    fn.port?.triggerMsix(1);
    expect(got).toEqual([]);
    await turn();
    expect(got).toEqual([[0xfee0_0000, 41]]);
  });

  it('that wait already are not sent twice', async () => {
    const { fn, got } = await withMessages();
    for (let i = 0; i < 1000; i++) fn.port?.triggerMsix(i % 2);
    await turn();
    expect(got.map(([, data]) => data)).toEqual([40, 41]);
  });

  it('wait while they are masked', async () => {
    const { fn, got } = await withMessages();
    fn.msix.setControl(true, true);
    fn.port?.triggerMsix(0);
    await turn();
    expect(got).toEqual([]);
    fn.msix.setControl(true, false);
    await turn();
    expect(got).toEqual([[0xfee0_0000, 40]]);
  });

  it('of a function that may not master the bus go nowhere', async () => {
    const { fn, got } = await withMessages(MEMORY_SPACE);
    fn.port?.triggerMsix(0);
    await turn();
    expect(got).toEqual([]);
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

  it('stays asserted while any function holds it', async () => {
    const bus = new InProcessBus({ ramSizeBytes: 4096 });
    const [a, b] = [new FakeFunction(), new FakeFunction()];
    bus.plug(1, [{ number: 0, function: a }]);
    bus.plug(2, [{ number: 0, function: b }]);
    const heard: boolean[] = [];
    bus.onIntx((asserted) => {
      heard.push(asserted);
      if (heard.length === 1) a.port?.setIntx(false);
      if (heard.length === 3) bus.remove(2);
    });
    a.port?.setIntx(true);
    b.port?.setIntx(true);
    await turn();
    expect(heard).toEqual([true, true, true, false]);
  });

  it('does not hear of functions whose pin is disabled', async () => {
    const { bus, fn } = await plugged(INTX_DISABLE);
    const heard: boolean[] = [];
    bus.onIntx((asserted) => {
      heard.push(asserted);
      fn.port?.setIntx(false);
    });
    fn.port?.setIntx(true);
    await turn();
    expect(heard).toEqual([]);
    bus.writeConfig(0, 3, 0, 4, 2, 0);
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

describe('RAM', () => {
  it('may be the caller’s, with its address', () => {
    const bytes = new Uint8Array(4096);
    const bus = new InProcessBus({ ram: { bytes, address: 0x7f00_0000 } });
    expect(bus.ram).toBe(bytes);
    const into = new IoVector();
    bus.memory.translate(16, 4, true, into);
    expect(into.addresses[0]).toBe(0x7f00_0010);
  });

  it('is 64 MiB by default, and never reaches the MMIO window', () => {
    expect(new InProcessBus().ram.byteLength).toBe(64 * 2 ** 20);
    const huge = { byteLength: 0xc000_0001 } as Uint8Array;
    expect(() => new InProcessBus({ ram: { bytes: huge, address: 0 } })).toThrow(RangeError);
  });
});
