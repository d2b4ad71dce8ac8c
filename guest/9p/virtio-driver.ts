/**
 * The driver of virtio-9p devices: finds the tags, and lends queues to mounts. The plain device has one of each; the multiplexing one
 * (docs/9p-multiplexing.md) has a mount on every queue, which come and go.
 */
import { GuestError } from '../errors.js';
import type { GuestRam } from '../memory/ram.js';
import type { DriverServices, PciBinding, PciDriver } from '../pci/driver.js';
import { unusable, type GuestPciFunction } from '../pci/function.js';
import { hasVirtioCapabilities, queueCountOf } from '../virtio/capabilities.js';
import { GuestVirtioDevice, type VirtioOptions } from '../virtio/device.js';
import { virtioDeviceId } from '../virtio/device-id.js';
import type { DriverQueue } from '../virtio/queue.js';
import type { VirtioTransport } from '../virtio/transport.js';
import { Channel, type ChannelDevice } from './channel.js';
import { readChanges, readQueueMount } from './mux-registers.js';

/** Virtio device id of a 9p transport, and its features: the config space has a tag, and one for each queue. */
const VIRTIO_ID_9P = 9;
const VIRTIO_9P_MOUNT_TAG = 1n << 0n;
const VIRTIO_9P_F_MULTIPLEX = 1n << 23n;

/** Further queues of a device are not used: their rings would take too much of the guest's RAM. */
const MAX_QUEUES = 512;
/** What the one queue of a plain device serves does not change while its driver is at work. */
const ONLY_SERIAL = 0;

export interface TagChange {
  readonly added: readonly string[];
  readonly removed: readonly string[];
}

export interface Virtio9pEvents {
  /** A device that is known already serves others now. */
  tagsChanged?(change: TagChange): void;
}

export class Virtio9pBinding implements PciBinding, ChannelDevice {
  readonly channels: readonly Channel[];
  readonly #fn: GuestPciFunction;
  readonly #services: DriverServices;
  readonly #options: VirtioOptions;
  readonly #events: Virtio9pEvents;
  #device: GuestVirtioDevice;
  #changes = 0;
  #removed = false;

  private constructor(
    fn: GuestPciFunction,
    services: DriverServices,
    options: VirtioOptions,
    events: Virtio9pEvents,
    device: GuestVirtioDevice,
  ) {
    this.#fn = fn;
    this.#services = services;
    this.#options = options;
    this.#events = events;
    this.#device = device;
    this.channels = device.queues.map(({ index }) => new Channel(index, this));
    this.#readAll();
  }

  static async probe(
    fn: GuestPciFunction,
    services: DriverServices,
    options: VirtioOptions,
    events: Virtio9pEvents,
  ): Promise<Virtio9pBinding> {
    let binding: Virtio9pBinding | undefined;
    const device = await openDevice(fn, services, options, {
      failed: () => binding?.deviceFailed(),
      configChanged: () => binding?.configChanged(),
    });
    try {
      binding = new Virtio9pBinding(fn, services, options, events, device);
      return binding;
    } catch (error) {
      await device.close('ENODEV', false);
      throw error;
    }
  }

  get ram(): GuestRam {
    return this.#services.ram;
  }

  get inUse(): boolean {
    return this.channels.some(({ inUse }) => inUse);
  }

  /** Tags of what can be mounted, in order of queues. */
  get tags(): string[] {
    return this.channels.flatMap(({ tag }) => tag ?? []);
  }

