import fc from 'fast-check';
import { describe, expect, it, vi } from 'vitest';
import type { AccessWidth } from '../../../../devices/pci/function.js';
import { VirtioPciFunction } from '../../../../devices/virtio/transport/virtio-pci.js';
import { RegionMemory } from '../../../../devices/virtio/memory/region-memory.js';
import { nullDevice } from '../null-device.js';
import { boot, NO_VECTOR, plug, Status, StructureType } from './mock-pci-driver.js';

describe('the function as the bus sees it', () => {
  it('is a modern virtio device', () => {
    const { fn } = plug(nullDevice({ deviceId: 9, pciClass: 0x000200 }));
    expect(fn.readConfig(0x00, 4)).toBe(0x1049_1af4);
    expect(fn.readConfig(0x08, 4)).toBe(0x0002_0001);
    expect(fn.readConfig(0x2c, 2)).toBe(0x1af4);
    expect(fn.readConfig(0x2e, 2)).toBeGreaterThanOrEqual(0x40);
    expect(fn.readConfig(0x3d, 1)).toBe(1);
  });

  it('has its structures in BAR 4 on pages of their own, and MSI-X in BAR 1', () => {
    const { fn, driver } = plug(nullDevice({ config: new Uint8Array(24) }));
    expect(fn.bars).toEqual([
      { index: 1, kind: 'memory32', prefetchable: false, sizeBytes: 4096 },
      { index: 4, kind: 'memory64', prefetchable: true, sizeBytes: 16384 },
    ]);
    const { COMMON, NOTIFY, ISR, DEVICE } = StructureType;
    const all = [COMMON, NOTIFY, ISR, DEVICE].map((type) => driver.structure(type));
    expect(all.map(({ bar }) => bar)).toEqual([4, 4, 4, 4]);
    expect(new Set(all.map(({ offset }) => Math.floor(offset / 4096))).size).toBe(4);
    expect(all.map(({ length }) => length)).toEqual([64, 8, 1, 24]);
    const [msix] = driver.capabilities(0x11);
    expect(fn.readConfig(msix + 2, 2)).toBe(2);
    expect([fn.readConfig(msix + 4, 4), fn.readConfig(msix + 8, 4)]).toEqual([0x001, 0x801]);
    expect(fn.msixVectorCount).toBe(3);
  });

  it('has no MSI-X capability, table or BAR where it was made without', () => {
    const { fn, driver } = plug(nullDevice(), { msix: false });
    expect(driver.capabilities(0x11)).toEqual([]);
    expect(fn.msix).toBeUndefined();
    expect(fn.msixVectorCount).toBe(0);
    expect(fn.bars.map(({ index }) => index)).toEqual([4]);
    expect(fn.readBar(1, 12, 4)).toBe(0);
  });

  it('grows its BARs for many queues', () => {
    const { fn, driver } = plug(nullDevice({ queueSizes: new Array<number>(2000).fill(64) }));
    expect(fn.bars.map(({ sizeBytes }) => sizeBytes)).toEqual([65536, 32768]);
    expect(driver.structure(StructureType.NOTIFY).length).toBe(8000);
    driver.write('queueSelect', 1999);
    expect(driver.read('queueNotifyOff')).toBe(1999);
    expect(fn.readBar(1, 2000 * 16 + 12, 4)).toBe(1);
  });

  it('has no device structure where the device has no config', () => {
    const { driver } = plug(nullDevice());
    expect(() => driver.structure(StructureType.DEVICE)).toThrow();
  });

  it('cannot be made for a device whose config space is larger than a page', () => {
    const device = nullDevice({ config: new Uint8Array(4097) });
    expect(() => new VirtioPciFunction(device, new RegionMemory(), { msix: false })).toThrow(RangeError);
  });

  it('answers every access to every BAR, and none throws or changes the status (CVE-2024-26327)', () => {
    const machine = plug(nullDevice({ config: new Uint8Array(7) }));
    const access = fc.record({
      bar: fc.integer({ min: -1, max: 7 }),
      offset: fc.oneof(fc.nat(0x4100), fc.nat(0xffff_ffff)),
      width: fc.constantFrom<AccessWidth>(1, 2, 4),
      value: fc.nat(0xffff_ffff),
    });
    const property = fc.property(fc.array(access, { maxLength: 200 }), (accesses) => {
      for (const { bar, offset, width, value } of accesses) {
        machine.fn.writeBar(bar, offset, width, value);
        machine.fn.afterWrite();
        const read = machine.fn.readBar(bar, offset, width);
        expect(Number.isInteger(read) && read >= 0 && read < 2 ** (8 * width)).toBe(true);
      }
      expect(machine.driver.read('status') & Status.DRIVER_OK).toBe(0);
    });
    fc.assert(property, { numRuns: 100 });
  });
});

