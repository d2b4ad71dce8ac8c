/** What a real driver does, piece by piece, so that cases get somewhere. */
import type { VirtioPciInterface } from '../../../devices/virtio/transport/virtio-pci-layout.js';
import type { MockSplitDriver } from '../../devices/virtio/mock-driver.js';
import { MockPackedDriver } from '../../devices/virtio/mock-packed-driver.js';
import { MockLegacyDriver, PAGE } from '../../devices/virtio/transport/mock-legacy-driver.js';
import {
  NO_VECTOR,
  RAM_ADDRESS,
  Status,
  type Machine,
} from '../../devices/virtio/transport/mock-pci-driver.js';
import type { FuzzedDevice } from './fuzzed-device.js';

/** Each queue's part of RAM. */
export const QUEUE_BYTES = 0x1_0000;
const FEATURES = {
  INDIRECT: 1n << 28n,
  EVENT_IDX: 1n << 29n,
  VERSION_1: 1n << 32n,
  PACKED: 1n << 34n,
  DATA: 3n << 38n,
  RING_RESET: 1n << 40n,
};
const { DRIVER_OK, FEATURES_OK } = Status;

type AnyDriver = MockSplitDriver | MockPackedDriver;

export class FuzzedDriver {
  readonly #machine: Machine;
  readonly #device: FuzzedDevice;
  readonly #layout: VirtioPciInterface;
  readonly #drivers: (AnyDriver | undefined)[] = [];

  constructor(machine: Machine, device: FuzzedDevice, layout: VirtioPciInterface) {
    this.#machine = machine;
    this.#device = device;
    this.#layout = layout;
  }

  negotiate(features: number): void {
    this.#machine.driver.negotiate(featuresOf(features));
  }

  bootModern(index: number, features: number): AnyDriver | undefined {
    const { driver, fn } = this.#machine;
    fn.writeConfig(0x04, 2, 0x0007);
    if ((driver.negotiate(featuresOf(features)) & FEATURES_OK) === 0) return undefined;
    const queue = this.setUpQueue(index, features);
    return (driver.addStatus(DRIVER_OK) & DRIVER_OK) === 0 ? undefined : queue;
  }

  setUpQueue(index: number, features: number): AnyDriver {
    const { driver, fn, ram } = this.#machine;
    const size = Math.min(8, 2 ** Math.floor(Math.log2(this.#device.queueSizes[index])));
    const made = this.#machine.queue(index, size);
    const part = ram.subarray(index * QUEUE_BYTES, (index + 1) * QUEUE_BYTES);
    const place = { ramAddress: RAM_ADDRESS + index * QUEUE_BYTES, size, eventIdx: true };
    const isPacked = (featuresOf(features) & FEATURES.PACKED) !== 0n;
    const side = isPacked ? new MockPackedDriver(part.fill(0), place) : made;
    driver.setUpQueue(index, side as MockSplitDriver, fn.msixVectorCount > 0 ? 1 : NO_VECTOR);
    return (this.#drivers[index] = side);
  }

  bootLegacy(index: number): AnyDriver {
    const { fn } = this.#machine;
    const driver = new MockLegacyDriver(fn);
    driver.begin();
    const size = 2 ** Math.floor(Math.log2(this.#device.queueSizes[index]));
    const side = this.#machine.queue(index, size, PAGE);
    driver.placeQueue(index, side);
    driver.addStatus(DRIVER_OK);
    return (this.#drivers[index] = side);
  }

  resetQueue(index: number): void {
    const { driver } = this.#machine;
    if (this.#layout === 'legacy') return;
    driver.write('queueSelect', index);
    driver.write('queueReset', 1);
  }

  offer(index: number, count: number, kick: number): void {
    const driver = this.#drivers[index];
    for (let i = 0; driver !== undefined && i <= count % 4 && driver.free > 1; i++) {
      const buffers = [{ address: this.#machine.buffer(i), length: 8 }];
      driver.add(i % 2 === 0 ? buffers : [...buffers, { ...buffers[0], writable: true }]);
    }
    if (kick % 4 !== 0) this.kick(index);
  }

  kick(index: number): void {
    const { fn } = this.#machine;
    if (this.#layout === 'legacy' || this.#interfaceIsLegacy) fn.writeBar(0, 16, 2, index);
    else fn.writeBar(4, 0x3000 + 4 * index, 2, index);
    // Where there is one for all of them, it is behind those.
    fn.writeBar(4, 0x3000 + 4 * this.#device.queueSizes.length, 2, index);
    fn.writeBar(4, 0x3000, 2, index);
    fn.afterWrite();
  }

  /** A driver that uses the legacy registers knows no FEATURES_OK. */
  get #interfaceIsLegacy(): boolean {
    return this.#layout === 'transitional' && (this.#machine.fn.readBar(4, 20, 1) & FEATURES_OK) === 0;
  }
}

function featuresOf(choice: number): bigint {
  const { INDIRECT, EVENT_IDX, PACKED, DATA, RING_RESET, VERSION_1 } = FEATURES;
  const bits = [INDIRECT, PACKED, DATA, RING_RESET].filter((_, i) => (choice & (1 << i)) !== 0);
  return bits.reduce((all, bit) => all | bit, VERSION_1 | EVENT_IDX);
}
