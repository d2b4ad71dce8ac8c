/** Where reading an open directory by Tread stands: names are fetched some at a time, and given as the stats of their files. */
import type { ByteString, DirectorySink, MaybePromise, OpenFile } from '../fs/file-system.js';

/** Names fetched at a time. */
const BATCH_NAMES = 64;

/** Where a listing stands, for another server that goes on with it. */
export interface ListingState {
  readonly offset: number;
  readonly cookie: number;
  /** Fetched, and not given yet. */
  readonly names: readonly ByteString[];
}

export class StatListing implements DirectorySink {
  /** Bytes of stats given so far: the only offset, but for 0, at which one may go on. */
  offset = 0;
  /** The position behind the last name fetched. */
  #cookie = 0;
  readonly #names: ByteString[] = [];
  #at = 0;

  static from({ offset, cookie, names }: ListingState): StatListing {
    const listing = new StatListing();
    listing.offset = offset;
    listing.#cookie = cookie;
    listing.#names.push(...names);
    return listing;
  }

  get state(): ListingState {
    return { offset: this.offset, cookie: this.#cookie, names: this.#names.slice(this.#at) };
  }

  /** Goes back to the start. */
  restart(): void {
    this.offset = 0;
    this.#cookie = 0;
    this.#names.length = 0;
    this.#at = 0;
  }

  /** The name whose stat comes next; undefined where more have to be fetched. */
  get next(): ByteString | undefined {
    return this.#names[this.#at];
  }

  /** The next name is done with. */
  advance(): void {
    this.#at++;
  }

  /** Fetches names: what `readdir` answered. There are none after it at the end of the directory. */
  fetch(directory: OpenFile): MaybePromise<number> {
    this.#names.length = 0;
    this.#at = 0;
    return directory.readdir(this.#cookie, this);
  }

  /** As a sink: 9P2000's directories do not list themselves. */
  entry(name: ByteString, _inodeLow: number, _inodeHigh: number, _type: number, cookie: number): boolean {
    if (this.#names.length >= BATCH_NAMES) return false;
    this.#cookie = cookie;
    if (name !== '.' && name !== '..') this.#names.push(name);
    return true;
  }
}
