import { describe, expect, it, vi } from 'vitest';
import type { Chain, Virtqueue } from '../../../../devices/virtio/device.js';
import { nullDevice } from '../null-device.js';
import { later, turn } from './promises.js';
import {
  boot,
  EVENT_IDX,
  NOTIF_CONFIG_DATA,
  NOTIFICATION_DATA,
  plug,
  RING_RESET,
  Status,
  VERSION_1,
} from './mock-pci-driver.js';

const { ACK, DRIVER, DRIVER_OK, FEATURES_OK, NEEDS_RESET, FAILED } = Status;
const READY = ACK | DRIVER | FEATURES_OK;
const IN_ORDER = 1n << 35n;

describe('feature negotiation', () => {
  it('offers VERSION_1, the ring features and the device’s own, and nothing else', () => {
    const { driver } = plug(nullDevice({ features: 0x21n | (1n << 55n) }));
    const rings = (1n << 28n) | EVENT_IDX | (1n << 34n);
    const offered = 0x21n | (1n << 55n) | VERSION_1 | NOTIFICATION_DATA | NOTIF_CONFIG_DATA | rings;
    expect(driver.offeredFeatures() & ~IN_ORDER).toBe(offered);
  });

  it('offers RING_RESET where the device can reset one queue', () => {
    const { driver } = plug(nullDevice({ resetQueue: () => {} }));
    expect(driver.offeredFeatures() & RING_RESET).toBe(RING_RESET);
  });

  it('reads 0 from words beyond the 128 bits', () => {
    const { driver } = plug(nullDevice({ features: 0xffffffn }));
    for (const word of [4, 5, 0x8000_0000, 0xffff_ffff]) {
      driver.write('deviceFeatureSelect', word);
      driver.write('driverFeatureSelect', word);
      driver.write('driverFeature', 0xffff_ffff);
      expect(driver.read('deviceFeature')).toBe(0);
      expect(driver.read('driverFeature')).toBe(0);
    }
    expect(driver.negotiate(VERSION_1)).toBe(READY);
  });

  it('accepts any part of the offer that has VERSION_1', () => {
    const { driver } = plug(nullDevice({ features: 0x7n }));
    for (const features of [VERSION_1, VERSION_1 | 0x5n, driver.offeredFeatures()]) {
      expect(driver.negotiate(features)).toBe(READY);
    }
  });

  it('refuses FEATURES_OK without VERSION_1 or with anything that was not offered', () => {
    const { driver } = plug(nullDevice({ features: 0x1n }));
    for (const features of [
      0n,
      EVENT_IDX,
      VERSION_1 | 2n,
      VERSION_1 | (1n << 33n),
      VERSION_1 | (1n << 35n),
      VERSION_1 | (1n << 127n),
    ]) {
      expect(driver.negotiate(features)).toBe(ACK | DRIVER);
      expect(driver.addStatus(DRIVER_OK)).toBe(ACK | DRIVER);
    }
  });

  it('lets a driver that was refused try again with less', () => {
    const { driver } = plug(nullDevice());
    expect(driver.negotiate(VERSION_1 | 1n)).toBe(ACK | DRIVER);
    driver.acceptFeatures(VERSION_1);
    expect(driver.addStatus(FEATURES_OK)).toBe(READY);
  });

  it('fixes the features once FEATURES_OK is set', () => {
    let features = 0n;
    const machine = plug(nullDevice({ features: 1n, activate: (context) => (features = context.features) }));
    machine.driver.negotiate(VERSION_1);
    machine.driver.acceptFeatures(VERSION_1 | 1n);
    machine.driver.addStatus(DRIVER_OK);
    expect(features).toBe(VERSION_1);
  });
});

