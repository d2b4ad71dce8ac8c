/**
 * Where a function's rings write down what is under way: a file in the chassis's directory, which the next process finds there where this one is
 * killed. No VMM keeps any such thing for us over vfio-user.
 */
import type { QueueConfig } from '../../../devices/virtio/ring/queue-config.js';
import { queueRegionBytes } from '../../../devices/virtio/ring/inflight/layout.js';
import type { RingRecords } from '../../../devices/virtio/ring/inflight/ring-records.js';
import { InflightFile } from '../keeping/inflight-file.js';

export interface KeptRingsOptions {
  readonly path: string;
  /** The largest size of each queue. */
  readonly queueSizes: readonly number[];
  /** What the file of guest memory is known by that an address lies in. */
  readonly fileOf: (address: number) => string | undefined;
  /** There is no writing down any more. Called once. */
  readonly onUnrecorded: () => void;
  readonly log: (message: string) => void;
}

export class KeptRings implements RingRecords {
  readonly #options: KeptRingsOptions;
  #file: InflightFile | undefined;

  constructor(options: KeptRingsOptions) {
    this.#options = options;
    this.#file = new InflightFile(options.path, options.queueSizes);
  }

  has(queue: QueueConfig, packed: boolean): boolean {
    const find = (file: InflightFile): boolean =>
      file.find(queue.index, this.#identity(queue, packed), queueRegionBytes(queue.size, packed)) !==
      undefined;
    return this.#use(find) ?? false;
  }

  regionOf(queue: QueueConfig, packed: boolean): Uint8Array | undefined {
    const { index, size, start } = queue;
    const identity = this.#identity(queue, packed);
    const regionBytes = queueRegionBytes(size, packed);
    return this.#use((file) =>
      start === undefined
        ? file.renew(index, identity, regionBytes)
        : file.claim(index, identity, regionBytes),
    );
  }

  /** Another process has the rings: nothing of theirs is touched here. */
  abandon(): void {
    this.#file = undefined;
  }

  /** The function leaves for good. */
  remove(): void {
    this.#file?.remove();
    this.#file = undefined;
  }

  /** What goes wrong with the file costs nothing but the knowledge of what is under way: it is said, and not tried again. */
  #use<T>(use: (file: InflightFile) => T): T | undefined {
    if (this.#file === undefined) return undefined;
    try {
      return use(this.#file);
    } catch (error) {
      this.#options.log(`requests under way are not written down: ${String(error)}`);
      this.#file = undefined;
      this.#options.onUnrecorded();
      return undefined;
    }
  }

  #identity({ size, descriptorArea, driverArea, deviceArea }: QueueConfig, packed: boolean): string {
    const file = this.#options.fileOf(descriptorArea.value) ?? '';
    const areas = [descriptorArea.value, driverArea.value, deviceArea.value];
    return ['r', file, ...areas, size, packed ? 'p' : 's'].join(' ');
  }
}
