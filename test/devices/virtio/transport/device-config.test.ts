import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { AccessWidth } from '../../../../devices/pci/function.js';
import type { DeviceContext } from '../../../../devices/virtio/device.js';
import { nullDevice } from '../null-device.js';
import { boot, plug, StructureType, VERSION_1, type Machine } from './mock-pci-driver.js';

const { DEVICE, ISR } = StructureType;

/** Two registers of 32 bits that the device always changes together: a driver must never see one without the other. */
function pair(registers: 'modern' | 'transitional' = 'modern') {
  const config = new Uint8Array(8);
  const view = new DataView(config.buffer);
  const set = (value: number): void => {
    view.setUint32(0, value, true);
    view.setUint32(4, ~value >>> 0, true);
  };
  set(0);
  return { set, machine: plug(nullDevice({ deviceId: 9, config }), { registers }) };
}

/** As the specification has drivers do it (section 2.5.1). */
function readPair({ driver }: Machine, between: () => void = () => {}): [number, number] {
  for (;;) {
    const before = driver.read('configGeneration');
    const low = driver.readAt(DEVICE, 0, 4);
    between();
    const high = driver.readAt(DEVICE, 4, 4);
    if (driver.read('configGeneration') === before) return [low, high];
  }
}

describe('the generation of the config space', () => {
  it('stands still while nothing changes, however often the driver looks and the device says so', () => {
    let context: DeviceContext | undefined;
    const machine = plug(nullDevice({ config: new Uint8Array(4), activate: (given) => (context = given) }));
    boot(machine);
    const before = machine.driver.read('configGeneration');
    for (let i = 0; i < 10; i++) {
      context?.configChanged();
      machine.driver.readAt(DEVICE, 0, 4);
    }
    expect(machine.driver.read('configGeneration')).toBe(before);
  });

  it('shows a read that a change has torn, before a driver is at work too', () => {
    const { set, machine } = pair();
    const changes = [1, 2, 3];
    const [low, high] = readPair(machine, () => {
      const next = changes.shift();
      if (next !== undefined) set(next);
    });
    expect([low, high]).toEqual([3, ~3 >>> 0]);
  });

  it('shows a read that was torn by 256 changes at once', () => {
    const { set, machine } = pair();
    let torn = false;
    const [low, high] = readPair(machine, () => {
      for (let value = 1; value <= 256 && !torn; value++) set(value);
      torn = true;
    });
    expect([low, high]).toEqual([256, ~256 >>> 0]);
  });

  it('never lets a driver take one moment for another, wherever the changes fall', () => {
    fc.assert(
      fc.property(fc.array(fc.nat(600), { maxLength: 20 }), (changesAt) => {
        const { set, machine } = pair();
        let accesses = 0;
        let value = 0;
        const read = machine.fn.readBar.bind(machine.fn);
        machine.fn.readBar = (bar, offset, width) => {
          for (const at of changesAt) if (at % 24 === accesses % 24) set(++value);
          accesses++;
          // The device comes to rest at some time.
          if (accesses > 100) changesAt = [];
          return read(bar, offset, width);
        };
        const [low, high] = readPair(machine);
        expect(high).toBe(~low >>> 0);
      }),
      { numRuns: 200 },
    );
  });

  it('comes with an interrupt where the device says that it changed something', () => {
    let context: DeviceContext | undefined;
    const config = new Uint8Array(4);
    const machine = plug(nullDevice({ config, activate: (given) => (context = given) }), { msix: false });
    boot(machine, VERSION_1);
    const before = machine.driver.read('configGeneration');
    config[0] = 1;
    context?.configChanged();
    expect(machine.driver.read('configGeneration')).not.toBe(before);
    expect(machine.interrupts).toEqual(['intx on']);
    expect(machine.driver.readAt(ISR, 0, 1)).toBe(2);
  });
});

describe('the config space', () => {
  it('reads the same at every width and alignment, behind the modern and the legacy registers', () => {
    const config = Uint8Array.from({ length: 13 }, (_, i) => 0x10 + i);
    const { driver, fn } = plug(nullDevice({ config }), { registers: 'transitional', msix: false });
    for (let offset = 0; offset < 20; offset++) {
      for (const width of [1, 2, 4] as const satisfies AccessWidth[]) {
        const expected = Array.from({ length: width }, (_, i) => (config[offset + i] ?? 0) * 2 ** (8 * i));
        const sum = expected.reduce((a, b) => a + b);
        expect(driver.readAt(DEVICE, offset, width)).toBe(sum);
        expect(fn.readBar(0, 20 + offset, width)).toBe(sum);
      }
    }
  });
});