describe('device status', () => {
  it('starts at 0, and shows what the driver adds', () => {
    const { driver } = plug(nullDevice());
    expect(driver.read('status')).toBe(0);
    expect(driver.addStatus(ACK)).toBe(ACK);
    expect(driver.addStatus(DRIVER)).toBe(ACK | DRIVER);
  });

  it('gives the device to its driver at DRIVER_OK, once, with the queues that were enabled', () => {
    const activate = vi.fn();
    const machine = plug(nullDevice({ activate }));
    boot(machine);
    machine.driver.addStatus(DRIVER_OK);
    expect(activate).toHaveBeenCalledTimes(1);
    const [{ queues, features }] = activate.mock.calls[0] as [
      { queues: (Virtqueue | undefined)[]; features: bigint },
    ];
    expect(queues.map((queue) => queue?.index)).toEqual([0, undefined]);
    expect(features).toBe(VERSION_1 | EVENT_IDX);
  });

  it('ignores DRIVER_OK before FEATURES_OK, and takes both at once', () => {
    const activate = vi.fn();
    const { driver } = plug(nullDevice({ activate }));
    driver.write('status', ACK | DRIVER | DRIVER_OK);
    expect(driver.read('status')).toBe(ACK | DRIVER);
    expect(activate).not.toHaveBeenCalled();
    driver.acceptFeatures(VERSION_1);
    driver.write('status', ACK | DRIVER | FEATURES_OK | DRIVER_OK);
    expect(driver.read('status')).toBe(READY | DRIVER_OK);
    expect(activate).toHaveBeenCalledTimes(1);
  });

  /** What a driver may have reached, and what it must not get from there by one write. */
  it.each([
    ['DRIVER before ACKNOWLEDGE', [], DRIVER, 0],
    ['FEATURES_OK before ACKNOWLEDGE', [], FEATURES_OK, 0],
    ['FEATURES_OK before DRIVER', [ACK], ACK | FEATURES_OK, ACK],
    ['DRIVER_OK at once', [], DRIVER_OK, 0],
    ['DRIVER_OK before DRIVER', [ACK], ACK | DRIVER_OK, ACK],
    ['DRIVER_OK before FEATURES_OK', [ACK, ACK | DRIVER], ACK | DRIVER | DRIVER_OK, ACK | DRIVER],
    ['the last two without the first two', [], FEATURES_OK | DRIVER_OK, 0],
    ['all but ACKNOWLEDGE', [], DRIVER | FEATURES_OK | DRIVER_OK, 0],
    ['all but DRIVER', [], ACK | FEATURES_OK | DRIVER_OK, ACK],
    ['DRIVER after FAILED', [ACK, ACK | FAILED], ACK | DRIVER | FAILED, ACK | FAILED],
    [
      'FEATURES_OK after FAILED',
      [ACK | DRIVER, ACK | DRIVER | FAILED],
      READY | FAILED,
      ACK | DRIVER | FAILED,
    ],
    ['DRIVER_OK after FAILED', [READY, READY | FAILED], READY | FAILED | DRIVER_OK, READY | FAILED],
    ['DRIVER_OK together with FAILED', [READY], READY | DRIVER_OK | FAILED, READY | FAILED],
    ['a clear of ACKNOWLEDGE', [READY], READY & ~ACK, READY],
    ['a clear of FEATURES_OK', [READY], ACK | DRIVER, READY],
    ['a clear of DRIVER_OK', [READY | DRIVER_OK], READY, READY | DRIVER_OK],
    ['a clear of FAILED', [ACK, ACK | FAILED], ACK, ACK | FAILED],
    ['DEVICE_NEEDS_RESET from the driver', [READY], READY | NEEDS_RESET, READY],
    ['the bits that no specification up to 1.3 has', [READY], READY | 0x30, READY],
  ])('refuses %s', (_what, before, written, kept) => {
    const activate = vi.fn();
    const { driver } = plug(nullDevice({ activate }));
    driver.acceptFeatures(VERSION_1);
    for (const status of before) driver.write('status', status);
    driver.write('status', written);
    expect(driver.read('status')).toBe(kept);
    expect(activate).toHaveBeenCalledTimes((kept & DRIVER_OK) === 0 ? 0 : 1);
  });

  it('takes no step while the device needs a reset', () => {
    const machine = plug(nullDevice());
    machine.driver.negotiate(VERSION_1);
    machine.driver.setUpQueue(0, machine.queue(0));
    machine.memory.clear();
    machine.driver.addStatus(DRIVER_OK);
    const broken = READY | DRIVER_OK | NEEDS_RESET;
    expect(machine.driver.read('status')).toBe(broken);
    machine.driver.write('queueSelect', 1);
    machine.driver.write('queueEnable', 1);
    expect(machine.driver.read('queueEnable')).toBe(0);
    expect(machine.driver.addStatus(DRIVER_OK)).toBe(broken);
    machine.driver.write('status', 0);
    expect(machine.driver.read('status')).toBe(0);
  });

  it('enables no queue before FEATURES_OK', () => {
    const machine = plug(nullDevice());
    machine.driver.setUpQueue(0, machine.queue(0));
    expect(machine.driver.read('queueEnable')).toBe(0);
    machine.driver.negotiate(VERSION_1);
    machine.driver.setUpQueue(0, machine.queue(0));
    expect(machine.driver.read('queueEnable')).toBe(1);
  });

  it('keeps bits that a write leaves out, and takes neither NEEDS_RESET nor unknown bits', () => {
    const { driver } = plug(nullDevice());
    driver.negotiate();
    driver.write('status', ACK);
    expect(driver.read('status')).toBe(READY);
    driver.write('status', NEEDS_RESET | 0x30);
    expect(driver.read('status')).toBe(READY);
  });

  it('does not start a device whose driver gave up', () => {
    const activate = vi.fn();
    const { driver } = plug(nullDevice({ activate }));
    driver.negotiate();
    driver.addStatus(FAILED);
    expect(driver.addStatus(DRIVER_OK)).toBe(READY | FAILED);
    expect(activate).not.toHaveBeenCalled();
  });

  it('serves no queue before DRIVER_OK, and what waited there then', () => {
    const machine = plug(nullDevice());
    machine.driver.negotiate();
    const queue = machine.queue(0);
    machine.driver.setUpQueue(0, queue);
    queue.add([{ address: machine.buffer(0), length: 4 }]);
    machine.driver.kick(0);
    expect(queue.usedIndex).toBe(0);
    machine.driver.addStatus(DRIVER_OK);
    expect(queue.usedIndex).toBe(1);
  });

  it('asks for a reset, with an interrupt, when a queue’s memory is not there at DRIVER_OK', () => {
    const activate = vi.fn();
    const machine = plug(nullDevice({ activate }), { msix: false });
    machine.driver.negotiate();
    machine.driver.setUpQueue(0, machine.queue(0));
    machine.memory.clear();
    machine.driver.addStatus(DRIVER_OK);
    expect(machine.driver.read('status')).toBe(READY | DRIVER_OK | NEEDS_RESET);
    expect(machine.interrupts).toEqual(['intx on']);
    expect(activate).not.toHaveBeenCalled();
    expect(machine.log).toEqual(['the device needs a reset: queue 0: the descriptor area is not in memory']);
  });

  it('asks for a reset when the driver breaks a ring, and works again after one', () => {
    const machine = plug(nullDevice());
    boot(machine).setAvailIndex(0x4000);
    machine.driver.kick(0);
    expect(machine.driver.read('status')).toBe(READY | DRIVER_OK | NEEDS_RESET);
    const queue = boot(machine);
    expect(machine.driver.read('status')).toBe(READY | DRIVER_OK);
    queue.add([{ address: machine.buffer(0), length: 4 }]);
    machine.driver.kick(0);
    expect(queue.usedIndex).toBe(1);
  });

  it('survives any sequence of status writes without features', () => {
    const { driver } = plug(nullDevice());
    for (let value = 0; value < 256; value++) {
      driver.write('status', value);
      expect(driver.read('status') & (FEATURES_OK | DRIVER_OK | NEEDS_RESET)).toBe(0);
    }
  });
});

