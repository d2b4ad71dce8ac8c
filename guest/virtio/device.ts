/**
 * A virtio device with its queues and interrupts: brings it up, collects completions, and fails what is under way when it breaks
 * or goes. A device's driver builds on it and knows no PCI.
 */
import { errnoNumber, GuestError } from '../errors.js';
import { unusable, type GuestPciFunction } from '../pci/function.js';
import type { DriverServices } from '../pci/driver.js';
import { MsixVectors } from '../pci/msix.js';
import { PackedDriverQueue } from './packed-queue.js';
import type { DriverQueue, DriverQueueOptions } from './queue.js';
import { DeviceStatus, Feature, IsrStatus } from './registers.js';
import { SplitDriverQueue } from './split-queue.js';
import { VirtioTransport } from './transport.js';

/** Rings need not be larger for what a guest in this process has in flight. */
const MAX_QUEUE_SIZE = 256;

/** What the guest uses of what devices offer: all of it, unless a test or benchmark wants to be another kernel. */
export interface VirtioOptions {
  /** Interrupt by MSI-X where the function has it; default true. */
  readonly msix?: boolean;
  /** Negotiate VIRTIO_F_INDIRECT_DESC; default true. */
  readonly indirect?: boolean;
  /** Negotiate VIRTIO_F_EVENT_IDX; default true. */
  readonly eventIndex?: boolean;
  /** Negotiate VIRTIO_F_RING_PACKED, so that rings are packed where the device offers that; default true. */
  readonly packed?: boolean;
}

export interface VirtioDriverEvents {
  /** The device's config space changed. */
  configChanged?(): void;
  /** The device broke its rules or asked for a reset: what is under way fails with EIO as soon as it was reset. */
  failed?(): void;
}

export class GuestVirtioDevice {
  readonly transport: VirtioTransport;
  readonly #services: DriverServices;
  readonly #options: VirtioOptions;
  readonly #events: VirtioDriverEvents;
  readonly #queues: DriverQueue[] = [];
  #features = 0n;
  #msix: MsixVectors | undefined;
  #failed = false;
  readonly #onIntx = () => this.#handleIntx();

  private constructor(
    fn: GuestPciFunction,
    services: DriverServices,
    options: VirtioOptions,
    events: VirtioDriverEvents,
  ) {
    this.transport = new VirtioTransport(fn);
    this.#services = services;
    this.#options = options;
    this.#events = events;
  }

  /**
   * Brings a device up with `queueCount` queues. `deviceFeatures` are the device-specific ones that the driver wants.
   * Rejects with a GuestError where that cannot be; the device is reset then and holds nothing.
   */
  static async open(
    fn: GuestPciFunction,
    services: DriverServices,
    setup: {
      deviceFeatures: bigint;
      queueCount: number;
      options: VirtioOptions;
      events?: VirtioDriverEvents;
    },
  ): Promise<GuestVirtioDevice> {
    const device = new GuestVirtioDevice(fn, services, setup.options, setup.events ?? {});
    await device.#start(setup.deviceFeatures, setup.queueCount);
    return device;
  }

  get features(): bigint {
    return this.#features;
  }

  get queues(): readonly DriverQueue[] {
    return this.#queues;
  }

  /** True once the device broke its rules, asked for a reset, or went: requests fail from then on. */
  get failed(): boolean {
    return this.#failed;
  }

  /** Resets the device and fails everything under way with errno `code`. With `gone` it is not touched: it is not there. */
  async close(code: string, gone: boolean): Promise<void> {
    this.#failed = true;
    if (!gone) await this.#resetQuietly();
    if (gone) this.#msix?.release();
    else this.#msix?.disable();
    this.#services.interrupts.removeIntx(this.#onIntx);
    for (const queue of this.#queues) {
      queue.abort(errnoNumber(code));
      queue.close();
    }
    this.#queues.length = 0;
  }

  async #start(deviceFeatures: bigint, queueCount: number): Promise<void> {
    this.#features = await this.transport.negotiate(deviceFeatures | this.#transportFeatures());
    try {
      if (this.transport.queueCount < queueCount) throw unusable(this.transport.fn, 'queues are missing');
      for (let index = 0; index < queueCount; index++) this.#queues.push(this.#createQueue(index));
      this.#connectInterrupts();
      for (const queue of this.#queues) this.transport.enableQueue(queue.index, queue.size, queue.addresses);
      this.transport.addStatus(DeviceStatus.DRIVER_OK);
      if (this.transport.isGone) throw unusable(this.transport.fn, 'the device is gone');
    } catch (error) {
      this.transport.addStatus(DeviceStatus.FAILED);
      await this.close('ENODEV', false);
      throw error;
    }
  }

