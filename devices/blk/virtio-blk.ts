/** The virtio block device (virtio 1.3, section 5.2): a disk whose bytes a backend keeps. */
import { Errno } from '../errno.js';
import type { Chain, DeviceContext, VirtioDevice, Virtqueue } from '../virtio/device.js';
import { VirtioDeviceId } from '../virtio/device.js';
import type { BlockBackend } from './backends/block-backend.js';
import { BlockConfigSpace, offeredFeatures, type ConfigChoices } from './config-space.js';
import { ConfigField, SECTOR_BYTES, VIRTIO_BLK_ID_BYTES, VirtioBlkFeature } from './protocol.js';
import { ReplyLane } from './reply-lane.js';
import type { ReplySink } from './server/block-request.js';
import { BlockServer } from './server/block-server.js';
import type { BlockLatencies, BlockStatistics } from './server/options.js';

/** SCSI storage controller: what QEMU's virtio-blk-pci says. No driver looks at it. */
const PCI_CLASS = 0x010000;

/** Room for two requests of half a megabyte in pages that do not touch, without indirect tables. SeaBIOS and iPXE make their rings smaller. */
const DEFAULT_QUEUE_SIZE = 256;
/** What QEMU's vhost-user-blk-pci makes of a ring unless it is asked. */
const RELIABLE_QUEUE_SIZE = 128;
/** Descriptors of a request that hold no data: header and status. */
const OVERHEAD_DESCRIPTORS = 2;
const MAX_QUEUES = 64;

const STATE_VERSION = 1;
const STATE_BYTES = 3;

const FLUSH_BIT = 1n << BigInt(VirtioBlkFeature.VIRTIO_BLK_F_FLUSH);
const CONFIG_WCE_BIT = 1n << BigInt(VirtioBlkFeature.VIRTIO_BLK_F_CONFIG_WCE);

export interface VirtioBlkOptions {
  /** What the guest knows the disk by: up to 20 characters of ASCII (Linux: /dev/disk/by-id/virtio-SERIAL). */
  readonly serial: string;
  /** Refuses writes, also where the backend takes them. Default: false. */
  readonly readOnly?: boolean;
  /** Number of queues, 1 to 64: as a rule as many as the guest has processors. Default: 1. */
  readonly queues?: number;
  /** Descriptors of each queue: a power of two, 4 at least. Default: 256. */
  readonly queueSize?: number;
  /**
   * Descriptors that a ring is sure to have where it is in use; no more than `queueSize` counts. Drivers send as many segments as the disk
   * says, in an indirect table that may be no longer than the ring (virtio 1.3, section 2.7.5.3.1), yet who brings the transport chooses
   * the ring's size, and does not tell. Default: 128.
   */
  readonly reliableQueueSize?: number;
  /** Longest segment that drivers are asked to send, in bytes; longer ones are served all the same. Default: no limit. */
  readonly maxSegmentBytes?: number;
  /** Whether drivers that can choose start with a write-back cache. Default: true. */
  readonly writeBack?: boolean;
  /** Takes a line on failures of the backend. */
  readonly log: (message: string) => void;
}

/**
 * A disk. It owns the backend, and closes it when it is closed itself.
 *
 * Writes go to the backend's cache and are on the medium after a flush (write-back), or are on the medium when they complete
 * (write-through): as the driver chooses by VIRTIO_BLK_F_CONFIG_WCE, and always write-through for a driver that cannot flush.
 */
export class VirtioBlk implements VirtioDevice {
  readonly deviceId = VirtioDeviceId.block;
  readonly pciClass = PCI_CLASS;
  readonly features: bigint;
  readonly queueSizes: readonly number[];
  readonly changingConfig = [{ offset: ConfigField.WRITEBACK, lengthBytes: 1 }];
  readonly isStateKept = true;
  readonly #backend: BlockBackend;
  readonly #server: BlockServer;
  readonly #config: BlockConfigSpace;
  readonly #serve = (chain: Chain, sink: ReplySink): void => this.#server.handle(chain, sink);
  #lanes: (ReplyLane | undefined)[] = [];
  #context: DeviceContext | undefined;
  /**
   * The cache mode that was chosen last. A reset leaves it: a VMM that answers for the config space has not heard of another one (QEMU's
   * vhost-user-blk-pci reads it once), and the next driver, shown a write-through cache, would never flush.
   */
  #chosenWriteBack: boolean;
  /** Whether the driver itself chose a cache mode since the last reset. */
  #modeChosen = false;
  #resizing: Promise<unknown> = Promise.resolve();

