import { describe, expect, it, vi } from 'vitest';
import type { AccessWidth } from '../../../../devices/pci/function.js';
import type { DeviceContext, VirtioDevice } from '../../../../devices/virtio/device.js';
import { RegionMemory } from '../../../../devices/virtio/memory/region-memory.js';
import { VirtioPciFunction } from '../../../../devices/virtio/transport/virtio-pci.js';
import { nullDevice } from '../null-device.js';
import type { MockSplitDriver } from '../mock-driver.js';
import { ANY_LAYOUT, INDIRECT_DESC, LEGACY_EVENT_IDX, MockLegacyDriver, PAGE } from './mock-legacy-driver.js';
import { enableMsix, NO_VECTOR, plug, type Machine } from './mock-pci-driver.js';

const NINE_P = 9;
const ACK = 1;
const DRIVER = 2;
const DRIVER_OK = 4;
const FEATURES_OK = 8;
const FAILED = 128;

function legacy(overrides: Partial<VirtioDevice> = {}, msix = false) {
  const machine = plug(nullDevice({ deviceId: NINE_P, ...overrides }), { registers: 'legacy', msix });
  return { machine, driver: new MockLegacyDriver(machine.fn) };
}

function ring(machine: Machine, index: number, size = 8): MockSplitDriver {
  return machine.queue(index, size, PAGE);
}

/** All the way to DRIVER_OK with queue 0. */
function boot({ machine, driver }: ReturnType<typeof legacy>, features?: number): MockSplitDriver {
  driver.begin(features);
  const queue = ring(machine, 0);
  driver.placeQueue(0, queue);
  driver.addStatus(DRIVER_OK);
  return queue;
}

describe('a legacy function as the bus sees it', () => {
  it('has the transitional id, revision 0 and the virtio device id as its subsystem’s', () => {
    const { machine } = legacy();
    expect(machine.fn.readConfig(0x00, 4)).toBe(0x1009_1af4);
    expect(machine.fn.readConfig(0x08, 1)).toBe(0);
    expect(machine.fn.readConfig(0x2c, 4)).toBe(0x0009_1af4);
  });

  it.each([
    [1, 0x1000],
    [2, 0x1001],
    [5, 0x1002],
    [3, 0x1003],
    [8, 0x1004],
    [4, 0x1005],
    [9, 0x1009],
  ])('of virtio device %i has the device id %i', (deviceId, pciId) => {
    const { machine } = legacy({ deviceId });
    expect(machine.fn.readConfig(2, 2)).toBe(pciId);
    expect(machine.fn.readConfig(0x2e, 2)).toBe(deviceId);
  });

  it('cannot be made for a device that came after the legacy interface', () => {
    for (const registers of ['legacy', 'transitional'] as const) {
      const make = () =>
        new VirtioPciFunction(nullDevice({ deviceId: 19 }), new RegionMemory(), { msix: false, registers });
      expect(make).toThrow(RangeError);
    }
  });

  it('has its registers in I/O BAR 0, no virtio capability, and is a legacy endpoint', () => {
    const { machine } = legacy({ config: new Uint8Array(60) }, true);
    expect(machine.fn.bars).toEqual([
      { index: 0, kind: 'io', prefetchable: false, sizeBytes: 128 },
      { index: 1, kind: 'memory32', prefetchable: false, sizeBytes: 4096 },
    ]);
    expect(machine.fn.readConfig(0x10, 4)).toBe(1);
    machine.fn.writeConfig(0x10, 4, 0xffff_ffff);
    expect(machine.fn.readConfig(0x10, 4)).toBe(0xffff_ff81);
    expect(machine.driver.capabilities(0x09)).toEqual([]);
    const [express] = machine.driver.capabilities(0x10);
    expect(machine.fn.readConfig(express + 2, 2)).toBe(0x0012);
    expect(machine.fn.readBar(4, 0, 4)).toBe(0);
  });
});

