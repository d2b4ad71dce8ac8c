/** Bytes of the bitmap that are written to the medium together. */
export const BITMAP_BLOCK_BYTES = 4096;

/** Which clusters of an overlay hold data of their own: a bit each, and which parts of that the medium does not know yet. */
export class ClusterBitmap {
  #bits: Uint8Array;
  #clusters: number;
  readonly #changedBlocks = new Set<number>();

  /** Where bits are given that are kept elsewhere, they never move, and those beyond the clusters are zero. */
  readonly #kept: boolean;
  #count = 0;

  constructor(clusters: number, kept?: Uint8Array) {
    this.#clusters = clusters;
    this.#kept = kept !== undefined;
    this.#bits = kept ?? new Uint8Array(bitmapBytes(clusters));
    if (kept === undefined) return;
    if (kept.length < bitmapBytes(clusters))
      throw new RangeError(`${kept.length} bytes for ${clusters} clusters`);
    this.recount();
  }

  /** Somebody else has set bits where they are kept. */
  recount(): void {
    this.#count = 0;
    for (let cluster = 0; cluster < this.#clusters; cluster++) {
      // Most of it is empty.
      if ((cluster & 7) === 0 && this.#bits[cluster >>> 3] === 0) cluster += 7;
      else if (this.has(cluster)) this.#count++;
    }
  }

  /** How many clusters hold data. */
  get count(): number {
    return this.#count;
  }

  /** Whether there is room for so many clusters. */
  hasRoomFor(clusters: number): boolean {
    return !this.#kept || bitmapBytes(clusters) <= this.#bits.length;
  }

  get clusters(): number {
    return this.#clusters;
  }

  has(cluster: number): boolean {
    return (this.#bits[cluster >>> 3] & (1 << (cluster & 7))) !== 0;
  }

  /** How many clusters from `first` on, `max` at most, are like it. */
  run(first: number, max: number): number {
    const value = this.has(first);
    const same = value ? 0xff : 0;
    let length = 1;
    while (length < max) {
      const cluster = first + length;
      if ((cluster & 7) === 0 && this.#bits[cluster >>> 3] === same) length += 8;
      else if (this.has(cluster) === value) length++;
      else break;
    }
    return Math.min(length, max);
  }

  set(first: number, count: number): void {
    for (let cluster = first; cluster < first + count; cluster++) {
      if (!this.has(cluster)) this.#count++;
      this.#bits[cluster >>> 3] |= 1 << (cluster & 7);
    }
    this.#changed(first, count);
  }

  clear(first: number, count: number): void {
    for (let cluster = first; cluster < first + count; cluster++) {
      if (this.has(cluster)) this.#count--;
      this.#bits[cluster >>> 3] &= ~(1 << (cluster & 7));
    }
    this.#changed(first, count);
  }

  /** Clusters beyond the old number have no data. */
  resize(clusters: number): void {
    if (clusters < this.#clusters) this.clear(clusters, this.#clusters - clusters);
    if (!this.#kept) {
      const bits = new Uint8Array(bitmapBytes(clusters));
      bits.set(this.#bits.subarray(0, bits.length));
      this.#bits = bits;
    }
    // On the medium there may be bits of an earlier time, when the overlay was larger.
    if (clusters > this.#clusters) this.#changed(this.#clusters, clusters - this.#clusters);
    this.#clusters = clusters;
  }

  /** The bits as they are on the medium: whole blocks. To fill, when an overlay is opened again. */
  get bytes(): Uint8Array {
    return this.#bits;
  }

  get changed(): boolean {
    return this.#changedBlocks.size > 0;
  }

  /** Takes the blocks that have changed since the last time, copied as they are now. */
  takeChanged(): { readonly block: number; readonly bytes: Uint8Array }[] {
    const blocks = [...this.#changedBlocks];
    this.#changedBlocks.clear();
    const inside = blocks.filter((block) => block * BITMAP_BLOCK_BYTES < this.#bits.length);
    return inside.map((block) => {
      const at = block * BITMAP_BLOCK_BYTES;
      return { block, bytes: this.#bits.slice(at, at + BITMAP_BLOCK_BYTES) };
    });
  }

  /** These have not got to the medium after all. */
  putBack(blocks: readonly { readonly block: number }[]): void {
    for (const { block } of blocks) this.#changedBlocks.add(block);
  }

  #changed(first: number, count: number): void {
    const perBlock = BITMAP_BLOCK_BYTES * 8;
    const last = Math.floor((first + count - 1) / perBlock);
    for (let block = Math.floor(first / perBlock); block <= last; block++) this.#changedBlocks.add(block);
  }
}

/** Bytes that the bits of so many clusters take: whole blocks. */
export function bitmapBytes(clusters: number): number {
  return Math.ceil(clusters / (8 * BITMAP_BLOCK_BYTES)) * BITMAP_BLOCK_BYTES;
}