  async openQueue(index: number, mustBeFresh: boolean): Promise<DriverQueue> {
    if (this.#device.failed && !this.#removed) await this.#reopen();
    else if (mustBeFresh && this.#isMultiplexed) await this.closeQueue(index);
    const queue = this.#device.queues.at(index);
    if (this.#removed || queue === undefined) throw new GuestError('ENODEV', { syscall: 'mount' });
    return queue;
  }

  /** A queue of several alone, so that the others go on; else the device. */
  async closeQueue(index: number): Promise<void> {
    try {
      if (this.#isMultiplexed && !this.#device.failed) return await this.#device.resetQueue(index);
    } catch (error) {
      if (!(error instanceof GuestError)) throw error;
    }
    this.deviceFailed();
    await this.#device.close('EIO', false);
  }

  async remove(gone: boolean): Promise<void> {
    this.#removed = true;
    for (const channel of this.channels) channel.fail('ENODEV');
    await this.#device.close('ENODEV', gone);
  }

  /** The device broke: the next mount brings it up anew. */
  deviceFailed(): void {
    for (const channel of this.channels) channel.fail('EIO');
  }

  /** Mounts came or went. One that did is named; more of them have every queue looked at. */
  configChanged(): void {
    if (!this.#isMultiplexed || this.#removed) return;
    const before = new Set(this.tags);
    try {
      this.#readChanged();
    } catch (error) {
      if (!(error instanceof GuestError)) throw error;
      void this.#device.close('EIO', false);
      this.deviceFailed();
      return;
    }
    const after = new Set(this.tags);
    const added = [...after].filter((tag) => !before.has(tag));
    const removed = [...before].filter((tag) => !after.has(tag));
    if (added.length + removed.length > 0) this.#events.tagsChanged?.({ added, removed });
  }

  get #isMultiplexed(): boolean {
    return (this.#device.features & VIRTIO_9P_F_MULTIPLEX) !== 0n;
  }

  #readChanged(): void {
    const { count, lastQueue } = readChanges(this.#device.transport);
    if (count === this.#changes) return;
    const channel = count === (this.#changes + 1) >>> 0 ? this.channels.at(lastQueue) : undefined;
    if (channel === undefined) return this.#readAll();
    this.#changes = count;
    channel.setServed(readQueueMount(this.#device.transport, lastQueue));
  }

  /** The count first: what changes meanwhile is looked at once more. */
  #readAll(): void {
    const { transport } = this.#device;
    if (!this.#isMultiplexed) {
      this.channels.at(0)?.setServed({ tag: readTag(transport), serial: ONLY_SERIAL });
      return;
    }
    this.#changes = readChanges(transport).count;
    for (const channel of this.channels) channel.setServed(readQueueMount(transport, channel.index));
  }

  async #reopen(): Promise<void> {
    // Frees what a device that broke by itself still has: rings, messages, vectors.
    await this.#device.close('EIO', false);
    this.#device = await openDevice(this.#fn, this.#services, this.#options, {
      failed: () => this.deviceFailed(),
      configChanged: () => this.configChanged(),
    });
    if (this.#removed) await this.#device.close('ENODEV', true);
    else this.#readAll();
  }
}

/** A PCI driver for the guest's bus. */
export function virtio9pDriver(options: VirtioOptions, events: Virtio9pEvents = {}): PciDriver {
  return {
    name: 'virtio-9p',
    matches: (fn) => virtioDeviceId(fn) === VIRTIO_ID_9P,
    probe: (fn, services) => Virtio9pBinding.probe(fn, services, options, events),
  };
}

async function openDevice(
  fn: GuestPciFunction,
  services: DriverServices,
  options: VirtioOptions,
  events: { failed(): void; configChanged(): void },
): Promise<GuestVirtioDevice> {
  // The legacy registers do not say how many queues there are.
  const knowsQueues = options.registers !== 'legacy' && hasVirtioCapabilities(fn);
  const device = await GuestVirtioDevice.open(fn, services, {
    deviceFeatures: VIRTIO_9P_MOUNT_TAG | (knowsQueues ? VIRTIO_9P_F_MULTIPLEX : 0n),
    queueCount: (features) =>
      (features & VIRTIO_9P_F_MULTIPLEX) === 0n ? 1 : Math.min(queueCountOf(fn), MAX_QUEUES),
    options,
    events,
  });
  if (device.queues.length > 0) return device;
  await device.close('ENODEV', false);
  throw unusable(fn, 'it has no queue');
}

/** virtio_9p_config: tag_len[2] tag[tag_len]. A length beyond the config space is cut. */
function readTag(transport: VirtioTransport): string {
  const bytes = transport.readDeviceConfig((byteAt) => {
    const length = Math.min(byteAt(0) | (byteAt(1) << 8), Math.max(0, transport.deviceConfigLength - 2));
    return Uint8Array.from({ length }, (_, i) => byteAt(2 + i));
  });
  return new TextDecoder().decode(bytes);
}
