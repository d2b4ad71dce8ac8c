/**
 * A copy-on-write disk over another: what is written goes to storage of its own, and the base is only read. For guests whose
 * changes are thrown away, or kept apart from an image that many share.
 */
import { Errno } from '../../../errno.js';
import { IoVector } from '../../../io-vector.js';
import { SECTOR_BYTES } from '../../protocol.js';
import { BlockBackend, PENDING, type BlockCompletion, type BlockLimits } from '../block-backend.js';
import { completed } from '../bytes.js';
import { BlockBackendError, checkDiskSize } from '../errors.js';
import { FlushGate } from '../flush-gate.js';
import { bitmapBytes } from './cluster-bitmap.js';
import { MemoryBackend } from '../memory/memory-backend.js';
import { OverlayKind, OverlayOperation, type OverlayParts } from './overlay-operation.js';
import { isClusterSize, OverlayStore, type OverlayGeometry } from './overlay-store.js';

/** Guests write in pages, and a page needs nothing of the base. The bitmap takes 32 KiB of memory for each GiB. */
const DEFAULT_CLUSTER_BYTES = 4096;

/** The room that `bits` need for a disk that may grow to so many bytes. */
export function overlayBitmapBytes(maxBytes: number, clusterBytes = DEFAULT_CLUSTER_BYTES): number {
  return bitmapBytes(Math.ceil(maxBytes / clusterBytes));
}

const EMPTY = new IoVector();

export interface OverlayOptions {
  /** Size of the disk, which may be larger than the base; what is beyond the base is zeroes. Default: the base's size. */
  readonly sizeBytes?: number;
  /** Unit in which the overlay takes over from the base: a power of two from 512 to 2 MiB. Default: 4,096. */
  readonly clusterBytes?: number;
}

export interface ThrownAwayOptions extends OverlayOptions {
  /**
   * Where the bitmap is kept, beside the changes that `makeTop` answers: zeroes for a new overlay, else what the last one left there. A resize
   * goes as far as there is room (`overlayBitmapBytes`).
   */
  readonly bits?: Uint8Array;
  /** Most bytes that changes may take; writes beyond fail with ENOSPC. */
  readonly maxBytes?: number;
}

export interface MemoryOverlayOptions extends OverlayOptions {
  /** Most bytes of memory that changes may take; writes beyond fail with ENOSPC. Default: no limit but the disk's size. */
  readonly maxBytes?: number;
}

export class OverlayBackend extends BlockBackend implements OverlayParts {
  readonly limits: BlockLimits;
  readonly base: BlockBackend;
  readonly store: OverlayStore;
  readonly #idle: OverlayOperation[] = [];
  /** Operations that give clusters data for the first time, and those that wait for them. */
  readonly #allocating: OverlayOperation[] = [];
  #waiting: OverlayOperation[] = [];
  readonly #maxClusters: number;
  readonly #flushGate = new FlushGate((ended) => void this.store.flush().then(ended));

  private constructor(base: BlockBackend, store: OverlayStore, maxClusters = Infinity) {
    super();
    this.#maxClusters = maxClusters;
    this.base = base;
    this.store = store;
    base.troubled = (trouble) => this.troubled(trouble);
    store.top.troubled = (trouble) => this.troubled(trouble);
    const { limits } = base;
    const top = store.top.limits;
    this.limits = {
      ...limits,
      readOnly: false,
      discard: top.discard,
      writeZeroes: top.writeZeroes,
      secureErase: undefined,
      hasLifetime: false,
    };
  }

  /**
   * An overlay that is gone when it is closed. It owns the base, which may be read-only.
   *
   * @throws BlockBackendError SIZE_INVALID, NOT_SUPPORTED for clusters of a size that cannot be
   */
  static inMemory(base: BlockBackend, options: MemoryOverlayOptions = {}): OverlayBackend {
    const { maxBytes } = options;
    return OverlayBackend.thrownAway(
      base,
      (sizeBytes) => new MemoryBackend(maxBytes === undefined ? { sizeBytes } : { sizeBytes, maxBytes }),
      options,
    );
  }