describe('reset', () => {
  it('reads 0 at once where the device is done at once, with every register as at power-on', () => {
    const reset = vi.fn();
    const machine = plug(nullDevice({ reset }));
    boot(machine);
    machine.driver.write('status', 0);
    expect(machine.driver.read('status')).toBe(0);
    expect(reset).toHaveBeenCalledTimes(1);
    machine.driver.write('queueSelect', 0);
    expect(machine.driver.read('queueEnable')).toBe(0);
    expect(machine.driver.read('queueDescLow')).toBe(0);
    expect(machine.driver.read('queueSize')).toBe(8);
    expect(machine.driver.read('queueVector')).toBe(0xffff);
    expect(machine.driver.read('configVector')).toBe(0xffff);
    machine.driver.write('driverFeatureSelect', 1);
    expect(machine.driver.read('driverFeature')).toBe(0);
  });

  it('does not bother a device that was never given to its driver', () => {
    const reset = vi.fn();
    const { driver } = plug(nullDevice({ reset }));
    driver.negotiate();
    driver.write('status', 0);
    expect(reset).not.toHaveBeenCalled();
  });

  it('reads as before until the device has let go of guest memory', async () => {
    const { promise, resolve } = later();
    const machine = plug(nullDevice({ reset: () => promise }));
    boot(machine);
    machine.driver.write('status', 0);
    expect(machine.driver.read('status')).toBe(READY | DRIVER_OK);
    await turn();
    expect(machine.driver.read('status')).toBe(READY | DRIVER_OK);
    resolve();
    await turn();
    expect(machine.driver.read('status')).toBe(0);
  });

  it('holds back a driver that does not wait: its device starts, and its queues are served, when the old work is done', async () => {
    const { promise, resolve } = later();
    const activate = vi.fn();
    const machine = plug(nullDevice({ activate, reset: () => promise }));
    boot(machine);
    const queue = boot(machine);
    queue.add([{ address: machine.buffer(0), length: 4 }]);
    machine.driver.kick(0);
    expect(machine.driver.read('status')).toBe(READY | DRIVER_OK);
    expect(activate).toHaveBeenCalledTimes(1);
    expect(queue.usedIndex).toBe(0);
    resolve();
    await turn();
    expect(activate).toHaveBeenCalledTimes(2);
    expect(queue.usedIndex).toBe(1);
  });

  it('starts nothing for a driver that has reset again meanwhile', async () => {
    const { promise, resolve } = later();
    const activate = vi.fn();
    const machine = plug(nullDevice({ activate, reset: () => promise }));
    boot(machine);
    boot(machine);
    machine.driver.write('status', 0);
    resolve();
    await turn();
    expect(activate).toHaveBeenCalledTimes(1);
    expect(machine.driver.read('status')).toBe(0);
  });

  it('is over, and logged, where the device fails at it', async () => {
    const throwing = plug(
      nullDevice({
        reset: () => {
          throw new Error('a bug');
        },
      }),
    );
    boot(throwing);
    throwing.driver.write('status', 0);
    expect(throwing.driver.read('status')).toBe(0);
    const rejecting = plug(nullDevice({ reset: () => Promise.reject(new Error('a bug')) }));
    boot(rejecting);
    rejecting.driver.write('status', 0);
    await turn();
    expect(rejecting.driver.read('status')).toBe(0);
    for (const { log } of [throwing, rejecting])
      expect(log[0]).toMatch(/^the device failed to reset: Error: a bug/);
  });

  it('takes the interrupt of the old driver back', () => {
    const machine = plug(nullDevice(), { msix: false });
    const queue = boot(machine);
    queue.allowInterrupts();
    queue.add([{ address: machine.buffer(0), length: 4 }]);
    machine.driver.kick(0);
    machine.driver.write('status', 0);
    expect(machine.interrupts).toEqual(['intx on', 'intx off']);
  });

  it('lets completions of work from before it vanish (CVE-2024-3446, CVE-2026-45782)', () => {
    const held: [Virtqueue, Chain][] = [];
    const machine = plug(nullDevice({ handleChain: (queue, chain) => void held.push([queue, chain]) }));
    const old = boot(machine);
    old.add([{ address: machine.buffer(0), length: 4, writable: true }]);
    machine.driver.kick(0);
    const fresh = boot(machine);
    const [[queue, chain]] = held;
    queue.push(chain, 4);
    queue.flush();
    expect(fresh.usedIndex).toBe(0);
    expect(machine.interrupts).toEqual([]);
  });
});
