import { beforeEach, describe, expect, it } from 'vitest';
import { nullDevice } from '../null-device.js';
import { boot, plug, Status, StructureType, type Machine } from './mock-pci-driver.js';

describe('the PCI_CFG window', () => {
  let machine: Machine;
  let at: number;
  beforeEach(() => {
    machine = plug(nullDevice({ config: new Uint8Array([1, 2, 3, 4]) }));
    ({ at } = machine.driver.structure(StructureType.PCI));
  });

  function aim(bar: number, offset: number, length: number): void {
    machine.fn.writeConfig(at + 4, 1, bar);
    machine.fn.writeConfig(at + 8, 4, offset);
    machine.fn.writeConfig(at + 12, 4, length);
  }

  it('is a capability of 20 bytes whose bar, offset and length can be written', () => {
    expect(machine.fn.readConfig(at + 2, 1)).toBe(20);
    aim(4, 0x2000, 4);
    expect(machine.fn.readConfig(at + 4, 1)).toBe(4);
    expect(machine.fn.readConfig(at + 8, 4)).toBe(0x2000);
    expect(machine.fn.readConfig(at + 12, 4)).toBe(4);
    machine.fn.writeConfig(at + 3, 1, 0xff);
    expect(machine.fn.readConfig(at + 3, 1)).toBe(5);
  });

  it('reads registers of every width', () => {
    aim(4, 0x2000, 4);
    expect(machine.fn.readConfig(at + 16, 4)).toBe(0x0403_0201);
    aim(4, 0x2002, 2);
    expect(machine.fn.readConfig(at + 16, 2)).toBe(0x0403);
    aim(4, 0x2003, 1);
    expect(machine.fn.readConfig(at + 16, 1)).toBe(4);
  });

  it('writes registers of every width', () => {
    const { offset } = machine.driver.structure(StructureType.COMMON);
    aim(4, offset + 20, 1);
    machine.fn.writeConfig(at + 16, 1, Status.ACK);
    expect(machine.driver.read('status')).toBe(Status.ACK);
    aim(4, offset + 22, 2);
    machine.fn.writeConfig(at + 16, 2, 0x1_0001);
    expect(machine.driver.read('queueSelect')).toBe(1);
    aim(4, offset + 8, 4);
    machine.fn.writeConfig(at + 16, 4, 0x8000_0003);
    expect(machine.driver.read('driverFeatureSelect')).toBe(0x8000_0003);
  });

  it('rings doorbells, which are served after the write', () => {
    const queue = boot(machine);
    queue.add([{ address: machine.buffer(0), length: 4 }]);
    aim(4, machine.driver.structure(StructureType.NOTIFY).offset, 2);
    machine.fn.writeConfig(at + 16, 2, 0);
    expect(queue.usedIndex).toBe(0);
    machine.fn.afterWrite();
    expect(queue.usedIndex).toBe(1);
  });

  it('takes an interrupt back by reading ISR status', () => {
    const plain = plug(nullDevice(), { msix: false });
    const queue = boot(plain);
    queue.add([{ address: plain.buffer(0), length: 4 }]);
    plain.driver.kick(0);
    const window = plain.driver.structure(StructureType.PCI).at;
    plain.fn.writeConfig(window + 4, 1, 4);
    plain.fn.writeConfig(window + 8, 4, plain.driver.structure(StructureType.ISR).offset);
    plain.fn.writeConfig(window + 12, 4, 1);
    expect(plain.fn.readConfig(window + 16, 1)).toBe(1);
    expect(plain.interrupts).toEqual(['intx on', 'intx off']);
  });

  it('does nothing with a length, an offset or a BAR that makes no sense (CVE-2024-26327)', () => {
    const { offset } = machine.driver.structure(StructureType.COMMON);
    machine.driver.write('queueSelect', 1);
    for (const [bar, where, length] of [
      [4, offset + 22, 0],
      [4, offset + 22, 3],
      [4, offset + 22, 8],
      [4, offset + 22, 0xffff_ffff],
      [4, offset + 21, 2],
      [4, 0xffff_fffe, 2],
      [0, offset + 22, 2],
      [0xff, offset + 22, 2],
    ]) {
      aim(bar, where, length);
      machine.fn.writeConfig(at + 16, 4, 0);
      expect(machine.fn.readConfig(at + 16, 4)).toBe(0);
    }
    expect(machine.driver.read('queueSelect')).toBe(1);
  });

  it('reaches no BAR but that of the structures: neither the legacy registers nor the MSI-X table', () => {
    machine = plug(nullDevice({ deviceId: 9 }), { registers: 'transitional' });
    ({ at } = machine.driver.structure(StructureType.PCI));
    aim(0, 14, 2);
    machine.fn.writeConfig(at + 16, 2, 1);
    expect(machine.fn.readBar(0, 14, 2)).toBe(0);
    aim(1, 0, 4);
    machine.fn.writeConfig(at + 16, 4, 0xfee0_0000);
    expect(machine.fn.readBar(1, 0, 4)).toBe(0);
    aim(1, 12, 4);
    expect(machine.fn.readConfig(at + 16, 4)).not.toBe(1);
  });

  it('makes one access of its length of any access to any part of its data', () => {
    const { offset } = machine.driver.structure(StructureType.COMMON);
    aim(4, offset + 8, 4);
    for (const [i, byte] of [0x11, 0x22, 0x33, 0x44].entries()) machine.fn.writeConfig(at + 16 + i, 1, byte);
    expect(machine.driver.read('driverFeatureSelect')).toBe(0x4433_2211);
    machine.driver.write('driverFeatureSelect', 0x8765_4321);
    expect(machine.fn.readConfig(at + 18, 2)).toBe(0x8765);
    expect(machine.fn.readConfig(at + 17, 1)).toBe(0x43);
  });
});
