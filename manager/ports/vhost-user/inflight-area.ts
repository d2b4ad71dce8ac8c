/**
 * Where rings write down what is under way: in the area that the front-end keeps for us (VHOST_USER_SET_INFLIGHT_FD), or, where it keeps none,
 * in a file of our own. Either is the same to a ring.
 */
import { Errno, errnoOfException } from '../../../devices/errno.js';
import {
  INFLIGHT_VERSION,
  QueueRegionSplit,
  queueRegionBytes,
} from '../../../devices/virtio/ring/inflight/layout.js';
import { closeFd, duplicateFd, SharedMapping, WINDOW_STRIDE_BYTES } from '../../../host/index.js';
import { InflightFile } from '../keeping/inflight-file.js';
import type { MemoryTable } from './memory-table.js';
import type { Vring } from './vring.js';

/** An area as the front-end describes it, sizes in bytes. */
export interface InflightDescription {
  readonly sizeBytes: number;
  readonly offset: number;
  readonly queues: number;
  readonly queueSize: number;
}

interface FrontEndArea extends InflightDescription {
  readonly mapping: SharedMapping;
  readonly fd: number;
}

export interface InflightAreaOptions {
  readonly table: MemoryTable;
  readonly queueSizes: readonly number[];
  /** Of the file of our own; without one, only front-ends keep areas. */
  readonly path: string | undefined;
  readonly report: (problem: string) => void;
}

/** Regions hold counters of 64 bits. */
const ALIGN_BYTES = 8;

export class InflightArea {
  readonly #options: InflightAreaOptions;
  #file: InflightFile | undefined;
  #frontEnd: FrontEndArea | undefined;

  constructor(options: InflightAreaOptions) {
    this.#options = options;
    const { path, queueSizes } = options;
    this.#file = path === undefined ? undefined : new InflightFile(path, queueSizes);
  }

  /**
   * Takes the front-end's area, in the file behind `fd`, which stays the caller's. 0, or a negative errno and all is as before: -EINVAL for
   * one that makes no sense or a file too short for it, or what mmap(2) says.
   */
  setFrontEnd(fd: number, description: InflightDescription): number {
    const { sizeBytes, offset, queues, queueSize } = description;
    if (sizeBytes <= 0 || sizeBytes > WINDOW_STRIDE_BYTES || offset % ALIGN_BYTES !== 0) return -Errno.EINVAL;
    if (offset + sizeBytes > Number.MAX_SAFE_INTEGER) return -Errno.EINVAL;
    // The format is not agreed on yet, maybe. Of a packed ring, more is needed: then there is no region for some of its queues.
    if (queueSize === 0 || queues * queueRegionBytes(queueSize, false) > sizeBytes) return -Errno.EINVAL;
    try {
      const mapping = new SharedMapping(fd, offset + sizeBytes);
      const kept = duplicateFd(fd);
      if (kept < 0) {
        mapping.close();
        return kept;
      }
      this.#closeFrontEnd();
      this.#frontEnd = { ...description, mapping, fd: kept };
      return 0;
    } catch (error) {
      return -errnoOfException(error);
    }
  }

  /** The front-end's area, for a process that is to take it over. */
  get frontEnd(): (InflightDescription & { readonly fd: number }) | undefined {
    return this.#frontEnd;
  }

  /** Another process has the rings, and writes down what is under way there: nothing of that is touched here. */
  abandon(): void {
    this.#file = undefined;
  }

  /** The region of a ring that has its addresses; undefined where there is none for it. */
  regionOf(vring: Vring, packed: boolean): Uint8Array | undefined {
    return (
      this.#frontEndRegion(vring, packed) ??
      this.#inFile((file) => file.claim(vring.index, this.#identity(vring, packed), bytesOf(vring, packed)))
    );
  }

  /** True where the ring of these addresses ran before, here or in a process that is no more. */
  hasRun(vring: Vring, packed: boolean): boolean {
    if (vring.addresses === undefined) return false;
    const region =
      this.#frontEndRegion(vring, packed) ??
      this.#inFile((file) => file.find(vring.index, this.#identity(vring, packed), bytesOf(vring, packed)));
    if (region === undefined) return false;
    const view = new DataView(region.buffer, region.byteOffset);
    return (
      view.getUint16(QueueRegionSplit.VERSION, true) === INFLIGHT_VERSION &&
      view.getUint16(QueueRegionSplit.DESC_NUM, true) === vring.config.size
    );
  }

  /** The ring that starts is another one than ran before in its place. */
  forgetRing({ index }: Vring): void {
    this.#file?.forget(index);
  }

  /** Rings belong to another driver from now on. What the front-end keeps is its own to renew. */
  forgetRings(): void {
    this.#file?.forgetAll();
  }

  /** The driver reset the device. */
  reset(): void {
    this.forgetRings();
    this.#closeFrontEnd();
  }

  /** The front-end is gone: what it kept is its own, and what we keep is there for it once it is back. */
  disconnect(): void {
    this.#closeFrontEnd();
  }

  /** The device leaves for good. */
  remove(): void {
    this.#closeFrontEnd();
    this.#file?.remove();
  }

  #frontEndRegion({ index, config }: Vring, packed: boolean): Uint8Array | undefined {
    const area = this.#frontEnd;
    if (area === undefined || index >= area.queues || config.size !== area.queueSize) return undefined;
    const regionBytes = queueRegionBytes(area.queueSize, packed);
    if ((index + 1) * regionBytes > area.sizeBytes) return undefined;
    return area.mapping.window(area.offset + index * regionBytes, regionBytes);
  }

  /** What goes wrong with the file costs nothing but the knowledge of what is under way: it is said, and not tried again. */
  #inFile<T>(use: (file: InflightFile) => T): T | undefined {
    if (this.#file === undefined) return undefined;
    try {
      return use(this.#file);
    } catch (error) {
      this.#options.report(`requests under way are not written down: ${String(error)}`);
      this.#file = undefined;
      return undefined;
    }
  }

  #identity({ config, addresses }: Vring, packed: boolean): string {
    const file = this.#options.table.fileOf(addresses!.descriptor) ?? '';
    const { size, descriptorArea, driverArea, deviceArea } = config;
    return [
      'r',
      file,
      descriptorArea.value,
      driverArea.value,
      deviceArea.value,
      size,
      packed ? 'p' : 's',
    ].join(' ');
  }

  #closeFrontEnd(): void {
    this.#frontEnd?.mapping.close();
    if (this.#frontEnd) closeFd(this.#frontEnd.fd);
    this.#frontEnd = undefined;
  }
}

function bytesOf({ config }: Vring, packed: boolean): number {
  return queueRegionBytes(config.size, packed);
}
