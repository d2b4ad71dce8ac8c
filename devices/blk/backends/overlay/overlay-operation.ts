/** One request to an overlay, taken apart at the borders of what is in the overlay and what still is in the base. */
import { IoVector } from '../../../io-vector.js';
import { PENDING, type BlockBackend, type BlockCompletion } from '../block-backend.js';
import type { OverlayStore } from './overlay-store.js';

export const OverlayKind = { read: 0, write: 1, zeroes: 2, discard: 3 } as const;
export type OverlayKind = (typeof OverlayKind)[keyof typeof OverlayKind];

const NOTHING = new IoVector();
const NOBODY: BlockCompletion = { complete: () => {} };

/** What follows when the call that is under way has succeeded. */
const Phase = {
  /** The part is done. */
  part: 0,
  /** The part's clusters have their data, and so are in the overlay now. */
  allocated: 1,
  /** The base's cluster has been read into the buffer: what is written goes over it. */
  copied: 2,
  /** Everything is done. */
  ended: 3,
} as const;
type Phase = (typeof Phase)[keyof typeof Phase];

/** What an operation needs of its overlay. */
export interface OverlayParts {
  readonly base: BlockBackend;
  readonly store: OverlayStore;
  /** Brings the overlay's bits to the medium. */
  persist(completion: BlockCompletion): number;
  ended(operation: OverlayOperation, result: number): void;
}

/** Pooled. It runs its parts one after the other. */
export class OverlayOperation implements BlockCompletion {
  kind: OverlayKind = OverlayKind.read;
  completion: BlockCompletion = NOBODY;
  /** The clusters that it touches; while it gives some of them data, nobody else writes to any of them. */
  firstCluster = 0;
  lastCluster = 0;
  readonly #parts: OverlayParts;
  /** The part of the vector that is under way. */
  readonly #slice = new IoVector();
  readonly #cluster = new IoVector();
  #buffer: Uint8Array | undefined;
  #vector = NOTHING;
  #offsetBytes = 0;
  #lengthBytes = 0;
  #durable = false;
  #mayUnmap = false;
  #doneBytes = 0;
  #partBytes = 0;
  #phase: Phase = Phase.part;
  #allocates = false;

  constructor(parts: OverlayParts) {
    this.#parts = parts;
  }

  /** `vector` is empty for zeroes and discards; `durable` and `mayUnmap` are for those that know them. */
  prepare(
    kind: OverlayKind,
    offsetBytes: number,
    lengthBytes: number,
    vector: IoVector,
    completion: BlockCompletion,
  ): void {
    const { clusterBytes } = this.#parts.store.geometry;
    this.kind = kind;
    this.completion = completion;
    this.firstCluster = Math.floor(offsetBytes / clusterBytes);
    this.lastCluster = Math.floor((offsetBytes + lengthBytes - 1) / clusterBytes);
    this.#vector = vector;
    this.#offsetBytes = offsetBytes;
    this.#lengthBytes = lengthBytes;
    this.#durable = false;
    this.#mayUnmap = false;
    this.#doneBytes = 0;
    this.#partBytes = 0;
    this.#phase = Phase.part;
    this.#allocates = false;
  }

  set durable(durable: boolean) {
    this.#durable = durable;
  }

  set mayUnmap(mayUnmap: boolean) {
    this.#mayUnmap = mayUnmap;
  }

