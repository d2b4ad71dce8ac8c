/** A virtio device over PCI as its driver reaches it (virtio 1.3, sections 3.1 and 4.1), by whichever registers it has. */
import { GuestError } from '../errors.js';
import { unusable, type GuestPciFunction } from '../pci/function.js';
import type { RingAddresses } from './queue.js';

/** A reset is over once the device says so; one that takes longer than this many milliseconds is given up on. */
const RESET_TIMEOUT_MS = 1000;
/** Reads of a function that is gone. */
const STATUS_ABSENT = 0xff;

/**
 * How a driver tells the device that there is something in a queue: the queue's own doorbell, the one for all queues of the device,
 * the window through config space, or not at all, which takes a device that looks by itself.
 */
export type KickMode = 'queue' | 'device' | 'window' | 'none';

/** Tells the device of a queue. `next` is what VIRTIO_F_NOTIFICATION_DATA passes on: next_off, and next_wrap in bit 15 (2.9). */
export type Notify = (next: number) => void;

export abstract class VirtioTransport {
  readonly fn: GuestPciFunction;
  /** Least alignment of a split ring's used part. */
  abstract readonly usedAlignment: number;
  /** True where a queue's size is the device's to choose. */
  abstract readonly hasFixedQueueSizes: boolean;
  /** Bytes of device-specific config space, or a few more. */
  abstract readonly deviceConfigLength: number;

  constructor(fn: GuestPciFunction) {
    this.fn = fn;
  }

  abstract get status(): number;
  protected abstract writeStatus(value: number): void;

  /** True where nothing answers any more: a status with every bit set cannot be. */
  get isGone(): boolean {
    return this.status === STATUS_ABSENT;
  }

  addStatus(bits: number): void {
    this.writeStatus(this.status | bits);
  }

  /** Resets the device and waits until it is done: from then on it touches no memory. Rejects with ENODEV or ETIMEDOUT. */
  async reset(): Promise<void> {
    this.writeStatus(0);
    await this.waitUntil('reset', () => this.status === 0);
  }

  /** Resets, then agrees on features: those offered out of `wanted`. Rejects where the device does not take them. */
  abstract negotiate(wanted: bigint): Promise<bigint>;

  /** The largest size of a queue; 0 where it does not exist. */
  abstract queueMaxSize(queue: number): number;

  /** Tells the device where a queue is and enables it. Throws where it does not take it. */
  abstract enableQueue(queue: number, size: number, addresses: RingAddresses): void;

  /** Takes one queue back, where VIRTIO_F_RING_RESET was agreed on, and waits until the device has let go of it. */
  abstract resetQueue(queue: number): Promise<void>;

  /** What tells the device of a queue, once features are agreed on. Throws where the device has no such way. */
  abstract doorbell(queue: number, kick: KickMode): Notify;

  /** MSI-X has been switched on or off in config space. */
  abstract msixSwitched(enabled: boolean): void;

  /** Assigns an MSI-X table entry to config changes, or to a queue; false where the device has no resources for it. */
  abstract setConfigVector(vector: number): boolean;
  abstract setQueueVector(queue: number, vector: number): boolean;

  /** Reads and thereby clears the ISR status, which lowers the pin. */
  abstract readIsr(): number;

  /**
   * The device's config space from `offset` on, as of one moment (2.5.1): `decode` may be called again where it changed
   * meanwhile. It reads bytes; those beyond the space are 0.
   */
  abstract readDeviceConfig<T>(decode: (byteAt: (offset: number) => number) => T): T;

  /** Writes a register of the device's config space, aligned to `width`; nothing beyond its end. */
  abstract writeDeviceConfig(offset: number, width: 1 | 2 | 4, value: number): void;

  protected async waitUntil(syscall: string, done: () => boolean): Promise<void> {
    for (let waitedMs = 0; !done(); waitedMs++) {
      if (this.isGone) throw unusable(this.fn, 'the device is gone');
      if (waitedMs >= RESET_TIMEOUT_MS) throw new GuestError('ETIMEDOUT', { syscall, path: this.fn.name });
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
  }
}