  /**
   * As `inMemory`, with the changes in what `makeTop` answers: an empty backend of `sizeBytes` that can be resized, which goes with the
   * overlay.
   *
   * @throws BlockBackendError as `inMemory`; and what `makeTop` throws
   */
  static thrownAway(
    base: BlockBackend,
    makeTop: (sizeBytes: number) => BlockBackend,
    options: ThrownAwayOptions = {},
  ): OverlayBackend {
    const geometry = geometryFor(base, options);
    const { bits, maxBytes = Infinity } = options;
    const sizeBytes = Math.ceil(geometry.sizeBytes / geometry.clusterBytes) * geometry.clusterBytes;
    const store = OverlayStore.thrownAway(makeTop(sizeBytes), geometry, bits);
    return new OverlayBackend(base, store, Math.floor(maxBytes / geometry.clusterBytes));
  }

  /**
   * The overlay that is kept in `top` (see `overlayFileBytes` for how large that has to be), or a new one where that is all zeroes. An
   * overlay that is there has its own size. It owns base and top, which it leaves alone where this rejects.
   *
   * @throws BlockBackendError as `inMemory`, and BACKEND_WRONG_KIND where `top` holds something else
   */
  static async kept(
    base: BlockBackend,
    top: BlockBackend,
    options: OverlayOptions = {},
  ): Promise<OverlayBackend> {
    return new OverlayBackend(base, await OverlayStore.kept(top, geometryFor(base, options)));
  }

  get sizeBytes(): number {
    return this.store.geometry.sizeBytes;
  }

  override get trouble(): string | undefined {
    return this.base.trouble ?? this.store.top.trouble;
  }

  read(offsetBytes: number, into: IoVector, completion: BlockCompletion): number {
    const { store, base } = this;
    const lengthBytes = into.byteLength;
    const run = this.#runBytes(offsetBytes, lengthBytes);
    if (run >= lengthBytes) {
      if (this.#isOnTop(offsetBytes)) return store.top.read(store.dataOffset + offsetBytes, into, completion);
      if (offsetBytes + lengthBytes <= store.geometry.baseVisibleBytes) {
        return base.read(offsetBytes, into, completion);
      }
    }
    const operation = this.#operation(OverlayKind.read, offsetBytes, lengthBytes, into, completion);
    return this.#start(operation);
  }

  write(offsetBytes: number, from: IoVector, durable: boolean, completion: BlockCompletion): number {
    const lengthBytes = from.byteLength;
    if (this.#isAllOnTop(offsetBytes, lengthBytes)) {
      const { top, dataOffset } = this.store;
      return top.write(dataOffset + offsetBytes, from, durable, completion);
    }
    const operation = this.#operation(OverlayKind.write, offsetBytes, lengthBytes, from, completion);
    operation.durable = durable;
    return this.#startAllocating(operation);
  }

  writeZeroes(
    offsetBytes: number,
    lengthBytes: number,
    mayUnmap: boolean,
    completion: BlockCompletion,
  ): number {
    const operation = this.#operation(OverlayKind.zeroes, offsetBytes, lengthBytes, EMPTY, completion);
    operation.mayUnmap = mayUnmap;
    return this.#startAllocating(operation);
  }

  override discard(offsetBytes: number, lengthBytes: number, completion: BlockCompletion): number {
    if (this.limits.discard === undefined) return -Errno.EOPNOTSUPP;
    return this.#start(this.#operation(OverlayKind.discard, offsetBytes, lengthBytes, EMPTY, completion));
  }

  flush(completion: BlockCompletion): number {
    return this.store.isKept ? this.#flushGate.flush(completion) : this.store.top.flush(completion);
  }

  /** The base stays as it is: what is cut off is cut off from the overlay, and growing adds zeroes. */
  override async resize(sizeBytes: number): Promise<number> {
    const { store } = this;
    const { geometry } = store;
    const result = sizeBytes < geometry.sizeBytes ? await this.#cut(sizeBytes) : await store.grow(sizeBytes);
    if (result < 0) return result;
    store.bitmap.resize(Math.ceil(sizeBytes / geometry.clusterBytes));
    geometry.sizeBytes = sizeBytes;
    geometry.baseVisibleBytes = Math.min(geometry.baseVisibleBytes, sizeBytes);
    try {
      await store.writeHeader();
    } catch (error) {
      return (error as { errno: number }).errno;
    }
    return completed((done) => this.flush(done));
  }

  override abandon(): void {
    this.base.abandon();
    this.store.top.abandon();
  }

  async close(): Promise<void> {
    await this.store.top.close();
    await this.base.close();
  }

  persist(completion: BlockCompletion): number {
    return this.#flushGate.flush(completion);
  }

  ended(operation: OverlayOperation, result: number): void {
    const { completion } = operation;
    this.#recycle(operation);
    completion.complete(result);
  }

  #isOnTop(offsetBytes: number): boolean {
    return this.store.bitmap.has(Math.floor(offsetBytes / this.store.geometry.clusterBytes));
  }

