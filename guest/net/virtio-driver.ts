/** The driver of virtio network devices: finds out what the card is, and lends it to one user at a time. */
import { GuestError } from '../errors.js';
import { BufferPool } from '../memory/buffer-pool.js';
import type { DriverServices, PciBinding, PciDriver } from '../pci/driver.js';
import type { GuestPciFunction } from '../pci/function.js';
import { findRegisters, hasVirtioCapabilities } from '../virtio/capabilities.js';
import { virtioDeviceId } from '../virtio/device-id.js';
import { GuestVirtioDevice, type VirtioOptions } from '../virtio/device.js';
import { CommonConfig, Feature } from '../virtio/registers.js';
import { decodeCardInfo, type CardInfo } from './card-info.js';
import { HEADER_SIZE, LEGACY_HEADER_SIZE, NetFeature, VIRTIO_ID_NET } from './constants.js';
import { writeWork, type FrameWork } from './frame-work.js';
import { NetworkCard, type CardDriver } from './network-card.js';
import { ReceiveRing } from './receive-ring.js';
import { RequestLane } from './request-lane.js';

/** What a guest uses of network cards, beside what it uses of every virtio device. */
export interface NetOptions extends VirtioOptions {
  /** Features of the network device that are not agreed on, as a mask: an older driver's behaviour. */
  readonly without?: bigint;
  /** Size and number of the buffers in each receive queue; default 64 of 2048 bytes, or of 64 KiB where frames may need that. */
  readonly receiveBufferBytes?: number;
  readonly receiveBuffers?: number;
}

const FEATURES = Object.values(NetFeature).reduce((all, feature) => all | feature, 0n);
const SMALL_BUFFER_BYTES = 2048;
const LARGE_BUFFER_BYTES = 68 * 1024;
const DEFAULT_BUFFERS = 64;
/** A pair of queues, and the control queue. */
const SINGLE_QUEUES = 3;

export class VirtioNetBinding implements PciBinding, CardDriver {
  readonly name: string;
  readonly #fn: GuestPciFunction;
  readonly #services: DriverServices;
  readonly #options: NetOptions;
  readonly #pool: BufferPool;
  #device!: GuestVirtioDevice;
  #headerBytes: number = HEADER_SIZE;
  #receivers: ReceiveRing[] = [];
  #senders: RequestLane[] = [];
  #commands: RequestLane | undefined;
  #info!: CardInfo;
  #card: NetworkCard | undefined;
  #removed = false;

  private constructor(fn: GuestPciFunction, services: DriverServices, options: NetOptions) {
    this.name = fn.name;
    this.#fn = fn;
    this.#services = services;
    this.#options = options;
    this.#pool = new BufferPool(services.ram);
  }

  static async probe(
    fn: GuestPciFunction,
    services: DriverServices,
    options: NetOptions,
  ): Promise<VirtioNetBinding> {
    const binding = new VirtioNetBinding(fn, services, options);
    await binding.#bringUp();
    return binding;
  }

  get inUse(): boolean {
    return this.#card !== undefined;
  }

  /** The device below, for what no card does: requests of one's own. */
  get device(): GuestVirtioDevice {
    return this.#device;
  }

  info(): CardInfo {
    return this.#info;
  }