describe('the legacy registers', () => {
  it('offer features 0 to 31 with ANY_LAYOUT and without what came later', () => {
    const { driver } = legacy({ features: 0x3n | (1n << 55n), resetQueue: () => {} });
    expect(driver.read('deviceFeatures')).toBe(0x3 | ANY_LAYOUT | INDIRECT_DESC | LEGACY_EVENT_IDX);
  });

  it('drop features that were not offered, and give the device the others', () => {
    let context: DeviceContext | undefined;
    const scene = legacy({ features: 0x3n, activate: (given) => (context = given) });
    boot(scene, 0xffff_fffe);
    expect(scene.driver.read('driverFeatures')).toBe(0x2 | ANY_LAYOUT | INDIRECT_DESC | LEGACY_EVENT_IDX);
    expect(context?.features).toBe(0x2n | BigInt(ANY_LAYOUT | INDIRECT_DESC | LEGACY_EVENT_IDX));
  });

  it('show each queue’s size, a power of two, which cannot be written', () => {
    const { driver } = legacy({ queueSizes: [128, 300, 1] });
    const sizes = [0, 1, 2, 3, 0xffff].map((queue) => {
      driver.write('queueSelect', queue);
      driver.write('queueSize', 2);
      return driver.read('queueSize');
    });
    expect(sizes).toEqual([128, 256, 1, 0, 0]);
  });

  it('place a ring by its first page: the used ring starts on the page behind the available one', () => {
    for (const size of [2, 8, 128, 256, 1024]) {
      const { machine, driver } = legacy({ queueSizes: [size] });
      driver.begin();
      const queue = ring(machine, 0, size);
      driver.placeQueue(0, queue);
      expect(driver.read('queueAddress')).toBe(queue.descriptorArea / PAGE);
      driver.addStatus(DRIVER_OK);
      queue.add([{ address: machine.buffer(0), length: 4 }]);
      driver.write('queueNotify', 0);
      expect(queue.reap()).toEqual([{ id: 0, length: 0 }]);
      expect(machine.log).toEqual([]);
    }
  });

  it('keep a ring’s address until it is taken back with 0', () => {
    const { machine, driver } = legacy();
    driver.begin();
    const queue = ring(machine, 0);
    driver.placeQueue(0, queue);
    driver.write('queueAddress', 0x7777);
    expect(driver.read('queueAddress')).toBe(queue.descriptorArea / PAGE);
    driver.write('queueAddress', 0);
    expect(driver.read('queueAddress')).toBe(0);
    driver.write('queueSelect', 1);
    expect(driver.read('queueAddress')).toBe(0);
  });

  it('reset the whole device where a ring is taken back under it, as the only safe way', () => {
    const reset = vi.fn();
    const scene = legacy({ reset });
    boot(scene);
    scene.driver.write('queueAddress', 0);
    expect(reset).toHaveBeenCalledTimes(1);
    expect(scene.driver.read('status')).toBe(0);
  });

  it('take any status bit but FEATURES_OK and DEVICE_NEEDS_RESET, in any order', () => {
    const { driver } = legacy();
    driver.write('status', DRIVER);
    expect(driver.read('status')).toBe(DRIVER);
    driver.write('status', FAILED | FEATURES_OK | 0x70);
    expect(driver.read('status')).toBe(DRIVER | FAILED);
    driver.write('status', DRIVER_OK);
    expect(driver.read('status')).toBe(DRIVER | FAILED | DRIVER_OK);
  });

  it('start nothing for a driver that has given up', () => {
    const activate = vi.fn();
    const { driver } = legacy({ activate });
    driver.begin();
    driver.addStatus(FAILED);
    driver.addStatus(DRIVER_OK);
    expect(activate).not.toHaveBeenCalled();
  });

  it('have the ISR status, whose reading takes the interrupt back', () => {
    const scene = legacy();
    const queue = boot(scene);
    queue.add([{ address: scene.machine.buffer(0), length: 4 }]);
    scene.driver.write('queueNotify', 0);
    expect(scene.machine.interrupts).toEqual(['intx on']);
    expect(scene.driver.read('isr')).toBe(1);
    expect(scene.driver.read('isr')).toBe(0);
    expect(scene.machine.interrupts).toEqual(['intx on', 'intx off']);
  });

  it('have the vectors only while MSI-X is enabled, and the config space behind whatever is there', () => {
    const { machine, driver } = legacy({ config: new Uint8Array([0xa0, 0xa1, 0xa2, 0xa3]) }, true);
    expect(machine.fn.readBar(0, 20, 4)).toBe(0xa3a2_a1a0);
    expect(machine.fn.readBar(0, 24, 4)).toBe(0);
    enableMsix(machine);
    expect(driver.read('configVector')).toBe(NO_VECTOR);
    expect(driver.read('queueVector')).toBe(NO_VECTOR);
    expect(machine.fn.readBar(0, 24, 4)).toBe(0xa3a2_a1a0);
    driver.write('configVector', 0);
    driver.write('queueVector', 2);
    expect([driver.read('configVector'), driver.read('queueVector')]).toEqual([0, 2]);
    driver.write('queueVector', 3);
    expect(driver.read('queueVector')).toBe(NO_VECTOR);
    driver.write('queueSelect', 5);
    driver.write('queueVector', 0);
    expect(driver.read('queueVector')).toBe(NO_VECTOR);
    machine.fn.writeConfig(machine.driver.capabilities(0x11)[0] + 2, 2, 0);
    expect(machine.fn.readBar(0, 20, 4)).toBe(0xa3a2_a1a0);
  });

  it('send vectors', () => {
    const scene = legacy({}, true);
    enableMsix(scene.machine);
    scene.driver.begin();
    const queue = ring(scene.machine, 0);
    scene.driver.placeQueue(0, queue);
    scene.driver.write('queueVector', 2);
    scene.driver.addStatus(DRIVER_OK);
    queue.add([{ address: scene.machine.buffer(0), length: 4 }]);
    scene.driver.write('queueNotify', 0);
    expect(scene.machine.interrupts).toEqual(['msix 2']);
    expect(scene.driver.read('isr')).toBe(0);
  });

  it('hand writes to the config space to the device, before any status too', () => {
    const written: [number, number[]][] = [];
    const { machine } = legacy({
      config: new Uint8Array(6),
      writeConfig: (offset, bytes) => void written.push([offset, [...bytes]]),
    });
    machine.fn.writeBar(0, 20, 1, 7);
    machine.fn.writeBar(0, 23, 2, 0x0908);
    machine.fn.writeBar(0, 24, 4, 1);
    expect(written).toEqual([
      [0, [7]],
      [3, [8, 9]],
    ]);
  });
});

