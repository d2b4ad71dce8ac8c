/**
 * An overlay's own storage in another backend: a header, the bitmap of clusters, and the clusters' data, each at a place of its own so
 * that the file stays sparse. An overlay that is thrown away has only the data.
 *
 * Order on the medium: data, then the bits that say it is there. A bit without its data would show zeroes where the base has data.
 */
import { Errno } from '../../../errno.js';
import type { BlockBackend } from '../block-backend.js';
import { completed, readBytes, writeBytes } from '../bytes.js';
import { BlockBackendError } from '../errors.js';
import { BITMAP_BLOCK_BYTES, bitmapBytes, ClusterBitmap } from './cluster-bitmap.js';

const HEADER_BYTES = 4096;
/** 'chassis-overlay' and a NUL. */
const MAGIC = new TextEncoder().encode('chassis-overlay\0');
const VERSION = 1;
/** Offsets in the header, little-endian: u32 version, u32 cluster bytes, then u64 each. */
const HeaderField = {
  VERSION: 16,
  CLUSTER_BYTES: 20,
  SIZE: 24,
  BASE_SIZE: 32,
  BASE_VISIBLE: 40,
  DATA_OFFSET: 48,
} as const;

/** Room for bits is kept for so many times the size, and for a terabyte at least: sparse files have it for nothing. */
const GROWTH_FACTOR = 8;
const GROWTH_BYTES = 2 ** 40;

/** What an overlay is like; all of it is in the header. */
export interface OverlayGeometry {
  readonly clusterBytes: number;
  sizeBytes: number;
  /** Size of the base when the overlay was made. */
  readonly baseBytes: number;
  /** How much of the base still shows: what an overlay was cut off from does not come back. */
  baseVisibleBytes: number;
}

/** Where the data of an overlay of this size starts that can be opened again. */
function dataOffsetFor(sizeBytes: number, clusterBytes: number): number {
  const reserved = Math.max(sizeBytes * GROWTH_FACTOR, GROWTH_BYTES);
  return HEADER_BYTES + bitmapBytes(Math.ceil(reserved / clusterBytes));
}

/** Bytes of storage that an overlay with a disk of `sizeBytes` needs where it is to be opened again: a sparse file's size. */
export function overlayFileBytes(sizeBytes: number, clusterBytes: number): number {
  return dataOffsetFor(sizeBytes, clusterBytes) + roundUp(sizeBytes, clusterBytes);
}

export class OverlayStore {
  readonly top: BlockBackend;
  readonly geometry: OverlayGeometry;
  readonly bitmap: ClusterBitmap;
  /** Where in `top` the byte of the disk with offset 0 is. */
  readonly dataOffset: number;
  /** False where nothing but data is stored, since the overlay is thrown away. */
  readonly isKept: boolean;

  private constructor(
    top: BlockBackend,
    geometry: OverlayGeometry,
    dataOffset: number,
    isKept: boolean,
    bits?: Uint8Array,
  ) {
    this.top = top;
    this.geometry = geometry;
    this.dataOffset = dataOffset;
    this.isKept = isKept;
    this.bitmap = new ClusterBitmap(Math.ceil(geometry.sizeBytes / geometry.clusterBytes), bits);
  }

  /**
   * An overlay whose bitmap is in memory alone: a new one, or the one that `bits` tell of. `top` holds the disk rounded up to whole clusters.
   */
  static thrownAway(top: BlockBackend, geometry: OverlayGeometry, bits?: Uint8Array): OverlayStore {
    return new OverlayStore(top, geometry, 0, false, bits);
  }

  /**
   * The overlay that is in `top`, or a new one where that holds none: its first bytes are zeroes. `wanted` is what it must be like.
   *
   * @throws BlockBackendError BACKEND_WRONG_KIND where it holds something else, or an overlay of something else; BACKEND_REFUSED
   *   where it cannot be read or written
   */
  static async kept(top: BlockBackend, wanted: OverlayGeometry): Promise<OverlayStore> {
    try {
      return await OverlayStore.#open(top, wanted);
    } catch (error) {
      if (error instanceof BlockBackendError) throw error;
      throw new BlockBackendError('BACKEND_REFUSED', `the overlay: ${(error as Error).message}`);
    }
  }

