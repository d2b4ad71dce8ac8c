import { describe, expect, it } from 'vitest';
import { Card } from '../../../../devices/pci/topology/card.js';
import { Switch } from '../../../../devices/pci/topology/switch.js';
import type { AccessWidth, BarSpec } from '../../../../devices/pci/function.js';
import { ALL_ONES, Bench, COMMAND, IO, INTX_DISABLE, MASTER, MEMORY, type Address } from './machine.js';
import { TestFunction } from './test-function.js';

const MB = 2 ** 20;
const PORT: Address = [0, 1, 0];
const FN: Address = [1, 0, 0];
const FN1: Address = [1, 0, 1];
const BAR0 = 0xc010_0000;

/** A card of two functions behind a root port whose window is the megabytes 0xc01 and 0xc02; BAR 0 of the first is placed. */
function placed() {
  const bench = new Bench(2);
  const functions = [new TestFunction(0x51), new TestFunction(0x52)];
  bench.slot(0).insert(new Card(functions.map((fn, number) => ({ number, function: fn }))));
  bench.complex.reset();
  bench.setBusNumbers(PORT, 0, 1, 1);
  bench.setMemoryWindow(PORT, 0xc01, 0xc02);
  bench.write(PORT, 0x24, 4, 0x0000_fff0);
  bench.setCommand(PORT, MEMORY | MASTER);
  bench.write(FN, 0x10, 4, BAR0);
  bench.setCommand(FN, MEMORY | MASTER);
  return { bench, complex: bench.complex, functions };
}

