import { unusable, type GuestPciFunction } from '../pci/function.js';
import { findRegisters, type NotifyRegisters, type VirtioRegisters } from './capabilities.js';
import type { RingAddresses } from './queue.js';
import { CommonConfig, DeviceStatus, Feature, VIRTIO_MSI_NO_VECTOR, VirtioPciCap } from './registers.js';
import { VirtioTransport, type KickMode, type Notify } from './transport.js';

/** A device that changes its config space faster than it can be read is not waited for any longer. */
const MAX_CONFIG_READS = 100;

/** A device by its modern registers (virtio 1.3, sections 4.1.4.3 to 4.1.4.9). */
export class ModernTransport extends VirtioTransport {
  readonly usedAlignment = 4;
  readonly hasFixedQueueSizes = false;
  readonly #registers: VirtioRegisters;
  readonly #common: number;
  #features = 0n;

  /** Throws a GuestError ENODEV where the function is not a modern virtio device. */
  constructor(fn: GuestPciFunction) {
    super(fn);
    this.#registers = findRegisters(fn);
    this.#common = this.#registers.common.address;
  }

  get status(): number {
    return this.#read(CommonConfig.DEVICE_STATUS, 1);
  }

  protected writeStatus(value: number): void {
    this.#write(CommonConfig.DEVICE_STATUS, 1, value);
  }

  async negotiate(wanted: bigint): Promise<bigint> {
    await this.reset();
    this.addStatus(DeviceStatus.ACKNOWLEDGE);
    this.addStatus(DeviceStatus.DRIVER);
    const features = this.#offeredFeatures() & wanted & ~this.#withoutRegisters();
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
    this.#features = features;
    return features;
  }

  queueMaxSize(queue: number): number {
    this.#select(queue);
    return this.#read(CommonConfig.QUEUE_SIZE, 2);
  }

  enableQueue(queue: number, size: number, addresses: RingAddresses): void {
    this.#select(queue);
    this.#write(CommonConfig.QUEUE_SIZE, 2, size);
    this.#writeAddress(CommonConfig.QUEUE_DESC, addresses.descriptorArea);
    this.#writeAddress(CommonConfig.QUEUE_DRIVER, addresses.driverArea);
    this.#writeAddress(CommonConfig.QUEUE_DEVICE, addresses.deviceArea);
    this.#write(CommonConfig.QUEUE_ENABLE, 2, 1);
    if (this.#read(CommonConfig.QUEUE_ENABLE, 2) !== 1) {
      throw unusable(this.fn, `the device refuses queue ${queue}`);
    }
  }

  async resetQueue(queue: number): Promise<void> {
    this.#select(queue);
    this.#write(CommonConfig.QUEUE_RESET, 2, 1);
    await this.waitUntil('reset', () => {
      // Others select queues while this waits.
      this.#select(queue);
      return this.#read(CommonConfig.QUEUE_RESET, 2) === 0;
    });
  }

  doorbell(queue: number, kick: KickMode): Notify {
    if (kick === 'none') return () => {};
    this.#select(queue);
    const notify = this.#doorbells(kick);
    const offset = this.#read(CommonConfig.QUEUE_NOTIFY_OFF, 2) * notify.offMultiplier;
    const hasData = (this.#features & Feature.VIRTIO_F_NOTIFICATION_DATA) !== 0n;
    const width = hasData ? 4 : 2;
    if (offset + width > notify.lengthBytes) throw unusable(this.fn, `queue ${queue} has no doorbell`);
    const name = this.#notificationName(queue);
    const write =
      kick === 'window'
        ? this.#throughWindow(notify.bar, notify.offset + offset, width)
        : (value: number) => this.fn.writeMemory(notify.address + offset, width, value);
    return hasData ? (next) => write(((next << 16) | name) >>> 0) : () => write(name);
  }

  msixSwitched(): void {
    // Nothing moves.
  }

  setConfigVector(vector: number): boolean {
    this.#write(CommonConfig.CONFIG_MSIX_VECTOR, 2, vector);
    return this.#read(CommonConfig.CONFIG_MSIX_VECTOR, 2) !== VIRTIO_MSI_NO_VECTOR;
  }

  setQueueVector(queue: number, vector: number): boolean {
    this.#select(queue);
    this.#write(CommonConfig.QUEUE_MSIX_VECTOR, 2, vector);
    return this.#read(CommonConfig.QUEUE_MSIX_VECTOR, 2) !== VIRTIO_MSI_NO_VECTOR;
  }

  readIsr(): number {
    return this.fn.readMemory(this.#registers.isr.address, 1);
  }

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

  writeDeviceConfig(offset: number, width: 1 | 2 | 4, value: number): void {
    const { device } = this.#registers;
    if (device === undefined || offset + width > device.lengthBytes) return;
    this.fn.writeMemory(device.address + offset, width, value);
  }

  get deviceConfigLength(): number {
    return this.#registers.device?.lengthBytes ?? 0;
  }

  /** The first structure is the device's favourite; one for the whole device has a multiplier of 0 (4.1.4.4). */
  #doorbells(kick: KickMode): NotifyRegisters {
    const { notify } = this.#registers;
    if (kick !== 'device') return notify[0];
    const shared = notify.find(({ offMultiplier }) => offMultiplier === 0);
    if (shared === undefined) throw unusable(this.fn, 'the device has no doorbell for all its queues');
    return shared;
  }

  /** What a queue is called in notifications of the device (4.1.5.2). */
  #notificationName(queue: number): number {
    if ((this.#features & Feature.VIRTIO_F_NOTIF_CONFIG_DATA) === 0n) return queue;
    return this.#read(CommonConfig.QUEUE_NOTIF_CONFIG_DATA, 2);
  }

  /** Writes by VIRTIO_PCI_CAP_PCI_CFG (4.1.4.9), aimed anew each time: the window is one for the whole function. */
  #throughWindow(bar: number, offset: number, width: 2 | 4): (value: number) => void {
    const { window } = this.#registers;
    if (window === undefined) throw unusable(this.fn, 'the device has no window through config space');
    return (value) => {
      this.fn.writeConfig(window + VirtioPciCap.BAR, 1, bar);
      this.fn.writeConfig(window + VirtioPciCap.OFFSET, 4, offset);
      this.fn.writeConfig(window + VirtioPciCap.LENGTH, 4, width);
      this.fn.writeConfig(window + VirtioPciCap.PCI_CFG_DATA, width, value);
    };
  }

  /** Features that a structure without the newer fields has no room for. */
  #withoutRegisters(): bigint {
    if (this.#registers.common.lengthBytes >= CommonConfig.LENGTH_WITH_QUEUE_RESET) return 0n;
    return Feature.VIRTIO_F_NOTIF_CONFIG_DATA | Feature.VIRTIO_F_RING_RESET;
  }

  #offeredFeatures(): bigint {
    let features = 0n;
    for (let half = 0; half < 2; half++) {
      this.#write(CommonConfig.DEVICE_FEATURE_SELECT, 4, half);
      features |= BigInt(this.#read(CommonConfig.DEVICE_FEATURE, 4)) << BigInt(32 * half);
    }
    return features;
  }

  #select(queue: number): void {
    this.#write(CommonConfig.QUEUE_SELECT, 2, queue);
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