  static async #open(top: BlockBackend, wanted: OverlayGeometry): Promise<OverlayStore> {
    const header = await readBytes(top, 0, HEADER_BYTES);
    if (header.every((byte) => byte === 0)) return OverlayStore.#create(top, wanted);
    const { geometry, dataOffset } = decodeHeader(header);
    if (geometry.clusterBytes !== wanted.clusterBytes || geometry.baseBytes !== wanted.baseBytes) {
      throw wrongKind(
        'the overlay was made over another disk, or with other clusters',
        'give the disk that it was made over',
      );
    }
    if (dataOffset + roundUp(geometry.sizeBytes, geometry.clusterBytes) > top.sizeBytes) {
      throw wrongKind('the overlay is cut off', 'use a copy that is whole');
    }
    const store = new OverlayStore(top, geometry, dataOffset, true);
    await store.#loadBitmap();
    return store;
  }

  static async #create(top: BlockBackend, geometry: OverlayGeometry): Promise<OverlayStore> {
    const dataOffset = dataOffsetFor(geometry.sizeBytes, geometry.clusterBytes);
    const store = new OverlayStore(top, geometry, dataOffset, true);
    const result = await store.grow(geometry.sizeBytes);
    if (result < 0) throw wrongKind('there is no room for the overlay', 'give an empty file');
    await store.writeHeader();
    return store;
  }

  /** Brings what has been written to the medium, and then the bits for it. 0 or a negative errno. */
  async flush(): Promise<number> {
    const { top, bitmap } = this;
    // The bits as of now: those that are set meanwhile are for data that this flush does not cover.
    const blocks = this.isKept ? bitmap.takeChanged() : [];
    let result = await completed((done) => top.flush(done));
    if (blocks.length > 0 && result === 0) result = await this.#writeBlocks(blocks);
    if (result < 0) bitmap.putBack(blocks);
    return result;
  }

  /** Makes room for a disk of `sizeBytes`. 0 or a negative errno. */
  async grow(sizeBytes: number): Promise<number> {
    const { top, dataOffset } = this;
    const { clusterBytes } = this.geometry;
    const clusters = Math.ceil(sizeBytes / clusterBytes);
    if (this.isKept && HEADER_BYTES + bitmapBytes(clusters) > dataOffset) return -Errno.EFBIG;
    if (!this.bitmap.hasRoomFor(clusters)) return -Errno.EFBIG;
    const needed = dataOffset + clusters * clusterBytes;
    return needed > top.sizeBytes ? top.resize(needed) : 0;
  }

  /** @throws Error with a negative `errno` where it cannot be written */
  async writeHeader(): Promise<void> {
    if (this.isKept) await writeBytes(this.top, 0, encodeHeader(this.geometry, this.dataOffset), true);
  }

  async #writeBlocks(blocks: readonly { block: number; bytes: Uint8Array }[]): Promise<number> {
    try {
      for (const { block, bytes } of blocks) {
        await writeBytes(this.top, HEADER_BYTES + block * BITMAP_BLOCK_BYTES, bytes);
      }
    } catch (error) {
      return (error as { errno: number }).errno;
    }
    return completed((done) => this.top.flush(done));
  }

  async #loadBitmap(): Promise<void> {
    const { bytes } = this.bitmap;
    const PART = 256 * BITMAP_BLOCK_BYTES;
    for (let at = 0; at < bytes.length; at += PART) {
      bytes.set(await readBytes(this.top, HEADER_BYTES + at, Math.min(PART, bytes.length - at)), at);
    }
  }
}

function encodeHeader(geometry: OverlayGeometry, dataOffset: number): Uint8Array {
  const bytes = new Uint8Array(HEADER_BYTES);
  const view = new DataView(bytes.buffer);
  bytes.set(MAGIC);
  view.setUint32(HeaderField.VERSION, VERSION, true);
  view.setUint32(HeaderField.CLUSTER_BYTES, geometry.clusterBytes, true);
  view.setBigUint64(HeaderField.SIZE, BigInt(geometry.sizeBytes), true);
  view.setBigUint64(HeaderField.BASE_SIZE, BigInt(geometry.baseBytes), true);
  view.setBigUint64(HeaderField.BASE_VISIBLE, BigInt(geometry.baseVisibleBytes), true);
  view.setBigUint64(HeaderField.DATA_OFFSET, BigInt(dataOffset), true);
  return bytes;
}

/** @throws BlockBackendError BACKEND_WRONG_KIND for what is no header, or one that contradicts itself */
function decodeHeader(bytes: Uint8Array): { geometry: OverlayGeometry; dataOffset: number } {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (!MAGIC.every((byte, i) => bytes[i] === byte)) {
    throw wrongKind('the file is no overlay', 'give an empty file, or one that was made as an overlay');
  }
  if (view.getUint32(HeaderField.VERSION, true) !== VERSION) {
    throw wrongKind('the overlay was made by another version', 'use the version that made it');
  }
  const geometry: OverlayGeometry = {
    clusterBytes: view.getUint32(HeaderField.CLUSTER_BYTES, true),
    sizeBytes: Number(view.getBigUint64(HeaderField.SIZE, true)),
    baseBytes: Number(view.getBigUint64(HeaderField.BASE_SIZE, true)),
    baseVisibleBytes: Number(view.getBigUint64(HeaderField.BASE_VISIBLE, true)),
  };
  const dataOffset = Number(view.getBigUint64(HeaderField.DATA_OFFSET, true));
  const { clusterBytes, sizeBytes, baseVisibleBytes } = geometry;
  const numbers = [sizeBytes, geometry.baseBytes, baseVisibleBytes, dataOffset];
  const sane =
    isClusterSize(clusterBytes) &&
    sizeBytes > 0 &&
    numbers.every((number) => Number.isSafeInteger(number) && number % 512 === 0) &&
    dataOffset >= HEADER_BYTES + bitmapBytes(Math.ceil(sizeBytes / clusterBytes));
  if (!sane) throw wrongKind('the overlay is damaged', 'use a copy that is whole');
  return { geometry, dataOffset };
}

export function isClusterSize(bytes: number): boolean {
  return Number.isInteger(Math.log2(bytes)) && bytes >= 512 && bytes <= 2 ** 21;
}

function wrongKind(message: string, suggestion: string): BlockBackendError {
  return new BlockBackendError('BACKEND_WRONG_KIND', message, suggestion);
}

function roundUp(bytes: number, unit: number): number {
  return Math.ceil(bytes / unit) * unit;
}