  /** Opens the card. Rejects with EBUSY while it is in use, and ENODEV once it is gone. */
  open(): NetworkCard {
    if (this.#card !== undefined) throw new GuestError('EBUSY', { syscall: 'open', path: this.name });
    if (this.#removed) throw new GuestError('ENODEV', { syscall: 'open', path: this.name });
    return (this.#card = new NetworkCard(this));
  }

  async send(bytes: Uint8Array, work: FrameWork, queuePair: number): Promise<void> {
    const header = new Uint8Array(this.#headerBytes);
    writeWork(new DataView(header.buffer), work);
    await this.#senders[queuePair].send([header, bytes]);
  }

  async command(command: readonly [number, number], data: Uint8Array): Promise<number> {
    if (this.#commands === undefined) {
      throw new GuestError('EOPNOTSUPP', { syscall: 'command', path: this.name });
    }
    const [answer = -1] = await this.#commands.send([Uint8Array.from(command), data], 1);
    if (answer === 0) this.#readConfig();
    return answer;
  }

  holdBuffers(hold: boolean): void {
    for (const receiver of this.#receivers) receiver.holding = hold;
  }

  async closed(): Promise<void> {
    this.#card = undefined;
  }

  async remove(gone: boolean): Promise<void> {
    this.#removed = true;
    this.#fail('ENODEV');
    await this.#device.close('ENODEV', gone);
    for (const receiver of this.#receivers) receiver.close();
    this.#pool.close();
  }

  async #bringUp(): Promise<void> {
    const { without = 0n } = this.#options;
    const wanted = FEATURES & ~without;
    const has = (feature: bigint) => (wanted & feature) !== 0n;
    const many = has(NetFeature.VIRTIO_NET_F_MQ) && has(NetFeature.VIRTIO_NET_F_CTRL_VQ);
    const single = has(NetFeature.VIRTIO_NET_F_CTRL_VQ) ? SINGLE_QUEUES : SINGLE_QUEUES - 1;
    this.#device = await GuestVirtioDevice.open(this.#fn, this.#services, {
      deviceFeatures: many ? wanted : wanted & ~NetFeature.VIRTIO_NET_F_MQ,
      queueCount: many ? queuesOf(this.#fn) : single,
      options: this.#options,
      events: {
        failed: () => this.#fail('EIO'),
        configChanged: () => {
          this.#readConfig();
          this.#card?.changed(this.#info);
        },
      },
    });
    this.#readConfig();
    await this.#startQueues();
  }

  async #startQueues(): Promise<void> {
    const { features } = this.#device;
    const mergeable = (features & NetFeature.VIRTIO_NET_F_MRG_RXBUF) !== 0n;
    const isLong = mergeable || (features & Feature.VIRTIO_F_VERSION_1) !== 0n;
    this.#headerBytes = isLong ? HEADER_SIZE : LEGACY_HEADER_SIZE;
    const pairs = this.#info.maxQueuePairs;
    const lane = (index: number) => new RequestLane(() => this.#device.queues[index], this.#pool);
    this.#senders = Array.from({ length: pairs }, (_, pair) => lane(2 * pair + 1));
    const hasCommands = (features & NetFeature.VIRTIO_NET_F_CTRL_VQ) !== 0n;
    this.#commands = hasCommands ? lane(2 * pairs) : undefined;
    this.#receivers = Array.from({ length: pairs }, (_, pair) => this.#newReceiver(pair, mergeable));
    if (pairs > 1) await this.#setQueuePairs(pairs);
  }

  #newReceiver(queuePair: number, mergeable: boolean): ReceiveRing {
    const longFrames = (this.#device.features & NetFeature.VIRTIO_NET_F_GUEST_CSUM) !== 0n;
    const bufferBytes = mergeable || !longFrames ? SMALL_BUFFER_BYTES : LARGE_BUFFER_BYTES;
    return new ReceiveRing(this.#device.queues[2 * queuePair], this.#pool, {
      queuePair,
      headerBytes: this.#headerBytes,
      mergeable,
      bufferBytes: this.#options.receiveBufferBytes ?? bufferBytes,
      buffers: this.#options.receiveBuffers ?? DEFAULT_BUFFERS,
      received: (frame) => this.#card?.received(frame),
    });
  }

  async #setQueuePairs(pairs: number): Promise<void> {
    await new NetworkCard(this).setQueuePairs(pairs);
  }

  #fail(code: string): void {
    for (const sender of this.#senders) sender.fail(code);
    this.#commands?.fail(code);
  }

  #readConfig(): void {
    const { features, transport } = this.#device;
    this.#info = transport.readDeviceConfig((byteAt) => decodeCardInfo(features, byteAt));
  }
}

/** A PCI driver for the guest's bus. */
export function virtioNetDriver(options: NetOptions = {}): PciDriver {
  return {
    name: 'virtio-net',
    matches: (fn) => virtioDeviceId(fn) === VIRTIO_ID_NET,
    probe: (fn, services) => VirtioNetBinding.probe(fn, services, options),
  };
}

/** Queues that the function has; a legacy one does not say. */
function queuesOf(fn: GuestPciFunction): number {
  if (!hasVirtioCapabilities(fn)) return SINGLE_QUEUES;
  return fn.readMemory(findRegisters(fn).common.address + CommonConfig.NUM_QUEUES, 2);
}