  /** @throws RangeError for a serial, queue count or queue size that cannot be */
  constructor(backend: BlockBackend, options: VirtioBlkOptions) {
    const { queues = 1, queueSize = DEFAULT_QUEUE_SIZE, reliableQueueSize = RELIABLE_QUEUE_SIZE } = options;
    checkQueues(queues, queueSize);
    const readOnly = (options.readOnly ?? false) || backend.limits.readOnly;
    const choices: ConfigChoices = {
      readOnly,
      queueCount: queues,
      maxSegments: Math.min(queueSize, reliableQueueSize) - OVERHEAD_DESCRIPTORS,
      maxSegmentBytes: options.maxSegmentBytes,
    };
    this.#backend = backend;
    this.queueSizes = new Array<number>(queues).fill(queueSize);
    this.features = offeredFeatures(backend.limits, choices);
    this.#config = new BlockConfigSpace(backend.limits, choices);
    this.#server = new BlockServer(backend, { readOnly, id: encodeSerial(options.serial), log: options.log });
    this.#chosenWriteBack = options.writeBack ?? true;
    this.#config.writeBack = this.#chosenWriteBack;
    this.#config.sizeBytes = backend.sizeBytes;
    backend.sizeChanged = () => this.#capacityIs(backend.sizeBytes);
    backend.troubled = options.log;
  }

  get config(): Uint8Array {
    return this.#config.bytes;
  }

  /** Size in bytes as the guest sees it. */
  get sizeBytes(): number {
    return this.#server.sizeBytes;
  }

  /** What is wrong with what the disk is kept in, for the operator; undefined as a rule. */
  get trouble(): string | undefined {
    return this.#backend.trouble;
  }

  /** Counters; they go on across resets. */
  get statistics(): Readonly<BlockStatistics> {
    return this.#server.statistics;
  }

  /** How long requests took; they go on across resets, too. */
  get latencies(): BlockLatencies {
    return this.#server.latencies;
  }

  /** The cache mode is all that is the driver's to change, and 0 and 1 are all it may be. */
  writeConfig(offset: number, bytes: Uint8Array): void {
    const mode = bytes[ConfigField.WRITEBACK - offset];
    if ((this.features & CONFIG_WCE_BIT) === 0n || (mode !== 0 && mode !== 1)) return;
    this.#modeChosen = true;
    this.#chosenWriteBack = mode === 1;
    this.#config.writeBack = this.#chosenWriteBack;
    this.#updateWriteThrough();
  }

