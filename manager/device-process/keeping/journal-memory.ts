/**
 * A 9p session's journal in a memory file, which whoever keeps the connection holds open: what is written is there after a kill, whenever it comes.
 * No file system has a part in it, and no page of it goes to a disk.
 *
 * The file: which[4], then twice offset[4] length[4] (in pages), padding up to 4096; then the journals. `which` is 0 for none, or says which of the two
 * places has the journal: a new one is written beside it, and takes its place by that one word.
 */
import { ftruncateSync } from 'node:fs';
import type { HeldFiles } from '../../../devices/9p/server/journal/held-files.js';
import type { JournalStore } from '../../../devices/9p/server/journal/journal-store.js';
import { closeFd, memoryFile, SharedMapping } from '../../../host/index.js';
import type { LogMethod } from '../../logging/log.js';
import { Allowance } from './allowance.js';

const PAGE_BYTES = 4096;
/** Two of the largest journals. */
const MAX_PAGES = 2 ** 31 / PAGE_BYTES;
/** Pages for so many bytes of journals. */
export function journalPages(bytes: number): Allowance {
  return new Allowance(Math.ceil(bytes / PAGE_BYTES));
}

const WHICH = 0;
const NONE = 0;
/** Two words each, behind `which`. */
const PLACES = 1;

interface Place {
  readonly offsetPages: number;
  readonly pages: number;
}

export class JournalMemory implements JournalStore {
  readonly files: HeldFiles | undefined;
  readonly #log: LogMethod;
  readonly #pages: Allowance;
  #taken = 0;
  #fd: number;
  #mapping: SharedMapping;
  #header: Int32Array;
  #next: Place | undefined;

  /** `pages` are those that it may take, alone or with others. @throws HostError where there is no memory for it */
  constructor(files: HeldFiles | undefined, log: LogMethod, pages = new Allowance(MAX_PAGES)) {
    this.files = files;
    this.#log = log;
    this.#pages = pages;
    this.#fd = memoryFile('chassis-session');
    this.#grow(1);
    this.#mapping = this.#map();
    this.#header = this.#headerOf(this.#mapping);
  }

  /** The file, for whoever is to hold it: another one once `adopt` was called. */
  get fd(): number {
    return this.#fd;
  }

  /** The file's size. */
  get mappedBytes(): number {
    return this.#mapping.byteLength;
  }

  /** Goes on with the file that a process before this one had, which is taken. False where it is none, and all is as before. */
  adopt(fd: number): boolean {
    try {
      const mapping = new SharedMapping(fd, PAGE_BYTES);
      this.close();
      // There was room for it where it was made.
      this.#room(mapping.byteLength / PAGE_BYTES);
      this.#fd = fd;
      this.#mapping = mapping;
      this.#header = this.#headerOf(mapping);
      return true;
    } catch (error) {
      closeFd(fd);
      this.#failed('read', error);
      return false;
    }
  }

  read(): Uint8Array | undefined {
    const place = this.#current();
    return place && this.#windowOf(place)?.slice();
  }

  create(sizeBytes: number): Uint8Array | undefined {
    this.#next = undefined;
    const pages = Math.ceil(sizeBytes / PAGE_BYTES);
    const current = this.#current();
    const isRoomBefore = current === undefined || 1 + pages <= current.offsetPages;
    const place = { offsetPages: isRoomBefore ? 1 : current.offsetPages + current.pages, pages };
    try {
      this.#reach(place);
      this.#next = place;
      return this.#mapping.window(place.offsetPages * PAGE_BYTES, sizeBytes);
    } catch (error) {
      this.#failed('make', error);
      return undefined;
    }
  }

  commit(): void {
    if (this.#next === undefined) return;
    const which = Atomics.load(this.#header, WHICH) === 1 ? 2 : 1;
    const at = PLACES + 2 * (which - 1);
    Atomics.store(this.#header, at, this.#next.offsetPages);
    Atomics.store(this.#header, at + 1, this.#next.pages);
    Atomics.store(this.#header, WHICH, which);
    this.#next = undefined;
  }

  remove(): void {
    Atomics.store(this.#header, WHICH, NONE);
    this.#next = undefined;
  }

  close(): void {
    this.#pages.giveBack(this.#taken);
    this.#taken = 0;
    this.#mapping.close();
    closeFd(this.#fd);
  }

  /** What the header says comes from another process; a place that the file has not is none. */
  #current(): Place | undefined {
    const which = Atomics.load(this.#header, WHICH);
    if (which !== 1 && which !== 2) return undefined;
    const [offsetPages, pages] = this.#header.subarray(PLACES + 2 * (which - 1), PLACES + 2 * which);
    const isThere =
      offsetPages >= 1 && pages >= 1 && endOf({ offsetPages, pages }) <= this.#mapping.byteLength;
    return isThere ? { offsetPages, pages } : undefined;
  }

  #windowOf({ offsetPages, pages }: Place): Uint8Array {
    return this.#mapping.window(offsetPages * PAGE_BYTES, pages * PAGE_BYTES);
  }

  /** Maps the file anew where it has to grow. What is written to meanwhile stays what it was: the same memory, seen twice. */
  #reach(place: Place): void {
    if (endOf(place) > this.#mapping.byteLength) {
      this.#grow(place.offsetPages + place.pages);
      this.#mapping = this.#map();
      this.#header = this.#headerOf(this.#mapping);
    }
  }

  /** Has this many pages, where they are to be had. */
  #room(pages: number): boolean {
    const hasRoom = this.#pages.take(pages - this.#taken);
    if (hasRoom) this.#taken = pages;
    return hasRoom;
  }

  /** Memory is taken as it is written to. @throws Error */
  #grow(pages: number): void {
    if (pages > this.#taken && !this.#room(pages)) throw new Error('there is no room for it');
    ftruncateSync(this.#fd, pages * PAGE_BYTES);
  }

  #map(): SharedMapping {
    return new SharedMapping(this.#fd);
  }

  #headerOf(mapping: SharedMapping): Int32Array {
    const { buffer, byteOffset } = mapping.window(0, PAGE_BYTES);
    return new Int32Array(buffer, byteOffset, PAGE_BYTES / Int32Array.BYTES_PER_ELEMENT);
  }

  #failed(what: string, error: unknown): void {
    this.#log(`cannot ${what} a session's journal`, error);
  }
}

function endOf({ offsetPages, pages }: Place): number {
  return (offsetPages + pages) * PAGE_BYTES;
}
