/** A modern virtio device over PCI: registers, features, status and queues (virtio 1.3, sections 3.1 and 4.1). */
import { GuestError } from '../errors.js';
import { unusable, type GuestPciFunction } from '../pci/function.js';
import { findRegisters, type VirtioRegisters } from './capabilities.js';
import type { RingAddresses } from './queue.js';
import { CommonConfig, DeviceStatus, Feature, VIRTIO_MSI_NO_VECTOR } from './registers.js';

/** A reset is over once the status reads 0; a device that takes longer than this many milliseconds is given up on. */
const RESET_TIMEOUT_MS = 1000;
/** A device that changes its config space faster than it can be read is not waited for any longer. */
const MAX_CONFIG_READS = 100;
/** Reads of a function that is gone. */
const STATUS_ABSENT = 0xff;

export class VirtioTransport {
  readonly fn: GuestPciFunction;
  readonly #registers: VirtioRegisters;
  readonly #common: number;

  /** Throws a GuestError ENODEV where the function is not a modern virtio device. */
  constructor(fn: GuestPciFunction) {
    this.fn = fn;
    this.#registers = findRegisters(fn);
    this.#common = this.#registers.common.address;
  }

  get status(): number {
    return this.#read(CommonConfig.DEVICE_STATUS, 1);
  }

  /** True where nothing answers any more: a status with every bit set cannot be. */
  get isGone(): boolean {
    return this.status === STATUS_ABSENT;
  }

  addStatus(bits: number): void {
    this.#write(CommonConfig.DEVICE_STATUS, 1, this.status | bits);
  }

