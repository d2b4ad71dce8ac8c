/**
 * The virtio 9P transport (virtio 1.3 lists it as device 9; Linux's `net/9p/trans_virtio.c` and `virtio_9p.h` define it). One queue;
 * each chain is one message in its readable part and room for the reply in its writable part.
 */
import { sameBytes } from '../same-bytes.js';
import type { GivenDescriptors, StateDestination } from '../state-descriptors.js';
import type { Chain, DeviceContext, VirtioDevice, Virtqueue } from '../virtio/device.js';
import { VirtioDeviceId } from '../virtio/device.js';
import type { FileSystem } from './fs/file-system.js';
import { QueueReplies } from './queue-replies.js';
import type { JournalStore } from './server/journal/journal-store.js';
import type { ServerLatencies, ServerLimits, ServerOptions, ServerStatistics } from './server/options.js';
import { Server } from './server/server.js';
import { encodeTag } from './tag.js';

/** Feature bits of the 9P device, as bit numbers. The second is this project's own: docs/9p-multiplexing.md. */
export const Virtio9pFeature = { VIRTIO_9P_MOUNT_TAG: 0, VIRTIO_9P_F_MULTIPLEX: 23 } as const;

/**
 * Linux puts a message and its reply into at most 128 segments, so that with fewer descriptors it could not send its largest
 * messages on a ring without indirect ones.
 */
export const QUEUE_SIZE = 128;
/** The largest msize that Linux agrees to over virtio: 125 pages of those 128 segments. */
export const LINUX_VIRTIO_MSIZE_MAX_BYTES = 125 * 4096;

/** Unclassified, not VGA-compatible: what QEMU's virtio-9p-pci says. No driver looks at it. */
export const PCI_CLASS = 0x000200;

/** `tag_len` has 16 bits; Linux shows the tag in a sysfs page. */
const TAG_MAX_BYTES = 255;

/**
 * A 9P device with one mount. `tag` is what the guest mounts by: 1 to 255 bytes of UTF-8 without NUL. The file system is the
 * device's, and is closed with it. With a `journal`, a device like this one goes on for it after its process was killed.
 */
export class Virtio9p implements VirtioDevice {
  readonly deviceId = VirtioDeviceId.fileSystem9p;
  readonly pciClass = PCI_CLASS;
  readonly features = 1n << BigInt(Virtio9pFeature.VIRTIO_9P_MOUNT_TAG);
  readonly queueSizes = [QUEUE_SIZE];
  /** tag_len[2] tag[tag_len] */
  readonly config: Uint8Array;
  readonly #server: Server;
  #replies: QueueReplies | undefined;
  /** The state that the server has taken over. */
  #prepared: Uint8Array | undefined;

  constructor(fs: FileSystem, tag: string, options: ServerOptions, journal?: JournalStore) {
    this.config = encodeConfig(tag);
    this.#server = new Server(fs, options, journal);
  }

  /** The server's counters; they go on across resets. */
  get statistics(): Readonly<ServerStatistics> {
    return this.#server.statistics;
  }

  /** How long requests took; they go on across resets, too. */
  get latencies(): ServerLatencies {
    return this.#server.latencies;
  }

  /** Changes limits while the guest has it mounted. */
  setLimits(limits: Partial<ServerLimits>): void {
    this.#server.setLimits(limits);
  }

  /** Part of its file system went away: see `Server.forgetGone`. */
  forgetGone(): void {
    this.#server.forgetGone();
  }

  writeConfig(): void {
    // Nothing in it is the driver's to change.
  }

  /** Where the journal of a device tells of what the guest has, whose process was killed, that is found again: requests wait meanwhile. */
  activate(context: DeviceContext): void {
    void this.#server.recover();
    const queue = context.queues[0];
    this.#replies = queue && new QueueReplies(queue);
  }

  handleChain(queue: Virtqueue, chain: Chain): void {
    const replies =
      this.#replies?.queue === queue ? this.#replies : (this.#replies = new QueueReplies(queue));
    replies.inBatch = true;
    this.#server.handle(chain.readable, chain.writable, replies.done, chain, chain);
    replies.inBatch = false;
  }

  reset(): void | Promise<void> {
    this.#replies = undefined;
    this.#prepared = undefined;
    return this.#server.dropAll();
  }

  hold(): void | Promise<void> {
    return this.#server.hold();
  }

  unhold(): void {
    this.#server.unhold();
  }

  /** @throws UntellableError, as `Server.saveState` */
  saveState(to?: StateDestination): Uint8Array {
    return this.#server.saveState(to);
  }

  /** Finds the files of the state's client, which may take any time. */
  async prepareState(bytes: Uint8Array, descriptors?: GivenDescriptors): Promise<string | undefined> {
    this.#prepared = undefined;
    await this.#server.dropAll(true);
    const problem = await this.#server.restoreState(bytes, descriptors);
    if (problem === undefined) this.#prepared = bytes;
    return problem;
  }

  restoreState(bytes: Uint8Array): string | undefined {
    return this.#prepared !== undefined && sameBytes(this.#prepared, bytes)
      ? undefined
      : 'the files of its client have not been looked for: prepareState';
  }

  close(): Promise<void> {
    this.#replies = undefined;
    return this.#server.close();
  }
}

function encodeConfig(tag: string): Uint8Array {
  const bytes = encodeTag(tag, TAG_MAX_BYTES);
  const config = new Uint8Array(2 + bytes.length);
  config[0] = bytes.length;
  config.set(bytes, 2);
  return config;
}