describe('a legacy driver', () => {
  it('may use its device before DRIVER_OK: features are final from then on', () => {
    const activate = vi.fn();
    const { machine, driver } = legacy({ activate });
    driver.begin();
    const queue = ring(machine, 0);
    driver.placeQueue(0, queue);
    driver.write('queueNotify', 1);
    expect(activate).not.toHaveBeenCalled();
    queue.add([{ address: machine.buffer(0), length: 4 }]);
    driver.write('queueNotify', 0);
    expect(queue.usedIndex).toBe(1);
    driver.write('driverFeatures', 0);
    expect(driver.read('driverFeatures')).not.toBe(0);
    const second = ring(machine, 1);
    driver.placeQueue(1, second);
    second.add([{ address: machine.buffer(0), length: 4 }]);
    driver.addStatus(DRIVER_OK);
    driver.write('queueNotify', 1);
    expect(second.usedIndex).toBe(1);
    expect(activate).toHaveBeenCalledTimes(1);
  });

  it('may forget to switch bus mastering on', () => {
    const scene = legacy();
    scene.machine.fn.writeConfig(0x04, 2, 0x0001);
    const queue = boot(scene);
    queue.add([{ address: scene.machine.buffer(0), length: 4 }]);
    scene.driver.write('queueNotify', 0);
    expect(queue.usedIndex).toBe(1);
    expect(scene.machine.fn.readConfig(0x04, 2)).toBe(0x0005);
    scene.machine.fn.writeConfig(0x04, 2, 0x0001);
    queue.add([{ address: scene.machine.buffer(0), length: 4 }]);
    scene.driver.write('queueNotify', 0);
    expect(queue.usedIndex).toBe(1);
  });

  it('that does not wait for a reset reads 0 at once, and its device starts when the old work is done', async () => {
    let done = (): void => {};
    const activate = vi.fn();
    const scene = legacy({ activate, reset: () => new Promise<void>((resolve) => (done = resolve)) });
    boot(scene);
    scene.driver.write('status', 0);
    expect(scene.driver.read('status')).toBe(0);
    scene.driver.begin();
    const queue = ring(scene.machine, 0);
    scene.driver.placeQueue(0, queue);
    queue.add([{ address: scene.machine.buffer(0), length: 4 }]);
    scene.driver.write('queueNotify', 0);
    expect(scene.driver.read('status')).toBe(ACK | DRIVER);
    expect(queue.usedIndex).toBe(0);
    done();
    await vi.waitUntil(() => queue.usedIndex === 1);
    expect(activate).toHaveBeenCalledTimes(2);
  });

  it('that breaks its ring is not told, since it knows no bit for it, and gets on after a reset', () => {
    const scene = legacy();
    boot(scene).setAvailIndex(0x4000);
    scene.driver.write('queueNotify', 0);
    expect(scene.driver.read('status')).toBe(ACK | DRIVER | DRIVER_OK);
    expect(scene.machine.interrupts).toEqual([]);
    expect(scene.machine.log).toHaveLength(1);
    scene.driver.addStatus(DRIVER_OK);
    scene.driver.write('queueNotify', 0);
    expect(scene.machine.log).toHaveLength(1);
    const queue = boot(scene);
    queue.add([{ address: scene.machine.buffer(0), length: 4 }]);
    scene.driver.write('queueNotify', 0);
    expect(queue.usedIndex).toBe(1);
  });

  it('that puts its ring where no memory is breaks nothing but its device', () => {
    for (const page of [0xffff_ffff, 1, 0x7ff_ffff]) {
      const { machine, driver } = legacy();
      driver.begin();
      driver.write('queueAddress', page);
      expect(driver.read('queueAddress')).toBe(page);
      driver.addStatus(DRIVER_OK);
      driver.write('queueNotify', 0);
      expect(machine.log).toEqual([expect.stringContaining('is not in memory')]);
    }
  });
});