  /** Resets the device and waits until it is done: from then on it touches no memory. Rejects with ENODEV or ETIMEDOUT. */
  async reset(): Promise<void> {
    this.#write(CommonConfig.DEVICE_STATUS, 1, 0);
    for (let waitedMs = 0; this.status !== 0; waitedMs++) {
      if (this.isGone) throw unusable(this.fn, 'the device is gone');
      if (waitedMs >= RESET_TIMEOUT_MS)
        throw new GuestError('ETIMEDOUT', { syscall: 'reset', path: this.fn.name });
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
  }

  /** Resets, then agrees on features: those offered out of `wanted`. Throws where the device does not take them. */
  async negotiate(wanted: bigint): Promise<bigint> {
    await this.reset();
    this.addStatus(DeviceStatus.ACKNOWLEDGE);
    this.addStatus(DeviceStatus.DRIVER);
    const features = this.#offeredFeatures() & wanted;
    if ((features & Feature.VIRTIO_F_VERSION_1) === 0n) {
      this.addStatus(DeviceStatus.FAILED);
      throw unusable(this.fn, 'the device offers no VIRTIO_F_VERSION_1');
    }
    for (let half = 0; half < 2; half++) {
      this.#write(CommonConfig.DRIVER_FEATURE_SELECT, 4, half);
      this.#write(CommonConfig.DRIVER_FEATURE, 4, Number((features >> BigInt(32 * half)) & 0xffff_ffffn));
    }
    this.addStatus(DeviceStatus.FEATURES_OK);
    if ((this.status & DeviceStatus.FEATURES_OK) === 0) {
      this.addStatus(DeviceStatus.FAILED);
      throw unusable(this.fn, 'the device refuses the features');
    }
    return features;
  }

  get queueCount(): number {
    return this.#read(CommonConfig.NUM_QUEUES, 2);
  }

  /** The largest size of a queue; 0 where it does not exist. */
  queueMaxSize(queue: number): number {
    this.#write(CommonConfig.QUEUE_SELECT, 2, queue);
    return this.#read(CommonConfig.QUEUE_SIZE, 2);
  }

  /** Tells the device where a queue is and enables it. */
  enableQueue(queue: number, size: number, addresses: RingAddresses): void {
    this.#write(CommonConfig.QUEUE_SELECT, 2, queue);
    this.#write(CommonConfig.QUEUE_SIZE, 2, size);
    this.#writeAddress(CommonConfig.QUEUE_DESC, addresses.descriptorArea);
    this.#writeAddress(CommonConfig.QUEUE_DRIVER, addresses.driverArea);
    this.#writeAddress(CommonConfig.QUEUE_DEVICE, addresses.deviceArea);
    this.#write(CommonConfig.QUEUE_ENABLE, 2, 1);
  }

  /** What rings a queue's doorbell (4.1.4.4). Throws where its address lies outside the notification structure. */
  doorbell(queue: number): () => void {
    this.#write(CommonConfig.QUEUE_SELECT, 2, queue);
    const { notify, notifyOffMultiplier } = this.#registers;
    const offset = this.#read(CommonConfig.QUEUE_NOTIFY_OFF, 2) * notifyOffMultiplier;
    if (offset + 2 > notify.lengthBytes) throw unusable(this.fn, `queue ${queue} has no doorbell`);
    const address = notify.address + offset;
    return () => this.fn.writeMemory(address, 2, queue);
  }

  /** Assigns MSI-X table entries; false where the device has no resources for them. */
  setVectors(config: number, queues: readonly number[]): boolean {
    this.#write(CommonConfig.CONFIG_MSIX_VECTOR, 2, config);
    if (this.#read(CommonConfig.CONFIG_MSIX_VECTOR, 2) === VIRTIO_MSI_NO_VECTOR) return false;
    for (const [queue, vector] of queues.entries()) {
      this.#write(CommonConfig.QUEUE_SELECT, 2, queue);
      this.#write(CommonConfig.QUEUE_MSIX_VECTOR, 2, vector);
      if (this.#read(CommonConfig.QUEUE_MSIX_VECTOR, 2) === VIRTIO_MSI_NO_VECTOR) return false;
    }
    return true;
  }

  /** Reads and thereby clears the ISR status, which lowers the pin. */
  readIsr(): number {
    return this.fn.readMemory(this.#registers.isr.address, 1);
  }

  /**
   * The device's config space from `offset` on, as of one moment (2.5.1): `decode` may be called again where it changed
   * meanwhile. It reads bytes; those beyond the space are 0.
   */
  readDeviceConfig<T>(decode: (byteAt: (offset: number) => number) => T): T {
    const { device } = this.#registers;
    const byteAt = (offset: number) =>
      device !== undefined && offset < device.lengthBytes
        ? this.fn.readMemory(device.address + offset, 1)
        : 0;
    for (let reads = 0; reads < MAX_CONFIG_READS; reads++) {
      const generation = this.#read(CommonConfig.CONFIG_GENERATION, 1);
      const value = decode(byteAt);
      if (this.#read(CommonConfig.CONFIG_GENERATION, 1) === generation) return value;
    }
    throw unusable(this.fn, 'the config space never settles');
  }

  /** Bytes of device-specific config space. */
  get deviceConfigLength(): number {
    return this.#registers.device?.lengthBytes ?? 0;
  }

  #offeredFeatures(): bigint {
    let features = 0n;
    for (let half = 0; half < 2; half++) {
      this.#write(CommonConfig.DEVICE_FEATURE_SELECT, 4, half);
      features |= BigInt(this.#read(CommonConfig.DEVICE_FEATURE, 4)) << BigInt(32 * half);
    }
    return features;
  }

  #read(offset: number, width: 1 | 2 | 4): number {
    return this.fn.readMemory(this.#common + offset, width);
  }

  #write(offset: number, width: 1 | 2 | 4, value: number): void {
    this.fn.writeMemory(this.#common + offset, width, value);
  }

  #writeAddress(offset: number, address: number): void {
    this.#write(offset, 4, address % 2 ** 32);
    this.#write(offset + 4, 4, Math.floor(address / 2 ** 32));
  }
}
