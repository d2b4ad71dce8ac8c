/**
 * Large directories as they were listed last, for as long as nothing in them changes: programs list the same ones again and again, and
 * reading one costs the kernel more than all else about it costs us. What is kept is what getdents64 gave, and is good for whoever has the
 * directory open.
 *
 * A directory's ctime says whether anything in it was added, removed or renamed, if two changes cannot have the same one. They can within a
 * tick of the kernel's clock; so a listing is kept only if the last change was well before it began.
 */
import type { DirectoryBuffer } from './scratch.js';
import type { Identity, StatxBuffer } from './statx-buffer.js';

/** Of all listings of this process together. */
const MAX_BYTES = 8 * 1024 * 1024;
/** Of one: some 16,000 entries. */
const MAX_LISTING_BYTES = 512 * 1024;
/** Longer than a tick of any kernel's clock. */
const SETTLED_MS = 100;

type Inode = Pick<Identity, 'device' | 'inodeLow' | 'inodeHigh'>;

/** All entries of a directory, as they came. */
export interface Listing {
  readonly buffers: readonly DirectoryBuffer[];
  readonly sizeBytes: number;
  readonly stamp: string;
}

/** A listing that is being read for the first time. */
export class Recording {
  readonly key: string;
  readonly stamp: string;
  readonly buffers: DirectoryBuffer[] = [];
  sizeBytes = 0;

  constructor(key: string, stamp: string) {
    this.key = key;
    this.stamp = stamp;
  }

  /** Keeps what was read; false where it is too much by now. */
  add(buffer: DirectoryBuffer, lengthBytes: number): boolean {
    this.sizeBytes += lengthBytes;
    this.buffers.push(buffer.copy(lengthBytes));
    return this.sizeBytes <= MAX_LISTING_BYTES;
  }
}

export class ListingCache {
  /** The one used last comes last. */
  readonly #listings = new Map<string, Listing>();
  #sizeBytes = 0;

  /** True where there is a listing of the directory, be it out of date. Costs next to nothing. */
  has(directory: Inode): boolean {
    return this.#listings.size > 0 && this.#listings.has(keyOf(directory));
  }

  /** What a directory, whose attributes are in `statx`, was when it was listed, if it is that still. */
  find(statx: StatxBuffer): Listing | undefined {
    const key = keyOf(statx);
    const listing = this.#listings.get(key);
    if (listing === undefined) return undefined;
    this.#delete(key, listing);
    if (listing.stamp !== statx.changeStamp()) return undefined;
    this.#set(key, listing);
    return listing;
  }

  /** Begins to keep what is read of a directory from `startMs` on (Date.now), whose attributes were looked at since; undefined where it is changing. */
  record(statx: StatxBuffer, startMs: number): Recording | undefined {
    const ageMs = startMs - statx.changedMs();
    // A time to come was set by somebody, or the clock was: nothing can be known from it.
    return ageMs >= SETTLED_MS ? new Recording(keyOf(statx), statx.changeStamp()) : undefined;
  }

  /** The directory has been read to its end. */
  keep({ key, stamp, buffers, sizeBytes }: Recording): void {
    const old = this.#listings.get(key);
    if (old !== undefined) this.#delete(key, old);
    this.#set(key, { stamp, buffers, sizeBytes });
    for (const [oldest, listing] of this.#listings) {
      if (this.#sizeBytes <= MAX_BYTES) break;
      this.#delete(oldest, listing);
    }
  }

  #set(key: string, listing: Listing): void {
    this.#listings.set(key, listing);
    this.#sizeBytes += listing.sizeBytes;
  }

  #delete(key: string, listing: Listing): void {
    this.#listings.delete(key);
    this.#sizeBytes -= listing.sizeBytes;
  }
}

function keyOf({ device, inodeHigh, inodeLow }: Inode): string {
  return `${device}:${inodeHigh}:${inodeLow}`;
}

/** One for all exports of this process. */
export const listingCache = new ListingCache();