describe('common configuration', () => {
  it('counts its queues and shows their largest sizes', () => {
    const { driver } = plug(nullDevice({ queueSizes: [128, 64, 1] }));
    expect(driver.read('queueCount')).toBe(3);
    const sizes = [0, 1, 2, 3, 0xffff].map((index) => {
      driver.write('queueSelect', index);
      return driver.read('queueSize');
    });
    expect(sizes).toEqual([128, 64, 1, 0, 0]);
  });

  it('ignores all that is written for a queue that does not exist', () => {
    const { driver } = plug(nullDevice());
    driver.write('queueSelect', 2);
    for (const field of [
      'queueSize',
      'queueVector',
      'queueEnable',
      'queueDescLow',
      'queueDeviceHigh',
      'queueReset',
    ] as const) {
      driver.write(field, 1);
      expect(driver.read(field)).toBe(field === 'queueVector' ? NO_VECTOR : 0);
    }
  });

  it('keeps a queue’s registers fixed once it is enabled, but for its vector', () => {
    const machine = plug(nullDevice());
    machine.driver.negotiate();
    const queue = machine.queue(0);
    machine.driver.setUpQueue(0, queue, 1);
    const fields = [
      'queueSize',
      'queueDescLow',
      'queueDescHigh',
      'queueDriverLow',
      'queueDriverHigh',
      'queueDeviceLow',
      'queueDeviceHigh',
    ] as const;
    const before = fields.map((field) => machine.driver.read(field));
    for (const field of fields) machine.driver.write(field, 4);
    machine.driver.write('queueEnable', 0);
    expect(fields.map((field) => machine.driver.read(field))).toEqual(before);
    expect(machine.driver.read('queueEnable')).toBe(1);
    machine.driver.write('queueVector', NO_VECTOR);
    expect(machine.driver.read('queueVector')).toBe(NO_VECTOR);
  });

  it('does not enable a queue whose registers make no sense', () => {
    const machine = plug(nullDevice());
    machine.driver.negotiate();
    machine.driver.write('queueSelect', 0);
    const enabledWith = (
      field: 'queueSize' | 'queueDescLow' | 'queueDriverLow' | 'queueDeviceLow',
      value: number,
    ) => {
      machine.driver.write(field, value);
      machine.driver.write('queueEnable', 1);
      return machine.driver.read('queueEnable');
    };
    for (const size of [0, 3, 16, 0xffff]) expect(enabledWith('queueSize', size)).toBe(0);
    machine.driver.write('queueSize', 8);
    expect(enabledWith('queueDescLow', 8)).toBe(0);
    machine.driver.write('queueDescLow', 16);
    expect(enabledWith('queueDriverLow', 1)).toBe(0);
    machine.driver.write('queueDriverLow', 2);
    expect(enabledWith('queueDeviceLow', 2)).toBe(0);
    expect(enabledWith('queueDeviceLow', 4)).toBe(1);
    expect(machine.log).toHaveLength(7);
  });

  it('enables for 1 alone', () => {
    const { driver } = plug(nullDevice());
    driver.negotiate();
    for (const value of [0, 2, 0xffff]) {
      driver.write('queueEnable', value);
      expect(driver.read('queueEnable')).toBe(0);
    }
  });

  it('reads a vector back as none where there is no such vector', () => {
    const { driver } = plug(nullDevice());
    for (const field of ['queueVector', 'configVector'] as const) {
      for (const [written, kept] of [
        [2, 2],
        [3, NO_VECTOR],
        [0xfffe, NO_VECTOR],
        [0, 0],
        [NO_VECTOR, NO_VECTOR],
      ]) {
        driver.write(field, written);
        expect(driver.read(field)).toBe(kept);
      }
    }
    const without = plug(nullDevice(), { msix: false }).driver;
    without.write('configVector', 0);
    expect(without.read('configVector')).toBe(NO_VECTOR);
  });

  it('has a live queue enabled after DRIVER_OK', () => {
    const queues: (readonly unknown[])[] = [];
    const machine = plug(nullDevice({ activate: (context) => void queues.push(context.queues) }));
    boot(machine);
    const second = machine.queue(1);
    machine.driver.setUpQueue(1, second);
    second.add([{ address: machine.buffer(0), length: 1 }]);
    machine.driver.kick(1);
    expect(second.usedIndex).toBe(1);
    expect(queues[0][1]).toBeDefined();
  });

  it('has no administration queues', () => {
    const { driver } = plug(nullDevice());
    expect([driver.read('adminQueueIndex'), driver.read('adminQueueCount')]).toEqual([0, 0]);
  });
});

