/** The driver of virtio block devices: finds out what the disk is, and lends it to one user at a time. */
import { GuestError } from '../errors.js';
import { BufferPool } from '../memory/buffer-pool.js';
import type { DriverServices, PciBinding, PciDriver } from '../pci/driver.js';
import { unusable, type GuestPciFunction } from '../pci/function.js';
import { queueCountOf } from '../virtio/capabilities.js';
import { virtioDeviceId } from '../virtio/device-id.js';
import { GuestVirtioDevice, type VirtioOptions } from '../virtio/device.js';
import { BlkFeature, CONFIG_WRITEBACK, VIRTIO_ID_BLOCK } from './constants.js';
import { Disk, type DiskDriver } from './disk.js';
import { decodeConfig, type DiskInfo } from './disk-info.js';
import { BlockRequestQueue } from './request-queue.js';

/** What a guest uses of disks, beside what it uses of every virtio device. */
export interface BlkOptions extends VirtioOptions {
  /** Most queues of a disk; default 1. */
  readonly queues?: number;
  /** Features of the block device that are not agreed on, as a mask: an older driver's behaviour. */
  readonly without?: bigint;
}

const FEATURES = Object.values(BlkFeature).reduce((all, feature) => all | feature, 0n);
/** Larger buffers than this are of no use here. */
const MAX_SEGMENT_BYTES = 1 << 20;

export class VirtioBlkBinding implements PciBinding, DiskDriver {
  readonly name: string;
  readonly ram: DriverServices['ram'];
  readonly #fn: GuestPciFunction;
  readonly #services: DriverServices;
  readonly #options: BlkOptions;
  readonly #pool: BufferPool;
  #device!: GuestVirtioDevice;
  #requests: BlockRequestQueue;
  #info!: DiskInfo;
  #disk: Disk | undefined;
  #released: () => Promise<void> = () => Promise.resolve();
  #removed = false;

  private constructor(fn: GuestPciFunction, services: DriverServices, options: BlkOptions) {
    this.name = fn.name;
    this.ram = services.ram;
    this.#fn = fn;
    this.#services = services;
    this.#options = options;
    this.#pool = new BufferPool(services.ram);
    this.#requests = this.#newRequests();
  }

  static async probe(
    fn: GuestPciFunction,
    services: DriverServices,
    options: BlkOptions,
  ): Promise<VirtioBlkBinding> {
    const binding = new VirtioBlkBinding(fn, services, options);
    await binding.#bringUp();
    return binding;
  }

  get inUse(): boolean {
    return this.#disk !== undefined;
  }

  get requests(): BlockRequestQueue {
    return this.#requests;
  }

  /** The device below, for what no disk does: requests of one's own. */
  get device(): GuestVirtioDevice {
    return this.#device;
  }

  info(): DiskInfo {
    return this.#info;
  }

  /** Opens the disk. `onClose` runs once it is no longer in use. Rejects with EBUSY while it is, and ENODEV once it is gone. */
  async open(onClose: () => Promise<void> = () => Promise.resolve()): Promise<Disk> {
    if (this.#disk !== undefined) throw new GuestError('EBUSY', { syscall: 'open', path: this.name });
    if (this.#removed) throw new GuestError('ENODEV', { syscall: 'open', path: this.name });
    const disk = new Disk(this);
    this.#disk = disk;
    this.#released = onClose;
    try {
      if (this.#device.failed) await this.#bringUpAgain();
    } catch (error) {
      this.#disk = undefined;
      throw error;
    }
    return disk;
  }

  setWriteBack(on: boolean): void {
    const fixed = (this.#device.features & BlkFeature.VIRTIO_BLK_F_CONFIG_WCE) === 0n;
    if (fixed) throw new GuestError('EOPNOTSUPP', { syscall: 'ioctl', path: this.name });
    this.#device.transport.writeDeviceConfig(CONFIG_WRITEBACK, 1, on ? 1 : 0);
    this.#readConfig();
  }

  async closed(): Promise<void> {
    this.#disk = undefined;
    await this.#released();
  }

  async remove(gone: boolean): Promise<void> {
    this.#removed = true;
    this.#requests.fail('ENODEV');
    await this.#device.close('ENODEV', gone);
    this.#requests.close();
    this.#pool.close();
  }

  async #bringUp(): Promise<void> {
    const { queues = 1, without = 0n } = this.#options;
    this.#device = await GuestVirtioDevice.open(this.#fn, this.#services, {
      deviceFeatures: FEATURES & ~without,
      queueCount: Math.min(queues, queueCountOf(this.#fn)),
      options: this.#options,
      events: {
        failed: () => this.#requests.fail('EIO'),
        configChanged: () => this.#configChanged(),
      },
    });
    this.#readConfig();
    const { maxSegmentBytes, maxSegments } = this.#info;
    this.#requests.setLimits(Math.min(maxSegmentBytes, MAX_SEGMENT_BYTES), maxSegments);
    if (this.#requests.maxDataBytes > 0) return;
    await this.#device.close('ENODEV', false);
    throw unusable(this.#fn, 'its requests have no room for a sector');
  }

  #newRequests(): BlockRequestQueue {
    return new BlockRequestQueue(this.#pool, () => this.#device.queues);
  }

  /** The device broke: it is reset, and gets new rings. */
  async #bringUpAgain(): Promise<void> {
    await this.#device.close('EIO', false);
    this.#requests.close();
    this.#requests = this.#newRequests();
    await this.#bringUp();
  }

  #readConfig(): void {
    const { features, transport } = this.#device;
    this.#info = transport.readDeviceConfig((byteAt) => decodeConfig(features, byteAt));
  }

  #configChanged(): void {
    const before = this.#info.sizeBytes;
    this.#readConfig();
    if (this.#info.sizeBytes !== before) this.#disk?.resized(this.#info.sizeBytes);
  }
}

/** A PCI driver for the guest's bus. */
export function virtioBlkDriver(options: BlkOptions = {}): PciDriver {
  return {
    name: 'virtio-blk',
    matches: (fn) => virtioDeviceId(fn) === VIRTIO_ID_BLOCK,
    probe: (fn, services) => VirtioBlkBinding.probe(fn, services, options),
  };
}