  #isAllOnTop(offsetBytes: number, lengthBytes: number): boolean {
    return this.#isOnTop(offsetBytes) && this.#runBytes(offsetBytes, lengthBytes) >= lengthBytes;
  }

  /** How many bytes from `offsetBytes` on, `lengthBytes` or so at most, are all in the overlay or all not. */
  #runBytes(offsetBytes: number, lengthBytes: number): number {
    const { bitmap, geometry } = this.store;
    const { clusterBytes } = geometry;
    const first = Math.floor(offsetBytes / clusterBytes);
    const clusters = Math.floor((offsetBytes + lengthBytes - 1) / clusterBytes) - first + 1;
    return (first + bitmap.run(first, clusters)) * clusterBytes - offsetBytes;
  }

  #operation(
    kind: OverlayKind,
    offsetBytes: number,
    lengthBytes: number,
    vector: IoVector,
    completion: BlockCompletion,
  ): OverlayOperation {
    const operation = this.#idle.pop() ?? new OverlayOperation(this);
    operation.prepare(kind, offsetBytes, lengthBytes, vector, completion);
    return operation;
  }

  #start(operation: OverlayOperation): number {
    const result = operation.run();
    if (result !== PENDING) this.#recycle(operation);
    return result;
  }

  /**
   * An operation that may have to copy from the base. It has its clusters for itself: another's write to the rest of such a cluster
   * would be undone by the copy.
   */
  #startAllocating(operation: OverlayOperation): number {
    if (!this.#hasRoomFor(operation)) {
      this.#idle.push(operation);
      return -Errno.ENOSPC;
    }
    if (this.#conflicts(operation)) {
      this.#waiting.push(operation);
      return PENDING;
    }
    this.#allocating.push(operation);
    return this.#start(operation);
  }

  #hasRoomFor({ kind, firstCluster, lastCluster }: OverlayOperation): boolean {
    if (kind === OverlayKind.discard) return true;
    return this.store.bitmap.count + lastCluster - firstCluster + 1 <= this.#maxClusters;
  }

  #conflicts({ firstCluster, lastCluster }: OverlayOperation): boolean {
    return this.#allocating.some(
      (other) => firstCluster <= other.lastCluster && other.firstCluster <= lastCluster,
    );
  }

  #recycle(operation: OverlayOperation): void {
    this.#idle.push(operation);
    const at = this.#allocating.indexOf(operation);
    if (at < 0) return;
    this.#allocating.splice(at, 1);
    if (this.#waiting.length > 0) queueMicrotask(this.#resume);
  }

  /** Starts those that waited and need not any more; not from within the call that let them. */
  readonly #resume = (): void => {
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const operation of waiting) {
      const { completion } = operation;
      const result = this.#startAllocating(operation);
      if (result !== PENDING) completion.complete(result);
    }
  };

  /** Takes away what lies beyond a smaller size. 0 or a negative errno. */
  async #cut(sizeBytes: number): Promise<number> {
    const { top, geometry, dataOffset, bitmap } = this.store;
    const { clusterBytes } = geometry;
    const clusters = Math.ceil(sizeBytes / clusterBytes);
    const tail = clusters * clusterBytes - sizeBytes;
    if (tail > 0 && bitmap.has(clusters - 1)) {
      const result = await completed((done) => top.writeZeroes(dataOffset + sizeBytes, tail, true, done));
      if (result < 0) return result;
    }
    const rest = (bitmap.clusters - clusters) * clusterBytes;
    if (rest === 0 || top.limits.discard === undefined) return 0;
    const result = await completed((done) => top.discard(dataOffset + clusters * clusterBytes, rest, done));
    return Math.min(result, 0);
  }
}

function geometryFor(base: BlockBackend, options: OverlayOptions): OverlayGeometry {
  const { sizeBytes = base.sizeBytes, clusterBytes = DEFAULT_CLUSTER_BYTES } = options;
  checkDiskSize('the overlay', sizeBytes);
  if (!isClusterSize(clusterBytes)) {
    throw new BlockBackendError(
      'NOT_SUPPORTED',
      `clusters of ${clusterBytes} bytes cannot be`,
      `give a power of two from ${SECTOR_BYTES} to ${2 ** 21}`,
    );
  }
  const baseBytes = base.sizeBytes;
  return { sizeBytes, clusterBytes, baseBytes, baseVisibleBytes: Math.min(baseBytes, sizeBytes) };
}
