import { describe, expect, it, vi } from 'vitest';
import type { DeviceContext, VirtioDevice } from '../../../../devices/virtio/device.js';
import { nullDevice } from '../null-device.js';
import { MockLegacyDriver, PAGE } from './mock-legacy-driver.js';
import { boot, plug, Status, StructureType, VERSION_1 } from './mock-pci-driver.js';

const { ACK, DRIVER, DRIVER_OK, FEATURES_OK } = Status;
const { COMMON, DEVICE } = StructureType;

function transitional(overrides: Partial<VirtioDevice> = {}) {
  const machine = plug(nullDevice({ deviceId: 9, ...overrides }), { registers: 'transitional', msix: false });
  const legacy = new MockLegacyDriver(machine.fn);
  machine.fn.writeConfig(0x04, 2, 0x0007);
  return { machine, modern: machine.driver, legacy };
}

function bootLegacy({ machine, legacy }: ReturnType<typeof transitional>) {
  legacy.begin();
  const queue = machine.queue(0, 8, PAGE);
  legacy.placeQueue(0, queue);
  legacy.addStatus(DRIVER_OK);
  return queue;
}

describe('a transitional function', () => {
  it('is found by legacy drivers, and has what modern drivers look for', () => {
    const { machine, modern } = transitional();
    expect(machine.fn.readConfig(0x00, 4)).toBe(0x1009_1af4);
    expect(machine.fn.readConfig(0x08, 1)).toBe(0);
    expect(machine.fn.readConfig(0x2e, 2)).toBe(9);
    expect(machine.fn.bars.map(({ index, kind }) => [index, kind])).toEqual([
      [0, 'io'],
      [4, 'memory64'],
    ]);
    expect(modern.structures.map(({ type }) => type)).toEqual([1, 2, 3, 5]);
  });

  it('offers VERSION_1 to modern drivers alone, and ANY_LAYOUT to legacy ones', () => {
    const { modern, legacy } = transitional();
    expect(modern.offeredFeatures() & (1n << 27n)).toBe(0n);
    expect(modern.offeredFeatures() & VERSION_1).toBe(VERSION_1);
    modern.write('status', 0);
    expect(legacy.read('deviceFeatures') & (1 << 27)).not.toBe(0);
  });

  it('works by either registers, and by the others after a reset through them', () => {
    const features: bigint[] = [];
    const scene = transitional({ activate: ({ features: agreed }: DeviceContext) => features.push(agreed) });
    const { machine, legacy } = scene;
    for (let round = 0; round < 2; round++) {
      const old = bootLegacy(scene);
      old.add([{ address: machine.buffer(0), length: 4, writable: true }]);
      legacy.write('queueNotify', 0);
      expect(old.reap()).toEqual([{ id: 0, length: 4 }]);
      const fresh = boot(machine);
      fresh.add([{ address: machine.buffer(0), length: 4, writable: true }]);
      machine.driver.kick(0);
      expect(fresh.reap()).toEqual([{ id: 0, length: 4 }]);
    }
    expect(features.map((agreed) => (agreed & VERSION_1) !== 0n)).toEqual([false, true, false, true]);
    expect(machine.log).toEqual([]);
  });

  it('takes no write by modern registers from a legacy driver’s first write on, but a reset', () => {
    const writeConfig = vi.fn();
    const scene = transitional({ config: new Uint8Array(4), writeConfig });
    const { modern, legacy } = scene;
    legacy.write('queueSelect', 0);
    modern.acceptFeatures(VERSION_1);
    for (const status of [ACK, ACK | DRIVER, ACK | DRIVER | FEATURES_OK]) modern.write('status', status);
    modern.write('queueSelect', 1);
    modern.writeAt(DEVICE, 0, 4, 1);
    expect(modern.readAt(COMMON, 12, 4)).toBe(0);
    expect(modern.read('queueSelect')).toBe(0);
    expect(legacy.read('status')).toBe(0);
    expect(writeConfig).not.toHaveBeenCalled();
    const queue = bootLegacy(scene);
    queue.add([{ address: scene.machine.buffer(0), length: 4 }]);
    modern.kick(0);
    expect(queue.usedIndex).toBe(0);
    modern.write('status', 0);
    expect(legacy.read('status')).toBe(0);
    expect(modern.negotiate(VERSION_1)).toBe(ACK | DRIVER | FEATURES_OK);
  });

  it('takes no write by legacy registers from a modern driver’s first write on, but a reset', () => {
    const writeConfig = vi.fn();
    const { machine, modern, legacy } = transitional({ config: new Uint8Array(4), writeConfig });
    modern.write('status', ACK);
    legacy.write('status', ACK | DRIVER | DRIVER_OK);
    legacy.write('driverFeatures', 1 << 28);
    legacy.placeQueue(0, machine.queue(0, 8, PAGE));
    machine.fn.writeBar(0, 20, 1, 1);
    expect(modern.read('status')).toBe(ACK);
    expect(legacy.read('driverFeatures')).toBe(0);
    expect(legacy.read('queueAddress')).toBe(0);
    expect(writeConfig).not.toHaveBeenCalled();
    const queue = boot(machine);
    queue.add([{ address: machine.buffer(0), length: 4 }]);
    legacy.write('queueNotify', 0);
    expect(queue.usedIndex).toBe(0);
    legacy.write('status', 0);
    expect(modern.read('status')).toBe(0);
  });

  it('goes on showing a modern driver its old status until the reset is done, whoever asked for that', async () => {
    let done = (): void => {};
    const { machine, modern, legacy } = transitional({
      reset: () => new Promise<void>((resolve) => (done = resolve)),
    });
    boot(machine);
    legacy.write('status', 0);
    expect(legacy.read('status')).toBe(0);
    expect(modern.read('status')).toBe(ACK | DRIVER | FEATURES_OK | DRIVER_OK);
    done();
    await vi.waitUntil(() => modern.read('status') === 0);
  });
});
