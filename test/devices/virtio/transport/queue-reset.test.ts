import { describe, expect, it, vi } from 'vitest';
import { nullDevice } from '../null-device.js';
import { boot, EVENT_IDX, plug, RING_RESET, Status, VERSION_1 } from './mock-pci-driver.js';
import { later, turn } from './promises.js';

const { DRIVER_OK } = Status;

describe('queue reset (VIRTIO_F_RING_RESET)', () => {
  const FEATURES = VERSION_1 | EVENT_IDX | RING_RESET;

  it('gives one queue back while another works on, and takes it again', () => {
    const resets: number[] = [];
    const machine = plug(nullDevice({ resetQueue: (index) => void resets.push(index) }));
    machine.driver.negotiate(FEATURES);
    const [first, second] = [machine.queue(0), machine.queue(1)];
    machine.driver.setUpQueue(0, first);
    machine.driver.setUpQueue(1, second);
    machine.driver.addStatus(DRIVER_OK);
    machine.driver.write('queueSelect', 0);
    machine.driver.write('queueReset', 1);
    expect(machine.driver.read('queueReset')).toBe(0);
    expect(machine.driver.read('queueEnable')).toBe(0);
    expect(machine.driver.read('queueDescLow')).toBe(0);
    expect(resets).toEqual([0]);
    first.add([{ address: machine.buffer(0), length: 1 }]);
    second.add([{ address: machine.buffer(0), length: 1 }]);
    machine.driver.kick(0);
    machine.driver.kick(1);
    expect([first.usedIndex, second.usedIndex]).toEqual([0, 1]);
    const again = machine.queue(0, 4);
    machine.driver.setUpQueue(0, again);
    again.add([{ address: machine.buffer(0), length: 1 }]);
    machine.driver.kick(0);
    expect(again.usedIndex).toBe(1);
  });

  it('reads 1, and takes no new setup, until the device has let go of the queue', async () => {
    const { promise, resolve } = later();
    const machine = plug(nullDevice({ resetQueue: () => promise }));
    boot(machine, FEATURES);
    machine.driver.write('queueSelect', 0);
    machine.driver.write('queueReset', 1);
    machine.driver.write('queueReset', 1);
    machine.driver.write('queueEnable', 1);
    expect(machine.driver.read('queueReset')).toBe(1);
    resolve();
    await turn();
    expect(machine.driver.read('queueReset')).toBe(0);
    expect(machine.driver.read('queueEnable')).toBe(0);
  });

  it('that ends after the whole device was reset changes nothing for the new driver', async () => {
    const { promise, resolve } = later();
    const machine = plug(nullDevice({ resetQueue: () => promise }));
    boot(machine, FEATURES);
    machine.driver.write('queueSelect', 0);
    machine.driver.write('queueReset', 1);
    boot(machine, FEATURES);
    resolve();
    await turn();
    machine.driver.write('queueSelect', 0);
    expect(machine.driver.read('queueEnable')).toBe(1);
  });

  it('takes a queue back that the device was never given', () => {
    const resetQueue = vi.fn();
    const machine = plug(nullDevice({ resetQueue }));
    machine.driver.negotiate(FEATURES);
    machine.driver.setUpQueue(0, machine.queue(0));
    machine.driver.write('queueReset', 1);
    expect(machine.driver.read('queueReset')).toBe(0);
    expect(machine.driver.read('queueEnable')).toBe(0);
    expect(resetQueue).not.toHaveBeenCalled();
  });

  it('is over, and logged, where the device fails at it', async () => {
    const machine = plug(nullDevice({ resetQueue: () => Promise.reject(new Error('a bug')) }));
    boot(machine, FEATURES);
    machine.driver.write('queueSelect', 0);
    machine.driver.write('queueReset', 1);
    await turn();
    expect(machine.driver.read('queueReset')).toBe(0);
    expect(machine.log[0]).toMatch(/^the device failed to reset: Error: a bug/);
  });

  it('does nothing where it was not negotiated, or the queue is not enabled', () => {
    const resetQueue = vi.fn();
    const machine = plug(nullDevice({ resetQueue }));
    boot(machine);
    machine.driver.write('queueSelect', 0);
    machine.driver.write('queueReset', 1);
    expect(machine.driver.read('queueEnable')).toBe(1);
    boot(machine, FEATURES);
    machine.driver.write('queueSelect', 1);
    machine.driver.write('queueReset', 1);
    expect(resetQueue).not.toHaveBeenCalled();
  });
});