  #transportFeatures(): bigint {
    const { indirect = true, eventIndex = true, packed = true } = this.#options;
    return (
      Feature.VIRTIO_F_VERSION_1 |
      // There is no IOMMU in this machine: bus addresses are physical ones, and the feature costs nothing.
      Feature.VIRTIO_F_ACCESS_PLATFORM |
      (indirect ? Feature.VIRTIO_F_INDIRECT_DESC : 0n) |
      (eventIndex ? Feature.VIRTIO_F_EVENT_IDX : 0n) |
      (packed ? Feature.VIRTIO_F_RING_PACKED : 0n)
    );
  }

  #createQueue(index: number): DriverQueue {
    const maxSize = Math.min(this.transport.queueMaxSize(index), MAX_QUEUE_SIZE);
    if (maxSize === 0) throw unusable(this.transport.fn, `queue ${index} does not exist`);
    const packed = (this.#features & Feature.VIRTIO_F_RING_PACKED) !== 0n;
    const options: DriverQueueOptions = {
      index,
      // A split ring's size is a power of two: a device that says otherwise gets the next smaller one.
      size: packed ? maxSize : 2 ** Math.floor(Math.log2(maxSize)),
      indirect: (this.#features & Feature.VIRTIO_F_INDIRECT_DESC) !== 0n,
      eventIndex: (this.#features & Feature.VIRTIO_F_EVENT_IDX) !== 0n,
      notify: this.transport.doorbell(index),
    };
    const { ram } = this.#services;
    return packed ? new PackedDriverQueue(ram, options) : new SplitDriverQueue(ram, options);
  }

  /** A vector each where the table is large enough, else shared ones, else the pin. */
  #connectInterrupts(): void {
    const { fn } = this.transport;
    const msix = this.#options.msix === false ? undefined : MsixVectors.find(fn, this.#services.interrupts);
    if (msix !== undefined) {
      this.#msix = msix;
      const count = this.#queues.length;
      if (msix.tableSize > count) {
        msix.enable([() => this.#onConfig(), ...this.#queues.map((queue) => () => this.#collect(queue))]);
      } else {
        msix.enable([() => this.#onShared()]);
      }
      const vectors = this.#queues.map((_, index) => (msix.tableSize > count ? index + 1 : 0));
      if (this.transport.setVectors(0, vectors)) return;
      msix.disable();
      this.#msix = undefined;
    }
    this.#services.interrupts.addIntx(this.#onIntx);
  }

  #onShared(): void {
    for (const queue of this.#queues) this.#collect(queue);
    this.#onConfig();
  }

  #handleIntx(): boolean {
    const isr = this.transport.readIsr();
    // All ones is a function that was pulled out and cannot have asked.
    if (isr === 0 || isr === 0xff) return false;
    if ((isr & IsrStatus.QUEUE) !== 0) for (const queue of this.#queues) this.#collect(queue);
    if ((isr & IsrStatus.CONFIG) !== 0) this.#onConfig();
    return true;
  }

  #onConfig(): void {
    if (this.#failed) return;
    if ((this.transport.status & DeviceStatus.DEVICE_NEEDS_RESET) !== 0) this.#fail();
    else this.#events.configChanged?.();
  }

  #collect(queue: DriverQueue): void {
    if (!this.#failed && !queue.collect()) this.#fail();
  }

  /** The device cannot be trusted with buffers any more: resets it, and only then fails what it held. */
  #fail(): void {
    this.#failed = true;
    this.#events.failed?.();
    void this.#resetQuietly().then(() => {
      for (const queue of this.#queues) queue.abort(errnoNumber('EIO'));
    });
  }

  /** A device that does not even reset gets no bus mastering any more, which takes its hands off memory as well. */
  async #resetQuietly(): Promise<void> {
    try {
      await this.transport.reset();
    } catch (error) {
      if (!(error instanceof GuestError)) throw error;
      this.transport.fn.disableBusMaster();
    }
  }
}
