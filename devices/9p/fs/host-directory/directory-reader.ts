/**
 * Entries of an open directory of the host, a buffer of them at a time. In a large directory the next buffer fills on a thread while
 * the entries of this one are given: looking entries up takes the kernel longer than giving them takes us.
 */
import { closeFd, getdents64, getdents64Async, seekTo } from '../../../../host/index.js';
import { Errno } from '../../../errno.js';
import type { MaybePromise } from '../file-system.js';
import { listingCache, type Listing, type Recording } from './listing-cache.js';
import { DIRECTORY_BUFFER_BYTES, scratch, type DirectoryBuffer } from './scratch.js';
import { timesDirectories } from './statistics.js';
import type { Identity, StatxBuffer } from './statx-buffer.js';

/** A fill of less had room for another entry, of 280 bytes at most: most likely there is none. */
const FULL_BYTES = DIRECTORY_BUFFER_BYTES - 280;
/** Directories of this process whose next buffer is filling or waits full: what is beyond reads without. */
const MAX_READ_AHEAD = 64;

let readAheads = 0;

/** A buffer that fills on a thread, or is full and waits. */
interface ReadAhead {
  readonly buffer: DirectoryBuffer;
  /** What getdents64 answered; undefined while it runs. */
  answer: number | undefined;
  /** Said once when it has answered. */
  onAnswer: (() => void) | null;
}

export class DirectoryReader {
  /** Entries of the host from `at` to `end`; null before the first and after the last. */
  buffer: DirectoryBuffer | null = null;
  at = 0;
  end = 0;
  readonly #fd: number;
  readonly #statx: StatxBuffer;
  #ahead: ReadAhead | null = null;
  /** Nothing was read of the descriptor yet, or it was taken back to its start. */
  #atStart = true;
  /** What is read is kept there. */
  #recording: Recording | undefined;
  /** Where entries come from in place of the descriptor, and how many of its buffers were taken. */
  #listing: Listing | undefined;
  #taken = 0;

  /** Takes over `fd`. */
  constructor(fd: number, statx: StatxBuffer) {
    this.#fd = fd;
    this.#statx = statx;
  }

  /** Reads from the first entry on: of a large directory that is as it was when it was listed last, what it had then. 0 or a negative errno. */
  rewind(directory: Identity): MaybePromise<number> {
    if (this.#ahead === null && listingCache.has(directory) && this.#statx.load(this.#fd) === 0) {
      const listing = listingCache.find(this.#statx);
      if (listing !== undefined) return this.#replay(listing);
    }
    return this.#atStart && this.#listing === undefined ? 0 : this.seek(0, 0);
  }

  #replay(listing: Listing): number {
    this.#empty();
    this.#recording = undefined;
    this.#listing = listing;
    this.#taken = 0;
    return 0;
  }

  /** Once all entries are given: bytes of entries that follow, 0 at the end, or a negative errno. */
  fill(): MaybePromise<number> {
    if (this.#listing !== undefined) return this.#takeListed(this.#listing);
    const ahead = this.#ahead;
    if (ahead !== null) return whenAnswered(ahead, () => this.#takeAhead(ahead));
    const buffer = this.buffer ?? scratch.takeDirectoryBuffer();
    const startMs = this.#atStart ? Date.now() : 0;
    const answer = getdents64(this.#fd, buffer.bytes, DIRECTORY_BUFFER_BYTES);
    if (this.#atStart && answer >= FULL_BYTES) this.#record(startMs);
    this.#atStart = false;
    return this.#filled(buffer, answer);
  }

  /** Keeps what is read of a large directory from here, its start, on. */
  #record(startMs: number): void {
    if (this.#statx.load(this.#fd) < 0 || !timesDirectories(this.#fd)) return;
    this.#recording = listingCache.record(this.#statx, startMs);
  }

  #takeListed({ buffers }: Listing): number {
    const buffer = buffers.at(this.#taken);
    this.buffer = buffer ?? null;
    this.at = 0;
    this.end = buffer?.bytes.length ?? 0;
    if (buffer !== undefined) this.#taken++;
    return this.end;
  }

  /** Forgets what was read, and reads on from a position of the host's. 0 or a negative errno. */
  seek(low: number, high: number): MaybePromise<number> {
    const ahead = this.#ahead;
    if (ahead === null) return this.#seekNow(low, high);
    return whenAnswered(ahead, () => {
      this.#dropAhead(ahead);
      return this.#seekNow(low, high);
    });
  }

  /** Closes the descriptor: at once, or when the thread is done with it. */
  close(): void {
    this.#empty();
    const ahead = this.#ahead;
    if (ahead === null) closeFd(this.#fd);
    else
      void whenAnswered(ahead, () => {
        this.#dropAhead(ahead);
        return closeFd(this.#fd);
      });
  }

  #seekNow(low: number, high: number): number {
    this.#empty();
    this.#listing = undefined;
    this.#recording = undefined;
    const error = seekTo(this.#fd, low, high);
    this.#atStart = error === 0 && low === 0 && high === 0;
    return error;
  }

  #filled(buffer: DirectoryBuffer, answer: number): number {
    this.buffer = buffer;
    this.at = 0;
    this.end = Math.max(answer, 0);
    this.#keep(buffer, answer);
    if (answer <= 0) this.#empty();
    else if (answer >= FULL_BYTES && readAheads < MAX_READ_AHEAD) this.#readAhead();
    // A directory that was removed while open is at its end.
    return answer === -Errno.ENOENT ? 0 : answer;
  }

  #keep(buffer: DirectoryBuffer, answer: number): void {
    if (this.#recording === undefined) return;
    if (answer === 0) listingCache.keep(this.#recording);
    if (answer <= 0 || !this.#recording.add(buffer, answer)) this.#recording = undefined;
  }

  #readAhead(): void {
    const ahead: ReadAhead = { buffer: scratch.takeDirectoryBuffer(), answer: undefined, onAnswer: null };
    this.#ahead = ahead;
    readAheads++;
    getdents64Async(this.#fd, ahead.buffer.bytes, DIRECTORY_BUFFER_BYTES, (answer) => {
      ahead.answer = answer;
      ahead.onAnswer?.();
    });
  }

  #takeAhead(ahead: ReadAhead): number {
    this.#empty();
    this.#ahead = null;
    readAheads--;
    return this.#filled(ahead.buffer, ahead.answer ?? 0);
  }

  #dropAhead(ahead: ReadAhead): void {
    scratch.giveDirectoryBuffer(ahead.buffer);
    this.#ahead = null;
    readAheads--;
  }

  #empty(): void {
    if (this.buffer !== null && this.#listing === undefined) scratch.giveDirectoryBuffer(this.buffer);
    this.buffer = null;
    this.at = 0;
    this.end = 0;
  }
}

/** What `next` answers, once the thread is done. */
function whenAnswered(ahead: ReadAhead, next: () => number): MaybePromise<number> {
  if (ahead.answer !== undefined) return next();
  return new Promise((resolve) => {
    ahead.onAnswer = () => {
      resolve(next());
    };
  });
}
