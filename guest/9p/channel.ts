/** One queue of a 9p device, lent to one mount at a time. */
import { GuestError } from '../errors.js';
import { BufferPool } from '../memory/buffer-pool.js';
import type { GuestRam } from '../memory/ram.js';
import type { DriverQueue } from '../virtio/queue.js';
import { Mount, type MountOptions } from './mount.js';
import type { QueueMount } from './mux-registers.js';
import { VirtioTransport9p } from './virtio-transport.js';

/** No message is larger, whatever is asked for. */
const MAX_MESSAGE_BYTES = 1 << 20;
/** Part of the guest's RAM that one message may take: a request, its reply and their rounding have to fit. */
const MAX_MESSAGE_RAM_SHARE = 8;

/** What a channel asks of the driver whose device it is a part of. */
export interface ChannelDevice {
  readonly ram: GuestRam;
  /** The queue, ready for a new session; with `mustBeFresh`, nothing of the one before is in it. Rejects with a GuestError. */
  openQueue(index: number, mustBeFresh: boolean): Promise<DriverQueue>;
  /** Takes the queue back from the device: everything under way fails with EIO. Never rejects. */
  closeQueue(index: number): Promise<void>;
}

export class Channel {
  readonly index: number;
  readonly #device: ChannelDevice;
  #serves: QueueMount | undefined;
  #transport: VirtioTransport9p | undefined;
  #mounted = false;
  /** The last session may have left requests behind. */
  #isStale = false;

  constructor(index: number, device: ChannelDevice) {
    this.index = index;
    this.#device = device;
  }

  /** The tag of what the queue serves; undefined while it serves nothing. */
  get tag(): string | undefined {
    return this.#serves?.tag;
  }

  get inUse(): boolean {
    return this.#mounted;
  }

  /** What the queue serves is this from now on. What was mounted from it is gone. Answers whether that changed. */
  setServed(serves: QueueMount | undefined): boolean {
    const before = this.#serves;
    this.#serves = serves;
    if (before === undefined) return serves !== undefined;
    if (before.serial === serves?.serial) return false;
    this.fail('ENODEV');
    return true;
  }

  /** Mounts what the queue serves. `onUnmount` runs once it is no longer in use. Rejects with EBUSY while it is. */
  async mount(options: MountOptions, onUnmount: () => void): Promise<Mount> {
    const tag = this.tag ?? '';
    if (this.#mounted) throw new GuestError('EBUSY', { syscall: 'mount', path: tag });
    this.#mounted = true;
    const pool = new BufferPool(this.#device.ram);
    const release = async () => {
      this.#mounted = false;
      this.#transport = undefined;
      pool.close();
      onUnmount();
    };
    try {
      return await Mount.connect(await this.#open(pool), options, release);
    } catch (error) {
      await release();
      throw error instanceof GuestError ? error.at('mount', tag) : error;
    }
  }

  /** The device broke, or what the queue served went: who waits is rejected with `code`, and so is everybody who comes. */
  fail(code: string): void {
    if (this.#transport === undefined) return;
    this.#transport.fail(code);
    this.#isStale = true;
  }

  async #open(pool: BufferPool): Promise<VirtioTransport9p> {
    const { ram } = this.#device;
    const asked = this.#serves;
    const queue = await this.#device.openQueue(this.index, this.#isStale);
    this.#isStale = false;
    // The queue may serve another mount by now, which was not asked for.
    if (this.#serves?.serial !== asked?.serial) throw new GuestError('ENODEV', { syscall: 'mount' });
    const limit = Math.min(MAX_MESSAGE_BYTES, Math.floor(ram.sizeBytes / MAX_MESSAGE_RAM_SHARE));
    this.#transport = new VirtioTransport9p(queue, pool, limit, () => this.#device.closeQueue(this.index));
    return this.#transport;
  }
}