describe('doorbells', () => {
  it('only mark their queue; the work runs after the write', () => {
    const machine = plug(nullDevice());
    const queue = boot(machine);
    queue.add([{ address: machine.buffer(0), length: 4 }]);
    const { bar, offset } = machine.driver.structure(StructureType.NOTIFY);
    machine.fn.writeBar(bar, offset, 2, 0);
    expect(queue.usedIndex).toBe(0);
    expect(machine.fn.needsService).toBe(true);
    machine.fn.afterWrite();
    expect(queue.usedIndex).toBe(1);
    expect(machine.fn.needsService).toBe(false);
    expect(machine.fn.counters(0)).toMatchObject({ kicks: 1, requests: 1 });
  });

  it('outside a queue’s own place ring nothing', () => {
    const machine = plug(nullDevice());
    boot(machine);
    const { bar, offset } = machine.driver.structure(StructureType.NOTIFY);
    for (const at of [1, 2, 3, 4, 8, 12, 0xffc]) machine.fn.writeBar(bar, offset + at, 2, 0);
    expect(machine.fn.needsService).toBe(false);
  });

  it('are kept while the function may not master the bus, and no memory is touched', () => {
    const machine = plug(nullDevice());
    const queue = boot(machine);
    machine.fn.writeConfig(0x04, 2, 0x0002);
    queue.add([{ address: machine.buffer(0), length: 4 }]);
    machine.driver.kick(0);
    expect(machine.fn.service()).toBe(true);
    expect(machine.fn.poll(0)).toBe(0);
    expect(queue.usedIndex).toBe(0);
    machine.fn.writeConfig(0x04, 2, 0x0006);
    machine.fn.afterWrite();
    expect(queue.usedIndex).toBe(1);
  });

  it('can do without a port’s call: `service` and `poll` serve, too', () => {
    const machine = plug(nullDevice());
    const queue = boot(machine);
    queue.add([{ address: machine.buffer(0), length: 4 }]);
    expect(machine.fn.poll(0)).toBe(1);
    queue.add([{ address: machine.buffer(0), length: 4 }]);
    const { bar, offset } = machine.driver.structure(StructureType.NOTIFY);
    machine.fn.writeBar(bar, offset, 2, 0);
    expect(machine.fn.service()).toBe(false);
    expect(queue.usedIndex).toBe(2);
    // The first look was at DRIVER_OK.
    expect(machine.fn.counters(0)).toMatchObject({ polls: 2, requests: 2 });
  });

  it('count nothing for a device that is not at work', () => {
    const machine = plug(nullDevice());
    machine.driver.kick(0);
    expect(machine.fn.counters(0)).toEqual({
      kicks: 0,
      interrupts: 0,
      wakes: 0,
      spuriousWakes: 0,
      polls: 0,
      requests: 0,
    });
    expect(machine.fn.service()).toBe(false);
    expect(machine.fn.poll(0)).toBe(0);
  });

  it('leave work beyond a turn to the event loop', () => {
    const machine = plug(nullDevice({ queueSizes: [256] }));
    machine.driver.negotiate();
    const queue = machine.queue(0, 256);
    machine.driver.setUpQueue(0, queue);
    machine.driver.addStatus(Status.DRIVER_OK);
    for (let i = 0; i < 200; i++) queue.add([{ address: machine.buffer(0), length: 1 }]);
    machine.driver.kick(0);
    expect(queue.usedIndex).toBe(128);
    expect(machine.deferred).toHaveLength(1);
    machine.deferred[0]();
    expect(queue.usedIndex).toBe(200);
  });

  it('leave it to the event loop by themselves where the port has no way of its own', async () => {
    const machine = plug(nullDevice({ queueSizes: [256] }), { defer: 'default' });
    machine.driver.negotiate();
    const queue = machine.queue(0, 256);
    machine.driver.setUpQueue(0, queue);
    machine.driver.addStatus(Status.DRIVER_OK);
    for (let i = 0; i < 256; i++) queue.add([{ address: machine.buffer(0), length: 1 }]);
    machine.driver.kick(0);
    expect(queue.usedIndex).toBe(128);
    await vi.waitUntil(() => queue.usedIndex === 256);
  });
});

