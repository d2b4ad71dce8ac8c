import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { ArrayRegion } from '../../../../devices/virtio/memory/array-region.js';
import type { MockSplitDriver } from '../mock-driver.js';
import { nullDevice } from '../null-device.js';
import { boot, enableMsix, plug, RAM_ADDRESS, type Machine } from './mock-pci-driver.js';

function levelReset(machine: Machine): void {
  const [express] = machine.driver.capabilities(0x10);
  machine.fn.writeConfig(express + 8, 2, 0x8000);
}

for (const [name, reset] of [
  ['a function-level reset', levelReset],
  ['a reset by the port', (machine: Machine) => machine.fn.reset()],
] as const) {
  describe(name, () => {
    it('brings registers, config space, MSI-X and the device back to power-on', () => {
      const deviceReset = vi.fn();
      const machine = plug(nullDevice({ reset: deviceReset }));
      const fresh = Array.from({ length: 64 }, (_, i) => plug(nullDevice()).fn.readConfig(4 * i, 4));
      boot(machine);
      enableMsix(machine);
      machine.fn.writeBar(1, 12, 4, 0);
      machine.fn.writeConfig(0x20, 4, 0xfe00_0000);
      reset(machine);
      expect(deviceReset).toHaveBeenCalledTimes(1);
      machine.fn.writeConfig(0x04, 2, 0x0006);
      expect(Array.from({ length: 64 }, (_, i) => machine.fn.readConfig(4 * i, 4))).toEqual(fresh);
      expect(machine.fn.readBar(1, 12, 4)).toBe(1);
      expect(machine.fn.msix?.enabled).toBe(false);
      expect(machine.driver.read('status')).toBe(0);
      expect(machine.driver.read('queueSelect')).toBe(0);
    });

    it('takes INTx down and leaves memory alone from then on', () => {
      const machine = plug(nullDevice(), { msix: false });
      const queue = boot(machine);
      queue.add([{ address: machine.buffer(0), length: 4 }]);
      machine.driver.kick(0);
      reset(machine);
      expect(machine.interrupts).toEqual(['intx on', 'intx off']);
      const { usedIndex } = queue;
      queue.add([{ address: machine.buffer(0), length: 4 }]);
      machine.driver.kick(0);
      machine.fn.service();
      expect(queue.usedIndex).toBe(usedIndex);
    });

    it('lets the function be driven anew', () => {
      const machine = plug(nullDevice());
      boot(machine);
      reset(machine);
      machine.fn.writeConfig(0x04, 2, 0x0006);
      const queue = boot(machine);
      queue.add([{ address: machine.buffer(0), length: 4 }]);
      machine.driver.kick(0);
      expect(queue.usedIndex).toBe(1);
    });
  });
}

describe('a function that loses its memory', () => {
  beforeEach(() => void vi.useFakeTimers());
  afterEach(() => void vi.useRealTimers());

  function kickWithoutMemory(): { machine: Machine; queue: MockSplitDriver } {
    const machine = plug(nullDevice());
    const queue = boot(machine);
    machine.memory.clear();
    queue.add([{ address: machine.buffer(0), length: 4 }]);
    machine.driver.kick(0);
    expect(queue.usedIndex).toBe(0);
    return { machine, queue };
  }

  it('asks for a reset two seconds after the driver kicked it, and touches nothing', () => {
    const { machine, queue } = kickWithoutMemory();
    vi.advanceTimersByTime(1999);
    expect(machine.driver.read('status') & 64).toBe(0);
    vi.advanceTimersByTime(1);
    expect(machine.driver.read('status') & 64).toBe(64);
    expect(queue.usedIndex).toBe(0);
    expect(vi.getTimerCount()).toBe(0);
  });

  it('serves the kick once the memory is back', () => {
    const { machine, queue } = kickWithoutMemory();
    machine.memory.addRegion(new ArrayRegion(RAM_ADDRESS, machine.ram));
    machine.fn.afterWrite();
    expect(queue.usedIndex).toBe(1);
    vi.advanceTimersByTime(10_000);
    expect(machine.driver.read('status') & 64).toBe(0);
  });

  it.each([
    ['a reset of the function', (machine: Machine) => machine.fn.reset()],
    ['a reset of the device', (machine: Machine) => machine.driver.write('status', 0)],
  ])('waits for nothing any more after %s', (_what, reset) => {
    const { machine } = kickWithoutMemory();
    reset(machine);
    expect(vi.getTimerCount()).toBe(0);
  });
});

describe('a device that a driver broke', () => {
  it('needs a reset by itself: its neighbour on the same memory works on', () => {
    const broken = plug(nullDevice());
    const healthy = plug(nullDevice());
    boot(broken).setAvailIndex(0x4000);
    const queue = boot(healthy);
    broken.driver.kick(0);
    queue.add([{ address: healthy.buffer(0), length: 4 }]);
    healthy.driver.kick(0);
    expect(broken.driver.read('status') & 64).toBe(64);
    expect(healthy.driver.read('status') & 64).toBe(0);
    expect(queue.usedIndex).toBe(1);
  });
});