  activate(context: DeviceContext): void {
    this.#context = context;
    this.#lanes = [];
    const mayChoose = (context.features & CONFIG_WCE_BIT) !== 0n;
    // A driver that cannot flush, and did not ask for anything else, cannot do with a write-back cache (5.2.5.2).
    if (mayChoose && !this.#modeChosen && !this.#driverFlushes) this.#config.writeBack = false;
    this.#updateWriteThrough();
  }

  handleChain(queue: Virtqueue, chain: Chain): void {
    let lane = this.#lanes[queue.index];
    if (lane?.queue !== queue) {
      if (this.#context === undefined) return;
      lane = this.#lanes[queue.index] = new ReplyLane(queue, this.#context);
    }
    lane.batch(this.#serve, chain);
  }

  reset(): void | Promise<void> {
    this.#context = undefined;
    this.#lanes = [];
    this.#modeChosen = false;
    this.#config.writeBack = this.#chosenWriteBack;
    return this.#settled();
  }

  resetQueue(index: number): void | Promise<void> {
    const lane = this.#lanes[index];
    this.#lanes[index] = undefined;
    return lane && this.#server.settled(lane);
  }

  engage(): string | undefined {
    return this.#backend.engage();
  }

  rest(): void {
    this.#backend.rest(this.#config.writeBack && !this.#server.writeThrough);
  }

  /** Nobody knows what its driver chose, unless who had the disk left word: then every write is as durable as any driver may count on. */
  adoptDriver(): void {
    if (this.#modeChosen) return;
    this.#config.writeBack &&= this.#backend.writeBackBefore ?? false;
    this.#updateWriteThrough();
  }

  /** version[1] modeChosen[1] writeBack[1] */
  saveState(): Uint8Array {
    return Uint8Array.of(STATE_VERSION, this.#modeChosen ? 1 : 0, this.#config.writeBack ? 1 : 0);
  }

  restoreState(bytes: Uint8Array): string | undefined {
    const [version, modeChosen, writeBack] = bytes;
    if (bytes.length !== STATE_BYTES || version !== STATE_VERSION || modeChosen > 1 || writeBack > 1)
      return 'it is no state of a disk';
    this.#modeChosen = modeChosen === 1;
    this.#chosenWriteBack = writeBack === 1;
    this.#config.writeBack = this.#chosenWriteBack;
    return undefined;
  }

  /** Ends what is under way and closes the backend. Nothing is flushed: the guest did that, or does not care. */
  async close(): Promise<void> {
    this.#context = undefined;
    this.#lanes = [];
    await this.#resizing;
    await this.#settled();
    await this.#backend.close();
  }

  /**
   * Changes the disk's size while the guest runs, and tells it. What lies beyond a smaller size is lost; requests to there fail from
   * now on, and those under way are waited for.
   *
   * @returns 0; -EINVAL for a size that is no whole number of sectors; -EOPNOTSUPP where the backend cannot, or another errno
   */
  resize(sizeBytes: number): Promise<number> {
    const done = this.#resizing.then(() => this.#resize(sizeBytes));
    this.#resizing = done;
    return done;
  }

  /** Looks whether somebody else resized what the backend stores in, and tells the guest. 0 or a negative errno. */
  refreshSize(): Promise<number> {
    const done = this.#resizing.then(async () => {
      const result = await this.#backend.refreshSize();
      if (result === 0) this.#capacityIs(this.#backend.sizeBytes);
      return result;
    });
    this.#resizing = done;
    return done;
  }

  async #resize(sizeBytes: number): Promise<number> {
    if (!Number.isSafeInteger(sizeBytes) || sizeBytes <= 0 || sizeBytes % SECTOR_BYTES !== 0) {
      return -Errno.EINVAL;
    }
    const before = this.sizeBytes;
    // The guest is told before what it sees goes away, and after what it did not see has come.
    if (sizeBytes < before) {
      this.#capacityIs(sizeBytes);
      await this.#server.settled();
    }
    const result = await this.#backend.resize(sizeBytes);
    this.#capacityIs(result < 0 ? Math.min(before, this.#backend.sizeBytes) : sizeBytes);
    return result;
  }

  #capacityIs(sizeBytes: number): void {
    if (sizeBytes === this.sizeBytes) return;
    this.#server.sizeBytes = sizeBytes;
    this.#config.sizeBytes = sizeBytes;
    this.#context?.configChanged();
  }

  get #driverFlushes(): boolean {
    return ((this.#context?.features ?? 0n) & FLUSH_BIT) !== 0n;
  }

  #updateWriteThrough(): void {
    if (this.#context === undefined) return;
    const mayChoose = (this.#context.features & CONFIG_WCE_BIT) !== 0n;
    this.#server.writeThrough = mayChoose ? !this.#config.writeBack : !this.#driverFlushes;
  }

  #settled(): void | Promise<void> {
    const settled = this.#server.settled();
    if (settled !== undefined) this.#backend.abandon();
    return settled;
  }
}

function checkQueues(queues: number, queueSize: number): void {
  if (!Number.isInteger(queues) || queues < 1 || queues > MAX_QUEUES) {
    throw new RangeError(`a disk has 1 to ${MAX_QUEUES} queues, not ${queues}`);
  }
  if (queueSize <= OVERHEAD_DESCRIPTORS || queueSize > 32768 || !Number.isInteger(Math.log2(queueSize))) {
    throw new RangeError(`a disk's queue has a power of two of descriptors from 4 on, not ${queueSize}`);
  }
}

function encodeSerial(serial: string): Uint8Array {
  if (serial.length > VIRTIO_BLK_ID_BYTES || !/^[\x20-\x7e]*$/.test(serial)) {
    throw new RangeError(`a disk's serial has up to ${VIRTIO_BLK_ID_BYTES} printable ASCII characters`);
  }
  const id = new Uint8Array(VIRTIO_BLK_ID_BYTES);
  for (let i = 0; i < serial.length; i++) id[i] = serial.charCodeAt(i);
  return id;
}
