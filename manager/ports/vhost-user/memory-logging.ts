/**
 * Which writes to guest memory are logged: those to the data of every ring (VHOST_F_LOG_ALL), and those to rings themselves
 * (VHOST_VRING_F_LOG). The front-end switches both while rings run, in its own order, and may give the log before, between or
 * after; so a ring is logged as soon as either is asked for, and marks are lost only while there is no log.
 */
import { Errno } from '../../../devices/errno.js';
import { VirtioFeature } from '../../../devices/virtio/device.js';
import { hasFeature } from '../../../devices/virtio/ring/features.js';
import { DirtyLog } from './dirty-log.js';
import type { MemoryTable, RegionDescription } from './memory-table.js';
import { RingLog } from './ring-log.js';
import type { Vring } from './vring.js';

export interface MemoryLoggingOptions {
  readonly table: MemoryTable;
  readonly vrings: readonly Vring[];
  /** The features that rings run with. */
  readonly features: () => bigint;
  /** Tells the operator why something was refused. */
  readonly report: (problem: string) => void;
}

export class MemoryLogging {
  readonly log = new DirtyLog();
  readonly #options: MemoryLoggingOptions;
  #all = false;

  constructor(options: MemoryLoggingOptions) {
    this.#options = options;
  }

  /** Whether any write is to be logged. */
  get active(): boolean {
    return this.#all || this.#options.vrings.some((vring) => vring.logAddress !== undefined);
  }

  /** Whether VHOST_F_LOG_ALL is on. */
  get all(): boolean {
    return this.#all;
  }

  /** Maps another log (see DirtyLog.replace), which has to cover all memory. 0, or a negative errno. */
  setLog(fd: number, sizeBytes: number, offset: number): number {
    const end = this.#endAddress();
    if (this.#covers(DirtyLog.endAddress(sizeBytes), end)) return this.log.replace(fd, sizeBytes, offset);
    return -Errno.EINVAL;
  }

  /**
   * Switches VHOST_F_LOG_ALL: 0, or -EINVAL without a log that covers all memory. With no log at all it is switched on: a front-end that
   * starts rings during a migration gives its log after that.
   */
  setAll(all: boolean): number {
    if (all && !this.#all) {
      if (this.log.refused) return -Errno.EINVAL;
      if (this.log.mapped && !this.#covers(this.log.endAddress, this.#endAddress())) return -Errno.EINVAL;
    }
    this.#all = all;
    if (!all) this.log.refused = false;
    for (const vring of this.#options.vrings) this.attach(vring);
    return 0;
  }

  /** Has writes to the ring itself logged at this guest-physical address, or, where it is undefined, no more. 0 or -EINVAL. */
  setRing(vring: Vring, address: number | undefined): number {
    const former = vring.logAddress;
    vring.logAddress = address;
    const end = vring.logEndAddress(this.#packed);
    if (end > Number.MAX_SAFE_INTEGER || (this.log.mapped && !this.#covers(this.log.endAddress, end))) {
      vring.logAddress = former;
      return -Errno.EINVAL;
    }
    this.attach(vring);
    return 0;
  }

  /** Whether writes to these regions can be logged, as far as they are to be. */
  hasRoomFor(descriptions: readonly RegionDescription[]): boolean {
    if (!this.active || !this.log.mapped) return true;
    return descriptions.every(({ guestAddress, sizeBytes }) =>
      this.#covers(this.log.endAddress, guestAddress + sizeBytes),
    );
  }

  /** Has the ring's writes logged, if there is a ring and they are to be. */
  attach(vring: Vring): void {
    if (vring.ring === undefined) return;
    vring.ring.log = this.#all || vring.logAddress !== undefined ? this.#ringLog(vring) : undefined;
  }

  /** The device is reset: nothing is logged until it is asked for again. The log stays. */
  reset(): void {
    this.#all = false;
    this.log.refused = false;
  }

  /** The front-end is gone. */
  close(): void {
    this.reset();
    this.log.close();
  }

  get #packed(): boolean {
    return hasFeature(this.#options.features(), VirtioFeature.VIRTIO_F_RING_PACKED);
  }

  #ringLog({ config, logAddress }: Vring): RingLog {
    const { table, features } = this.#options;
    return new RingLog({
      log: this.log,
      table,
      data: this.#all,
      packed: this.#packed,
      eventIdx: hasFeature(features(), VirtioFeature.VIRTIO_F_EVENT_IDX),
      size: config.size,
      descriptorAddress: config.descriptorArea.value,
      deviceAddress: logAddress ?? config.deviceArea.value,
    });
  }

  /** The first guest-physical address above all that can be written. */
  #endAddress(): number {
    const { table, vrings } = this.#options;
    return vrings.reduce((end, vring) => Math.max(end, vring.logEndAddress(this.#packed)), table.endAddress);
  }

  #covers(logEnd: number, end: number): boolean {
    if (end <= logEnd) return true;
    const addresses = [logEnd, end].map((address) => `0x${address.toString(16)}`);
    this.#options.report(`the log of dirty pages ends at ${addresses[0]}, below ${addresses[1]}`);
    return false;
  }
}