describe('any access to the legacy registers', () => {
  /** What may be written, and at which width alone. */
  const WRITABLE: readonly (readonly [number, AccessWidth])[] = [
    [4, 4],
    [8, 4],
    [14, 2],
    [16, 2],
    [18, 1],
    [20, 2],
    [22, 2],
  ];

  it.each([false, true])(
    'that is no register of its width changes nothing (MSI-X enabled: %s)',
    (msixEnabled) => {
      const { machine, driver } = legacy({ config: new Uint8Array(3) }, true);
      if (msixEnabled) enableMsix(machine);
      driver.begin();
      const image = () =>
        Array.from({ length: 32 }, (_, i) => (i === 19 ? 0 : machine.fn.readBar(0, i, 1))).join();
      const before = image();
      for (let offset = -4; offset < 64; offset++) {
        for (const width of [1, 2, 4] as const) {
          if (WRITABLE.some(([at, its]) => at === offset && its === width)) continue;
          for (const value of [0xffff_ffff, 0, 1]) {
            machine.fn.writeBar(0, offset, width, value);
            machine.fn.afterWrite();
            const read = machine.fn.readBar(0, offset, width);
            expect(read >= 0 && read < 2 ** (8 * width)).toBe(true);
          }
        }
      }
      expect(image()).toBe(before);
    },
  );
});