describe('device config space', () => {
  it('reads the device’s bytes at every width, and zeros behind them', () => {
    const { driver } = plug(nullDevice({ config: new Uint8Array([1, 2, 3, 4, 0xf5]) }));
    const { DEVICE } = StructureType;
    expect(driver.readAt(DEVICE, 0, 4)).toBe(0x0403_0201);
    expect(driver.readAt(DEVICE, 1, 2)).toBe(0x0302);
    expect(driver.readAt(DEVICE, 4, 4)).toBe(0xf5);
    expect(driver.readAt(DEVICE, 5, 1)).toBe(0);
  });

  it('hands writes to the device as bytes, and none that goes past the end', () => {
    const written: [number, number[]][] = [];
    const { driver } = plug(
      nullDevice({
        config: new Uint8Array(6),
        writeConfig: (offset, bytes) => void written.push([offset, [...bytes]]),
      }),
    );
    const { DEVICE } = StructureType;
    driver.writeAt(DEVICE, 0, 4, 0x8070_6050);
    driver.writeAt(DEVICE, 4, 2, 0xaabb);
    driver.writeAt(DEVICE, 4, 4, 1);
    driver.writeAt(DEVICE, 6, 1, 1);
    expect(written).toEqual([
      [0, [0x50, 0x60, 0x70, 0x80]],
      [4, [0xbb, 0xaa]],
    ]);
  });

  it('survives a device that throws at a write: before the driver is ready it is logged, then it is a fault', () => {
    const machine = plug(
      nullDevice({
        config: new Uint8Array(4),
        writeConfig: () => {
          throw new Error('a bug');
        },
      }),
    );
    machine.driver.writeAt(StructureType.DEVICE, 0, 1, 1);
    expect(machine.log).toHaveLength(1);
    expect(machine.driver.read('status')).toBe(0);
    boot(machine);
    machine.driver.writeAt(StructureType.DEVICE, 0, 1, 1);
    expect(machine.driver.read('status') & Status.NEEDS_RESET).toBe(Status.NEEDS_RESET);
  });
});