describe('memory requests', () => {
  it('reach the BAR that holds the address, and its function hears of work after the call', () => {
    const { bench, complex, functions } = placed();
    complex.runWork();
    const before = bench.workPending;
    functions[0].workDone = 0;
    expect(complex.readMemory(BAR0 + 8, 4)).toBe(0x51);
    expect(bench.workPending).toBe(before);
    complex.writeMemory(BAR0 + 8, 4, 77);
    complex.writeMemory(BAR0 + 12, 2, 78);
    expect(functions[0].registers.get('0+8')).toBe(77);
    expect(bench.workPending).toBe(before + 1);
    expect(functions[0].workDone).toBe(0);
    complex.runWork();
    expect(functions[0].workDone).toBe(1);
    complex.runWork();
    expect(functions[0].workDone).toBe(1);
    complex.writeMemory(BAR0, 4, 0);
    expect(bench.workPending).toBe(before + 2);
  });

  it('are all ones and change nothing where nobody claims them', () => {
    const { complex, functions } = placed();
    for (const address of [
      0,
      BAR0 - 4,
      BAR0 + 0x1000,
      BAR0 + 2 * MB,
      0xc000_0000,
      2 ** 40,
      2 ** 60,
      -4,
      NaN,
    ]) {
      expect(complex.readMemory(address, 4)).toBe(ALL_ONES);
      complex.writeMemory(address, 4, 1);
    }
    expect(complex.readMemory(BAR0 + 2, 4)).toBe(ALL_ONES);
    expect(complex.readMemory(BAR0 + 1, 2)).toBe(0xffff);
    expect(functions[0].registers.size).toBe(0);
  });

  it('need the memory space bit of the function and of every bridge above', () => {
    const { bench, complex } = placed();
    for (const address of [FN, PORT]) {
      bench.setCommand(address, MASTER);
      expect(complex.readMemory(BAR0, 4)).toBe(ALL_ONES);
      bench.setCommand(address, MASTER | MEMORY);
      expect(complex.readMemory(BAR0, 4)).toBe(0x51);
    }
  });

  it('need a window of every bridge above, and a BAR in it', () => {
    const { bench, complex } = placed();
    bench.setMemoryWindow(PORT, 0xc02, 0xc02);
    expect(complex.readMemory(BAR0, 4)).toBe(ALL_ONES);
    bench.write(FN, 0x10, 4, BAR0 + MB);
    expect(complex.readMemory(BAR0 + MB, 4)).toBe(0x51);
    bench.setMemoryWindow(PORT, 0xc02, 0xc01);
    expect(complex.readMemory(BAR0 + MB, 4)).toBe(ALL_ONES);
  });

  it('reach as much of a BAR as its window lets through', () => {
    const bench = new Bench(1);
    const bars: BarSpec[] = [{ index: 0, kind: 'memory32', prefetchable: false, sizeBytes: 4 * MB }];
    bench.slot(0).insert(new Card([{ number: 0, function: new TestFunction(0x61, { bars }) }]));
    bench.complex.reset();
    bench.setBusNumbers(PORT, 0, 1, 1);
    bench.setMemoryWindow(PORT, 0xc01, 0xc02);
    bench.setCommand(PORT, MEMORY);
    bench.write(FN, 0x10, 4, 0xc000_0000);
    bench.setCommand(FN, MEMORY);
    const at = (megabyte: number) => bench.complex.readMemory(0xc000_0000 + megabyte * MB, 4);
    expect([at(1), at(0), at(2), at(3), at(1)]).toEqual([0x61, ALL_ONES, 0x61, ALL_ONES, 0x61]);
  });

  it('reach 64-bit BARs through the prefetchable window, however high', () => {
    const { bench, complex } = placed();
    const high = 0x123_4560_0000;
    bench.write(PORT, 0x24, 4, 0x4560_4560);
    bench.write(PORT, 0x28, 4, 0x123);
    bench.write(PORT, 0x2c, 4, 0x123);
    bench.write(FN, 0x18, 4, 0x4560_4000);
    bench.write(FN, 0x1c, 4, 0x123);
    expect(complex.readMemory(high + 0x4000, 4)).toBe(0x51);
    expect(complex.readMemory(high + 0x8000, 4)).toBe(ALL_ONES);
    bench.write(PORT, 0x2c, 4, 0x122);
    expect(complex.readMemory(high + 0x4000, 4)).toBe(ALL_ONES);
    bench.write(PORT, 0x2c, 4, ALL_ONES);
    expect(complex.readMemory(high + 0x4000, 4)).toBe(0x51);
  });

  it('never reach a BAR that lies beyond 52 bits', () => {
    const { bench, complex } = placed();
    bench.write(PORT, 0x24, 4, 0xfff0_0000);
    bench.write(PORT, 0x28, 4, 0);
    bench.write(PORT, 0x2c, 4, ALL_ONES);
    bench.write(FN, 0x1c, 4, ALL_ONES);
    for (const address of [2 ** 53, 2 ** 64 - 4096, 0xffff_ffff * 2 ** 32]) {
      expect(complex.readMemory(address, 4)).toBe(ALL_ONES);
    }
  });

  it('belong to the BAR that starts first where two lie over each other', () => {
    const { bench, complex } = placed();
    bench.write(FN1, 0x18, 4, BAR0 - 0x2000);
    bench.write(FN1, 0x1c, 4, 0);
    bench.setMemoryWindow(PORT, 0xc00, 0xc02);
    bench.setCommand(FN1, MEMORY);
    // Sizes are powers of two and addresses multiples of them: BAR 2 covers 0x4000 bytes from 0xc00fc000.
    expect(complex.readMemory(BAR0 - 0x4000, 4)).toBe(0x52);
    expect(complex.readMemory(BAR0, 4)).toBe(0x51);
    bench.write(FN1, 0x18, 4, BAR0);
    bench.write(FN, 0x10, 4, BAR0 + 0x2000);
    expect(complex.readMemory(BAR0 + 0x2000, 4)).toBe(0x52);
    bench.setCommand(FN1, 0);
    expect(complex.readMemory(BAR0 + 0x2000, 4)).toBe(0x51);
  });

  it('belong to the window that starts first where two lie over each other', () => {
    const { bench, complex } = placed();
    bench.setBusNumbers([0, 2, 0], 0, 2, 2);
    bench.setMemoryWindow([0, 2, 0], 0xc00, 0xc01);
    bench.setCommand([0, 2, 0], MEMORY);
    expect(complex.readMemory(BAR0, 4)).toBe(ALL_ONES);
    bench.write(FN, 0x10, 4, BAR0 + MB);
    expect(complex.readMemory(BAR0 + MB, 4)).toBe(0x51);
    bench.setCommand([0, 2, 0], 0);
    bench.write(FN, 0x10, 4, BAR0);
    expect(complex.readMemory(BAR0, 4)).toBe(0x51);
  });

  it('forget a BAR that moved, was switched off by a reset of its function, or left', () => {
    const { bench, complex, functions } = placed();
    expect(complex.readMemory(BAR0, 4)).toBe(0x51);
    bench.write(FN, 0x10, 4, BAR0 + 0x1000);
    expect(complex.readMemory(BAR0, 4)).toBe(ALL_ONES);
    expect(complex.readMemory(BAR0 + 0x1000, 4)).toBe(0x51);
    // A function-level reset: device control is 8 bytes into the PCI Express capability, which is after MSI-X.
    bench.write(FN, 0x4c + 8, 2, 0x8000);
    expect(functions[0].command).toBe(0);
    expect(complex.readMemory(BAR0 + 0x1000, 4)).toBe(ALL_ONES);
    bench.write(FN, 0x10, 4, BAR0);
    bench.setCommand(FN, MEMORY);
    expect(complex.readMemory(BAR0, 4)).toBe(0x51);
    bench.slot(0).remove();
    expect(complex.readMemory(BAR0, 4)).toBe(ALL_ONES);
  });

  it('take every bridge’s windows on the way to a function behind a switch', () => {
    const bench = new Bench(1);
    const extension = new Switch([11]);
    extension.slots[0].insert(new Card([{ number: 0, function: new TestFunction(0x71) }]));
    bench.slot(0).insert(extension);
    bench.complex.reset();
    const bridges: Address[] = [
      [0, 1, 0],
      [1, 0, 0],
      [2, 0, 0],
    ];
    for (const [i, bridge] of bridges.entries()) {
      bench.setBusNumbers(bridge, i, i + 1, 3);
      bench.setMemoryWindow(bridge, 0xc01, 0xc02);
      bench.setCommand(bridge, MEMORY);
    }
    bench.write([3, 0, 0], 0x10, 4, BAR0);
    bench.setCommand([3, 0, 0], MEMORY);
    expect(bench.complex.readMemory(BAR0, 4)).toBe(0x71);
    for (const bridge of bridges) {
      bench.setMemoryWindow(bridge, 0xc02, 0xc03);
      expect(bench.complex.readMemory(BAR0, 4)).toBe(ALL_ONES);
      bench.setMemoryWindow(bridge, 0xc01, 0xc02);
      bench.setCommand(bridge, 0);
      expect(bench.complex.readMemory(BAR0, 4)).toBe(ALL_ONES);
      bench.setCommand(bridge, MEMORY);
      expect(bench.complex.readMemory(BAR0, 4)).toBe(0x71);
    }
  });
});

