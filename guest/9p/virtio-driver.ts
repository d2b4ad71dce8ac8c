/** The driver of virtio-9p devices: finds the tag, and lends the device to one mount at a time. */
import { GuestError } from '../errors.js';
import { BufferPool } from '../memory/buffer-pool.js';
import type { DriverServices, PciBinding, PciDriver } from '../pci/driver.js';
import type { GuestPciFunction } from '../pci/function.js';
import { GuestVirtioDevice, type VirtioOptions } from '../virtio/device.js';
import { virtioDeviceId } from '../virtio/device-id.js';
import type { VirtioTransport } from '../virtio/transport.js';
import { Mount, type MountOptions } from './mount.js';
import { VirtioTransport9p } from './virtio-transport.js';

/** Virtio device id of a 9p transport, and its feature "the config space has a tag" (virtio's 9p device section). */
const VIRTIO_ID_9P = 9;
const VIRTIO_9P_MOUNT_TAG = 1n << 0n;

/** No message is larger, whatever is asked for. */
const MAX_MESSAGE_BYTES = 1 << 20;
/** Part of the guest's RAM that one message may take: a request, its reply and their rounding have to fit. */
const MAX_MESSAGE_RAM_SHARE = 8;

export class Virtio9pBinding implements PciBinding {
  readonly tag: string;
  readonly #fn: GuestPciFunction;
  readonly #services: DriverServices;
  readonly #options: VirtioOptions;
  #device: GuestVirtioDevice;
  #transport: VirtioTransport9p | undefined;
  #mounted = false;
  #removed = false;

  private constructor(
    fn: GuestPciFunction,
    services: DriverServices,
    options: VirtioOptions,
    device: GuestVirtioDevice,
  ) {
    this.#fn = fn;
    this.#services = services;
    this.#options = options;
    this.#device = device;
    this.tag = readTag(device.transport);
  }

  static async probe(
    fn: GuestPciFunction,
    services: DriverServices,
    options: VirtioOptions,
  ): Promise<Virtio9pBinding> {
    let binding: Virtio9pBinding | undefined;
    const failed = () => binding?.deviceFailed();
    const device = await openDevice(fn, services, options, failed);
    try {
      binding = new Virtio9pBinding(fn, services, options, device);
      return binding;
    } catch (error) {
      await device.close('ENODEV', false);
      throw error;
    }
  }

  get inUse(): boolean {
    return this.#mounted;
  }

  /** Mounts the device's file system. `onUnmount` runs once it is no longer in use. Rejects with EBUSY while it is. */
  async mount(options: MountOptions, onUnmount: () => void): Promise<Mount> {
    if (this.#mounted) throw new GuestError('EBUSY', { syscall: 'mount', path: this.tag });
    this.#mounted = true;
    const pool = new BufferPool(this.#services.ram);
    const release = async () => {
      this.#mounted = false;
      this.#transport = undefined;
      pool.close();
      onUnmount();
    };
    try {
      await this.#reopenIfFailed();
      const { ram } = this.#services;
      const limit = Math.min(MAX_MESSAGE_BYTES, Math.floor(ram.sizeBytes / MAX_MESSAGE_RAM_SHARE));
      const device = this.#device;
      this.#transport = new VirtioTransport9p(device.queues[0], pool, limit, () =>
        device.close('EIO', false),
      );
      return await Mount.connect(this.#transport, options, release);
    } catch (error) {
      await release();
      throw error instanceof GuestError ? error.at('mount', this.tag) : error;
    }
  }

  async remove(gone: boolean): Promise<void> {
    this.#removed = true;
    this.#transport?.fail('ENODEV');
    await this.#device.close('ENODEV', gone);
  }

  /** The device broke: the next mount brings it up anew. */
  deviceFailed(): void {
    this.#transport?.fail('EIO');
  }

  async #reopenIfFailed(): Promise<void> {
    if (this.#device.failed && !this.#removed) {
      // Frees what a device that broke by itself still has: rings, messages, vectors.
      await this.#device.close('EIO', false);
      this.#device = await openDevice(this.#fn, this.#services, this.#options, () => this.deviceFailed());
      if (this.#removed) await this.#device.close('ENODEV', true);
    }
    if (this.#removed) throw new GuestError('ENODEV', { syscall: 'mount' });
  }
}

/** A PCI driver for the guest's bus. */
export function virtio9pDriver(options: VirtioOptions): PciDriver {
  return {
    name: 'virtio-9p',
    matches: (fn) => virtioDeviceId(fn) === VIRTIO_ID_9P,
    probe: (fn, services) => Virtio9pBinding.probe(fn, services, options),
  };
}

function openDevice(
  fn: GuestPciFunction,
  services: DriverServices,
  options: VirtioOptions,
  failed: () => void,
): Promise<GuestVirtioDevice> {
  return GuestVirtioDevice.open(fn, services, {
    deviceFeatures: VIRTIO_9P_MOUNT_TAG,
    queueCount: 1,
    options,
    events: { failed },
  });
}

/** virtio_9p_config: tag_len[2] tag[tag_len]. A length beyond the config space is cut. */
function readTag(transport: VirtioTransport): string {
  const bytes = transport.readDeviceConfig((byteAt) => {
    const length = Math.min(byteAt(0) | (byteAt(1) << 8), Math.max(0, transport.deviceConfigLength - 2));
    return Uint8Array.from({ length }, (_, i) => byteAt(2 + i));
  });
  return new TextDecoder().decode(bytes);
}
