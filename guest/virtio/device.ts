/**
 * A virtio device with its queues and interrupts: brings it up, collects completions, and fails what is under way when it breaks
 * or goes. A device's driver builds on it and knows no PCI.
 */
import { errnoNumber, GuestError } from '../errors.js';
import { unusable, type GuestPciFunction } from '../pci/function.js';
import type { DriverServices } from '../pci/driver.js';
import { MsixVectors } from '../pci/msix.js';
import { hasVirtioCapabilities } from './capabilities.js';
import { LegacyTransport } from './legacy-transport.js';
import { ModernTransport } from './modern-transport.js';
import { PackedDriverQueue } from './packed-queue.js';
import type { DriverQueue, DriverQueueOptions } from './queue.js';
import { DeviceStatus, Feature, IsrStatus } from './registers.js';
import { SplitDriverQueue } from './split-queue.js';
import type { KickMode, VirtioTransport } from './transport.js';

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
  /** Negotiate VIRTIO_F_IN_ORDER, where the device completes requests in their order; default true. */
  readonly inOrder?: boolean;
  /** Negotiate VIRTIO_F_NOTIFICATION_DATA, so that notifications say how far the driver has come; default true. */
  readonly notificationData?: boolean;
  /** How devices are told of what is in their queues; default 'queue'. Legacy devices know 'queue' and 'none' alone. */
  readonly kick?: KickMode;
  /** Which registers devices are driven by; by default modern ones where they have them. */
  readonly registers?: 'modern' | 'legacy';
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
  /** Their entries in the MSI-X table; none where the pin is used. */
  #queueVectors: readonly number[] = [];
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
    this.transport = openTransport(fn, options);
    this.#services = services;
    this.#options = options;
    this.#events = events;
  }

  /**
   * Brings a device up with `queueCount` queues, which may depend on what was agreed on. `deviceFeatures` are the device-specific
   * features that the driver wants.
   * Rejects with a GuestError where that cannot be; the device is reset then and holds nothing.
   */
  static async open(
    fn: GuestPciFunction,
    services: DriverServices,
    setup: {
      deviceFeatures: bigint;
      queueCount: number | ((features: bigint) => number);
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

  /**
   * Takes a queue back from the device and starts it afresh, while the others go on: `queues` holds another one then. What was
   * under way in it fails with EIO. Rejects where VIRTIO_F_RING_RESET was not agreed on.
   */
  async resetQueue(index: number): Promise<void> {
    if ((this.#features & Feature.VIRTIO_F_RING_RESET) === 0n) {
      throw unusable(this.transport.fn, 'the device cannot reset one queue');
    }
    const old = this.#queues[index];
    await this.transport.resetQueue(index);
    if (this.#queues[index] !== old) return;
    old.abort(errnoNumber('EIO'));
    old.close();
    const queue = this.#createQueue(index);
    this.#queues[index] = queue;
    const vector = this.#queueVectors.at(index);
    if (vector !== undefined) this.transport.setQueueVector(index, vector);
    this.transport.enableQueue(index, queue.size, queue.addresses);
  }

  async #start(deviceFeatures: bigint, queues: number | ((features: bigint) => number)): Promise<void> {
    this.#features = await this.transport.negotiate(deviceFeatures | this.#transportFeatures());
    try {
      const queueCount = typeof queues === 'number' ? queues : queues(this.#features);
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
    const { inOrder = true, notificationData = true } = this.#options;
    return (
      Feature.VIRTIO_F_VERSION_1 |
      // There is no IOMMU in this machine: bus addresses are physical ones, and the feature costs nothing.
      Feature.VIRTIO_F_ACCESS_PLATFORM |
      Feature.VIRTIO_F_NOTIF_CONFIG_DATA |
      Feature.VIRTIO_F_RING_RESET |
      (indirect ? Feature.VIRTIO_F_INDIRECT_DESC : 0n) |
      (eventIndex ? Feature.VIRTIO_F_EVENT_IDX : 0n) |
      (packed ? Feature.VIRTIO_F_RING_PACKED : 0n) |
      (inOrder ? Feature.VIRTIO_F_IN_ORDER : 0n) |
      (notificationData ? Feature.VIRTIO_F_NOTIFICATION_DATA : 0n)
    );
  }

  #createQueue(index: number): DriverQueue {
    const { transport } = this;
    const maxSize = transport.queueMaxSize(index);
    if (maxSize === 0) throw unusable(transport.fn, `queue ${index} does not exist`);
    const packed = (this.#features & Feature.VIRTIO_F_RING_PACKED) !== 0n;
    const options: DriverQueueOptions = {
      index,
      size: transport.hasFixedQueueSizes ? maxSize : chooseSize(maxSize, packed),
      usedAlignment: transport.usedAlignment,
      indirect: (this.#features & Feature.VIRTIO_F_INDIRECT_DESC) !== 0n,
      eventIndex: (this.#features & Feature.VIRTIO_F_EVENT_IDX) !== 0n,
      inOrder: (this.#features & Feature.VIRTIO_F_IN_ORDER) !== 0n,
      notify: transport.doorbell(index, this.#options.kick ?? 'queue'),
    };
    const { ram } = this.#services;
    return packed ? new PackedDriverQueue(ram, options) : new SplitDriverQueue(ram, options);
  }

  /** By messages in as many ways as the device may have resources for, else by the pin. */
  #connectInterrupts(): void {
    const { fn } = this.transport;
    const msix = this.#options.msix === false ? undefined : MsixVectors.find(fn, this.#services.interrupts);
    if (msix !== undefined) {
      this.#msix = msix;
      if (this.#connectMessages(msix)) return;
      this.#msix = undefined;
    }
    this.#services.interrupts.addIntx(this.#onIntx);
  }

  /** A vector for config changes and one a queue, two of which one is all queues', or one for everything (4.1.5.1.2.2). */
  #connectMessages(msix: MsixVectors): boolean {
    const onConfig = () => this.#onConfig();
    const perQueue = this.#queues.map((_, index) => () => this.#collect(this.#queues[index]));
    const plans = [
      { handlers: [onConfig, ...perQueue], vectorOf: (queue: number) => queue + 1 },
      { handlers: [onConfig, () => this.#collectAll()], vectorOf: () => 1 },
      { handlers: [() => this.#onShared()], vectorOf: () => 0 },
    ];
    return plans.some(({ handlers, vectorOf }) => {
      if (handlers.length > msix.tableSize) return false;
      msix.enable(handlers);
      this.transport.msixSwitched(true);
      this.#queueVectors = this.#queues.map((_, index) => vectorOf(index));
      if (this.#mapVectors()) return true;
      msix.disable();
      this.transport.msixSwitched(false);
      this.#queueVectors = [];
      return false;
    });
  }

  #mapVectors(): boolean {
    const { transport } = this;
    if (!transport.setConfigVector(0)) return false;
    return this.#queueVectors.every((vector, queue) => transport.setQueueVector(queue, vector));
  }

  #onShared(): void {
    this.#collectAll();
    this.#onConfig();
  }

  #collectAll(): void {
    for (const queue of this.#queues) this.#collect(queue);
  }

  #handleIntx(): boolean {
    const isr = this.transport.readIsr();
    // All ones is a function that was pulled out and cannot have asked.
    if (isr === 0 || isr === 0xff) return false;
    if ((isr & IsrStatus.QUEUE) !== 0) this.#collectAll();
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

function openTransport(fn: GuestPciFunction, { registers }: VirtioOptions): VirtioTransport {
  const modern = registers === undefined ? hasVirtioCapabilities(fn) : registers === 'modern';
  return modern ? new ModernTransport(fn) : new LegacyTransport(fn);
}

/** A split ring's size is a power of two: a device that says otherwise gets the next smaller one. */
function chooseSize(maxSize: number, packed: boolean): number {
  const size = Math.min(maxSize, MAX_QUEUE_SIZE);
  return packed ? size : 2 ** Math.floor(Math.log2(size));
}