describe('I/O requests', () => {
  it('reach I/O BARs through I/O windows and the I/O space bits', () => {
    const bench = new Bench(1);
    const bars: BarSpec[] = [{ index: 0, kind: 'io', prefetchable: false, sizeBytes: 0x20 }];
    const fn = new TestFunction(0x81, { bars });
    bench.slot(0).insert(new Card([{ number: 0, function: fn }]));
    bench.complex.reset();
    bench.setBusNumbers(PORT, 0, 1, 1);
    bench.write(PORT, 0x1c, 2, 0x3020);
    bench.setCommand(PORT, IO);
    bench.write(FN, 0x10, 4, 0x2040);
    bench.setCommand(FN, IO);
    const { complex } = bench;
    expect(complex.readIo(0x2044, 2)).toBe(0x81);
    complex.writeIo(0x2044, 1, 9);
    expect(fn.registers.get('0+4')).toBe(9);
    expect(complex.readIo(0x2060, 2)).toBe(0xffff);
    expect(complex.readMemory(0x2044, 4)).toBe(ALL_ONES);
    bench.write(PORT, 0x1c, 2, 0x3030);
    expect(complex.readIo(0x2044, 2)).toBe(0xffff);
    bench.write(PORT, 0x1c, 2, 0x3020);
    bench.setCommand(PORT, MEMORY);
    expect(complex.readIo(0x2044, 2)).toBe(0xffff);
    bench.write(PORT, 0x30, 4, 0x0001_0001);
    bench.setCommand(PORT, IO);
    bench.write(FN, 0x10, 4, 0x1_2040);
    expect(complex.readIo(0x1_2040, 4)).toBe(0x81);
  });
});

