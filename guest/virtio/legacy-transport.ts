import { unusable, type GuestPciFunction } from '../pci/function.js';
import type { RingAddresses } from './queue.js';
import {
  DeviceStatus,
  Feature,
  LEGACY_BAR,
  LEGACY_QUEUE_ALIGN,
  LegacyRegister,
  VIRTIO_MSI_NO_VECTOR,
} from './registers.js';
import { VirtioTransport, type KickMode, type Notify } from './transport.js';

/** A config space without a generation is read until two reads agree; one that never does is given up on. */
const MAX_CONFIG_READS = 100;
const FEATURES_MASK = 0xffff_ffffn;

/** A device by its legacy registers (virtio 1.3, section 4.1.4.10 and the notes on legacy interfaces). */
export class LegacyTransport extends VirtioTransport {
  readonly usedAlignment = LEGACY_QUEUE_ALIGN;
  readonly hasFixedQueueSizes = true;
  readonly #port: number;
  readonly #sizeBytes: number;
  #configOffset: number = LegacyRegister.CONFIG;

  /** Throws a GuestError ENODEV where the function has no legacy registers, or the machine no ports. */
  constructor(fn: GuestPciFunction) {
    super(fn);
    const ports = fn.ports(LEGACY_BAR);
    if (ports === undefined || ports.sizeBytes < LegacyRegister.CONFIG) {
      throw unusable(fn, 'not a legacy virtio device: BAR 0 has no registers');
    }
    this.#port = ports.port;
    this.#sizeBytes = ports.sizeBytes;
  }

  get status(): number {
    return this.#read(LegacyRegister.DEVICE_STATUS, 1);
  }

  protected writeStatus(value: number): void {
    this.#write(LegacyRegister.DEVICE_STATUS, 1, value);
  }

  /** There is no FEATURES_OK: what is written is taken. */
  async negotiate(wanted: bigint): Promise<bigint> {
    await this.reset();
    this.addStatus(DeviceStatus.ACKNOWLEDGE);
    this.addStatus(DeviceStatus.DRIVER);
    const offered = BigInt(this.#read(LegacyRegister.DEVICE_FEATURES, 4));
    const features = offered & (wanted | Feature.VIRTIO_F_ANY_LAYOUT) & FEATURES_MASK;
    this.#write(LegacyRegister.DRIVER_FEATURES, 4, Number(features));
    return features;
  }

  queueMaxSize(queue: number): number {
    this.#select(queue);
    return this.#read(LegacyRegister.QUEUE_SIZE, 2);
  }

  /** The layout is fixed by the size, so that the first page says it all. */
  enableQueue(queue: number, _size: number, { descriptorArea }: RingAddresses): void {
    this.#select(queue);
    this.#write(LegacyRegister.QUEUE_ADDRESS, 4, descriptorArea / LEGACY_QUEUE_ALIGN);
    if (this.#read(LegacyRegister.QUEUE_ADDRESS, 4) !== descriptorArea / LEGACY_QUEUE_ALIGN) {
      throw unusable(this.fn, `the device refuses queue ${queue}`);
    }
  }

  async resetQueue(): Promise<void> {
    throw unusable(this.fn, 'a legacy device resets its queues together');
  }

  /** There is one way, and none. */
  doorbell(queue: number, kick: KickMode): Notify {
    return kick === 'none' ? () => {} : () => this.#write(LegacyRegister.QUEUE_NOTIFY, 2, queue);
  }

  msixSwitched(enabled: boolean): void {
    this.#configOffset = enabled ? LegacyRegister.CONFIG_WITH_MSIX : LegacyRegister.CONFIG;
  }

  setConfigVector(vector: number): boolean {
    this.#write(LegacyRegister.CONFIG_MSIX_VECTOR, 2, vector);
    return this.#read(LegacyRegister.CONFIG_MSIX_VECTOR, 2) !== VIRTIO_MSI_NO_VECTOR;
  }

  setQueueVector(queue: number, vector: number): boolean {
    this.#select(queue);
    this.#write(LegacyRegister.QUEUE_MSIX_VECTOR, 2, vector);
    return this.#read(LegacyRegister.QUEUE_MSIX_VECTOR, 2) !== VIRTIO_MSI_NO_VECTOR;
  }

  readIsr(): number {
    return this.#read(LegacyRegister.ISR_STATUS, 1);
  }

  readDeviceConfig<T>(decode: (byteAt: (offset: number) => number) => T): T {
    for (let reads = 0; reads < MAX_CONFIG_READS; reads++) {
      const first = this.#readConfigBytes();
      const second = this.#readConfigBytes();
      if (first.every((byte, i) => byte === second[i])) return decode((offset) => first[offset] ?? 0);
    }
    throw unusable(this.fn, 'the config space never settles');
  }

  writeDeviceConfig(offset: number, width: 1 | 2 | 4, value: number): void {
    if (offset + width <= this.deviceConfigLength) this.#write(this.#configOffset + offset, width, value);
  }

  get deviceConfigLength(): number {
    return Math.max(0, this.#sizeBytes - this.#configOffset);
  }

  #readConfigBytes(): Uint8Array {
    return Uint8Array.from({ length: this.deviceConfigLength }, (_, i) =>
      this.#read(this.#configOffset + i, 1),
    );
  }

  #select(queue: number): void {
    this.#write(LegacyRegister.QUEUE_SELECT, 2, queue);
  }

  #read(offset: number, width: 1 | 2 | 4): number {
    return this.fn.readPort(this.#port + offset, width);
  }

  #write(offset: number, width: 1 | 2 | 4, value: number): void {
    this.fn.writePort(this.#port + offset, width, value);
  }
}
