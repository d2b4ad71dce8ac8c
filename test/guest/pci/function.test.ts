import { describe, expect, it } from 'vitest';
import { PciTree } from '../../../guest/pci/enumeration.js';
import { GuestPciFunction } from '../../../guest/pci/function.js';
import { FakeFunction, FakeMachine, memoryBar } from '../fake-machine.js';

function probe(fake: FakeFunction): { fn: GuestPciFunction; machine: FakeMachine } {
  const machine = new FakeMachine();
  machine.plug(3, 0, fake);
  const { start, sizeBytes } = machine.mmioWindow;
  const tree = new PciTree(machine, { memory: { start, end: start + sizeBytes } });
  tree.enumerate();
  return { fn: new GuestPciFunction(machine, tree.functions()[0]), machine };
}

describe('BARs', () => {
  it('are sized, placed inside the window and decoded once the function is enabled', () => {
    const fake = new FakeFunction(0x1234, 1)
      .addBar(0, memoryBar(0x1000))
      .addBar(2, { ...memoryBar(0x4000), is64Bit: true });
    const { fn } = probe(fake);
    fn.enable();
    expect(fake.command & 0x6).toBe(0x6);
    expect(fn.locate(0, 0x10, 4)).toBe(fake.barAddress(0) + 0x10);
    expect(fn.locate(2, 0, 0x4000)).toBe(fake.barAddress(2));
    expect(fake.barAddress(2) % 0x4000).toBe(0);
    fn.writeMemory(fake.barAddress(0), 4, 0xabcd);
    expect(fn.readMemory(fake.barAddress(0), 2)).toBe(0xabcd);
  });

  it('do not decode while they are written', () => {
    const fake = new FakeFunction(0x1234, 1).addBar(0, memoryBar(0x1000));
    const { fn, machine } = probe(fake);
    fake.view.setUint16(0x04, 0x7, true);
    const commands: number[] = [];
    const write = machine.writeConfig.bind(machine);
    machine.writeConfig = (bus, device, number, offset, width, value) => {
      if (offset >= 0x10) commands.push(fake.command & 0x2);
      write(bus, device, number, offset, width, value);
    };
    fn.enable();
    expect(commands.length).toBeGreaterThan(0);
    expect(commands.every((memorySpace) => memorySpace === 0)).toBe(true);
  });

  it('are where they were placed after a reset that forgot it', () => {
    const fake = new FakeFunction(0x1234, 1).addBar(2, { ...memoryBar(0x4000), is64Bit: true });
    const { fn } = probe(fake);
    fn.enable();
    const before = fake.barAddress(2);
    fake.view.setUint32(0x18, 0x4, true);
    fn.enable();
    expect([fake.barAddress(2), before > 0]).toEqual([before, true]);
  });

  it('of I/O space, and those larger than the window, stay without a place', () => {
    const fake = new FakeFunction(0x1234, 1).addBar(1, {
      ...memoryBar(16),
      sizeBytes: 2 ** 33,
      is64Bit: true,
    });
    fake.view.setUint32(0x10, 0x1, true);
    fake.writable.set([0xf0, 0xff, 0xff, 0xff], 0x10);
    const { fn } = probe(fake);
    fn.enable();
    expect(fn.locate(0, 0, 1)).toBeUndefined();
    expect(fn.locate(1, 0, 1)).toBeUndefined();
  });

  it('have no bytes beyond their size', () => {
    const { fn } = probe(new FakeFunction(0x1234, 1).addBar(0, memoryBar(0x1000)));
    fn.enable();
    expect(fn.locate(0, 0xffd, 4)).toBeUndefined();
    expect(fn.locate(0, 0xffff_fff0, 0x20)).toBeUndefined();
    expect(fn.locate(7, 0, 1)).toBeUndefined();
  });
});

describe('the capability list', () => {
  it('is walked in its order', () => {
    const { fn } = probe(new FakeFunction(1, 1).addCapability(0x60, 0x11, 0x40).addCapability(0x40, 0x09, 0));
    expect(fn.capabilities()).toEqual([
      { id: 0x11, offset: 0x60 },
      { id: 0x09, offset: 0x40 },
    ]);
  });

  it('is empty where the status register says that there is none', () => {
    const fake = new FakeFunction(1, 1).addCapability(0x40, 0x09, 0);
    fake.config[0x06] = 0;
    expect(probe(fake).fn.capabilities()).toEqual([]);
  });

  it('ends where it loops, leads into the header, or at itself', () => {
    const loop = new FakeFunction(1, 1).addCapability(0x40, 1, 0x50).addCapability(0x50, 2, 0x40);
    expect(probe(loop).fn.capabilities().length).toBe(2);
    const header = new FakeFunction(1, 1).addCapability(0x40, 1, 0x10);
    expect(probe(header).fn.capabilities().length).toBe(1);
    const self = new FakeFunction(1, 1).addCapability(0xfc, 1, 0xfc);
    expect(probe(self).fn.capabilities().length).toBe(1);
  });

  it('of a function that is gone is empty', () => {
    const { fn, machine } = probe(new FakeFunction(1, 1).addCapability(0x40, 1, 0));
    machine.unplug(3, 0);
    expect(fn.capabilities().length).toBeLessThanOrEqual(1);
  });
});