  /** Runs until something has to be waited for, or to the end: 0, a negative errno, or PENDING. */
  run(): number {
    for (;;) {
      const result = this.#phase === Phase.copied ? this.#writeCopied() : this.#nextPart();
      if (result !== 0) return result;
      if (this.#succeeded()) return 0;
    }
  }

  complete(result: number): void {
    const outcome = result < 0 ? result : this.#succeeded() ? 0 : this.run();
    if (outcome === PENDING) return;
    this.#vector = NOTHING;
    this.#parts.ended(this, outcome);
  }

  /** Takes the success of what was under way; true where that was all. */
  #succeeded(): boolean {
    const { store } = this.#parts;
    switch (this.#phase) {
      case Phase.ended:
        return true;
      case Phase.copied:
        return false;
      case Phase.allocated: {
        const { clusterBytes } = store.geometry;
        const at = this.#offsetBytes + this.#doneBytes;
        const first = Math.floor(at / clusterBytes);
        store.bitmap.set(first, Math.ceil((at + this.#partBytes) / clusterBytes) - first);
        this.#allocates = true;
      }
    }
    this.#doneBytes += this.#partBytes;
    return false;
  }

  /** Starts what comes next from `#doneBytes` on. */
  #nextPart(): number {
    const { store } = this.#parts;
    const left = this.#lengthBytes - this.#doneBytes;
    if (left === 0) return this.#finish();
    const { clusterBytes } = store.geometry;
    const at = this.#offsetBytes + this.#doneBytes;
    const cluster = Math.floor(at / clusterBytes);
    const clusters = Math.ceil((at + left) / clusterBytes) - cluster;
    const run = store.bitmap.run(cluster, clusters);
    const runBytes = Math.min(left, (cluster + run) * clusterBytes - at);
    this.#phase = Phase.part;
    if (store.bitmap.has(cluster)) return this.#onTop(at, runBytes);
    if (this.kind === OverlayKind.read) return this.#readBase(at, runBytes);
    if (this.kind === OverlayKind.discard) {
      // What is the base's is not ours to give back.
      this.#partBytes = runBytes;
      return 0;
    }
    return this.#allocate(at, runBytes);
  }

  #finish(): number {
    this.#phase = Phase.ended;
    const { store } = this.#parts;
    return this.#durable && this.#allocates && store.isKept ? this.#parts.persist(this) : 0;
  }

  /** Clusters that the overlay has. */
  #onTop(at: number, lengthBytes: number): number {
    const { top, dataOffset } = this.#parts.store;
    this.#partBytes = lengthBytes;
    const place = dataOffset + at;
    switch (this.kind) {
      case OverlayKind.read:
        return top.read(place, this.#sliceOf(lengthBytes), this);
      case OverlayKind.write:
        return top.write(place, this.#sliceOf(lengthBytes), this.#durable, this);
      case OverlayKind.zeroes:
        return top.writeZeroes(place, lengthBytes, this.#mayUnmap, this);
      default:
        return top.discard(place, lengthBytes, this);
    }
  }

  #readBase(at: number, lengthBytes: number): number {
    const { base, store } = this.#parts;
    const visible = store.geometry.baseVisibleBytes - at;
    if (visible <= 0) {
      this.#partBytes = lengthBytes;
      zeroFill(this.#sliceOf(lengthBytes));
      return 0;
    }
    this.#partBytes = Math.min(lengthBytes, visible);
    return base.read(at, this.#sliceOf(this.#partBytes), this);
  }

  /** Clusters that the overlay does not have yet: whole ones at once, a part of one with the base's data around it. */
  #allocate(at: number, lengthBytes: number): number {
    const { store } = this.#parts;
    const { clusterBytes } = store.geometry;
    const skip = at % clusterBytes;
    const whole = skip === 0 ? lengthBytes - (lengthBytes % clusterBytes) : 0;
    if (whole > 0) {
      this.#phase = Phase.allocated;
      return this.#onTop(at, whole);
    }
    this.#partBytes = Math.min(lengthBytes, clusterBytes - skip);
    return this.#copy(at - skip);
  }

  /** Reads the base's cluster at `start`; what the base does not have is zeroes. */
  #copy(start: number): number {
    const { base, store } = this.#parts;
    const { clusterBytes, baseVisibleBytes } = store.geometry;
    const buffer = (this.#buffer ??= new Uint8Array(clusterBytes));
    const fromBase = Math.min(Math.max(baseVisibleBytes - start, 0), clusterBytes);
    buffer.fill(0, fromBase);
    this.#phase = Phase.copied;
    if (fromBase === 0) return 0;
    this.#cluster.clear();
    this.#cluster.push(buffer, 0, fromBase, 0);
    return base.read(start, this.#cluster, this);
  }

  #writeCopied(): number {
    const { top, dataOffset, geometry } = this.#parts.store;
    const { clusterBytes } = geometry;
    const buffer = this.#buffer as Uint8Array;
    const at = this.#offsetBytes + this.#doneBytes;
    const skip = at % clusterBytes;
    if (this.kind === OverlayKind.zeroes) buffer.fill(0, skip, skip + this.#partBytes);
    else this.#vector.gather(this.#doneBytes, buffer, skip, this.#partBytes);
    this.#cluster.clear();
    this.#cluster.push(buffer, 0, clusterBytes, 0);
    this.#phase = Phase.allocated;
    return top.write(dataOffset + at - skip, this.#cluster, this.#durable, this);
  }

  #sliceOf(lengthBytes: number): IoVector {
    return this.#vector.slice(this.#doneBytes, lengthBytes, this.#slice);
  }
}

function zeroFill(vector: IoVector): void {
  for (let i = 0; i < vector.count; i++) {
    vector.bytes[i].fill(0, vector.offsets[i], vector.offsets[i] + vector.lengths[i]);
  }
}