describe('bus mastering', () => {
  it('reaches a function only while every bridge above masters the bus; its own bit reads as it was written', () => {
    const { bench, functions } = placed();
    bench.setCommand(FN, MEMORY | MASTER);
    expect(functions[0].command & MASTER).toBe(MASTER);
    bench.setCommand(PORT, MEMORY);
    expect(functions[0].command).toBe(MEMORY);
    expect(bench.read(FN, COMMAND, 2)).toBe(MEMORY | MASTER);
    for (const width of [1, 2, 4] as AccessWidth[]) {
      bench.write(FN, COMMAND, width, MEMORY | MASTER);
      expect(functions[0].command & MASTER).toBe(0);
      expect(bench.read(FN, COMMAND, width) & 0xff).toBe(MEMORY | MASTER);
    }
    bench.write(FN, COMMAND, 2, MEMORY);
    bench.setCommand(PORT, MEMORY | MASTER);
    expect(functions[0].command).toBe(MEMORY);
    bench.setCommand(PORT, MEMORY);
    bench.write(FN, COMMAND, 2, MEMORY | MASTER);
    bench.setCommand(PORT, MEMORY | MASTER);
    expect(functions[0].command).toBe(MEMORY | MASTER);
  });

  it('lets a function whose bridge held it back work once it may', () => {
    const { bench, complex, functions } = placed();
    bench.setCommand(PORT, MEMORY);
    complex.runWork();
    functions[0].workDone = 0;
    bench.setCommand(PORT, MEMORY | MASTER);
    complex.runWork();
    expect(functions[0].workDone).toBe(1);
  });

  it('is off after a function-level reset under a bridge that held it back', () => {
    const { bench, functions } = placed();
    bench.setCommand(PORT, MEMORY);
    bench.write(FN, 0x4c + 8, 2, 0x8000);
    bench.setCommand(PORT, MEMORY | MASTER);
    expect(functions[0].command).toBe(0);
    expect(bench.read(FN, COMMAND, 2)).toBe(0);
  });

  it('is what interrupt messages need, the whole way up', () => {
    const { bench, complex, functions } = placed();
    complex.writeMemory(BAR0 + 0x800, 4, 0xfee0_0000);
    complex.writeMemory(BAR0 + 0x808, 4, 0x41);
    complex.writeMemory(BAR0 + 0x80c, 4, 0);
    functions[0].msix.setControl(true, false);
    functions[0].port?.triggerMsix(0);
    expect(bench.messages).toEqual([[0xfee0_0000, 0x41]]);
    for (const address of [FN, PORT]) {
      bench.setCommand(address, MEMORY);
      functions[0].port?.triggerMsix(0);
      bench.setCommand(address, MEMORY | MASTER);
    }
    expect(bench.messages).toHaveLength(1);
    functions[0].port?.triggerMsix(0);
    expect(bench.messages).toHaveLength(2);
  });
});

describe('interrupt pins', () => {
  it('share a line, which is up while any of them is', () => {
    const { bench, functions } = placed();
    functions[0].port?.setIntx(true);
    functions[1].port?.setIntx(true);
    expect(bench.line).toEqual([true]);
    functions[0].port?.setIntx(false);
    expect(bench.line).toEqual([true]);
    bench.setCommand(FN1, INTX_DISABLE);
    expect(bench.line).toEqual([true, false]);
    bench.setCommand(FN1, 0);
    bench.slot(0).remove();
    expect(bench.line).toEqual([true, false, true, false]);
  });
});

describe('work', () => {
  it('of functions after one that fails is done at the next call', () => {
    const { bench, complex, functions } = placed();
    complex.runWork();
    functions[1].workDone = 0;
    functions[0].onAfterWrite = () => {
      throw new Error('broken');
    };
    bench.setCommand(FN, MEMORY);
    bench.setCommand(FN1, MEMORY);
    const asked = bench.workPending;
    expect(() => complex.runWork()).toThrow('broken');
    expect(bench.workPending).toBe(asked + 1);
    complex.runWork();
    expect(functions[1].workDone).toBe(1);
  });

  it('of a function that was taken out is not done', () => {
    const { bench, complex, functions } = placed();
    complex.runWork();
    functions[0].workDone = 0;
    bench.setCommand(FN, MEMORY);
    bench.slot(0).remove();
    complex.runWork();
    expect(functions[0].workDone).toBe(0);
  });
});
