/**
 * The log of dirty pages (vhost-user, "Migration"): memory shared with the front-end, a bit for each 4 KiB of guest-physical memory
 * from address 0 on. The front-end takes bits out of it while they are put in, and other back-ends share it: so bits are set
 * by an atomic OR of their byte. Such a read-modify-write is also what keeps the order: whatever was written to guest memory before a page
 * is marked is there for whoever finds the mark.
 */
import { Errno, errnoOfException } from '../../../devices/errno.js';
import {
  closeFd,
  duplicateFd,
  eventfdAdopt,
  eventfdSignal,
  SharedMapping,
  WINDOW_STRIDE_BYTES,
} from '../../../host/index.js';
import { VHOST_LOG_PAGE } from './protocol.js';

const PAGES_PER_BYTE = 8;
/** The guest memory that one byte of the log stands for. */
const COVERED_BYTES = VHOST_LOG_PAGE * PAGES_PER_BYTE;
const ALL_PAGES = 0xff;
const NO_FD = -1;
const NOTHING = new Uint8Array(0);

/** Where a log is: `sizeBytes` bytes at `offset` in the file behind `fd`. */
export interface LogPlace {
  readonly fd: number;
  readonly sizeBytes: number;
  readonly offset: number;
}

export class DirtyLog {
  /** The front-end's last log was of no use, so that there is none until it sends another one. */
  refused = false;
  #mapping: SharedMapping | undefined;
  #place: LogPlace | undefined;
  #bytes: Uint8Array = NOTHING;
  #eventFd = NO_FD;
  #changed = false;

  /** The first guest-physical address that a log of `sizeBytes` does not cover. */
  static endAddress(sizeBytes: number): number {
    return sizeBytes * COVERED_BYTES;
  }

  /** Whether there is a log. Without one `mark` does nothing. */
  get mapped(): boolean {
    return this.#mapping !== undefined;
  }

  /** Where the log is, for a process that is to take it over. */
  get place(): LogPlace | undefined {
    return this.#place;
  }

  /** -1 where the front-end does not ask to hear of marks. */
  get eventFd(): number {
    return this.#eventFd;
  }

  /** The first guest-physical address that the log does not cover. */
  get endAddress(): number {
    return DirtyLog.endAddress(this.#bytes.length);
  }

  /**
   * Puts the log of `sizeBytes` bytes at `offset` in the file behind `fd`, which stays the caller's, in the place of the one that there
   * was: that one is not written to any more.
   *
   * @returns 0, or a negative errno and the log is as before: -EINVAL for a place that no log has or a file too short for it, or what
   *   mmap(2) says
   */
  replace(fd: number, sizeBytes: number, offset: number): number {
    // One array has to hold it: that is enough for 64 TiB of guest memory.
    if (sizeBytes <= 0 || sizeBytes > WINDOW_STRIDE_BYTES) return -Errno.EINVAL;
    if (offset % VHOST_LOG_PAGE !== 0 || offset + sizeBytes > Number.MAX_SAFE_INTEGER) return -Errno.EINVAL;
    try {
      const mapping = new SharedMapping(fd, offset + sizeBytes);
      const bytes = mapping.window(offset, sizeBytes);
      const kept = duplicateFd(fd);
      if (kept < 0) {
        mapping.close();
        return kept;
      }
      this.#unmap();
      this.#place = { fd: kept, sizeBytes, offset };
      this.#mapping = mapping;
      this.#bytes = bytes;
      this.refused = false;
      return 0;
    } catch (error) {
      return -errnoOfException(error);
    }
  }

  /** The log that the front-end sent is of no use, and it counts on no other. */
  refuse(): void {
    this.#unmap();
    this.refused = true;
  }

  /** Takes over the eventfd by which the front-end hears of marks. 0, or a negative errno. */
  setEventFd(fd: number): number {
    const error = eventfdAdopt(fd);
    if (error !== 0) {
      closeFd(fd);
      return error;
    }
    this.#closeEventFd();
    this.#eventFd = fd;
    return 0;
  }

  /**
   * Marks the pages of a guest-physical range that was written. Pages that the log does not cover are none of the front-end's memory,
   * and are passed over.
   */
  mark(guestAddress: number, lengthBytes: number): void {
    const bytes = this.#bytes;
    if (lengthBytes <= 0 || bytes.length === 0) return;
    const lastAddress = Math.min(guestAddress + lengthBytes, this.endAddress) - 1;
    const first = Math.floor(guestAddress / VHOST_LOG_PAGE);
    const last = Math.floor(lastAddress / VHOST_LOG_PAGE);
    if (last < first) return;
    const lastByte = Math.floor(last / PAGES_PER_BYTE);
    let pages = (ALL_PAGES << (first % PAGES_PER_BYTE)) & ALL_PAGES;
    for (let i = Math.floor(first / PAGES_PER_BYTE); i < lastByte; i++) {
      Atomics.or(bytes, i, pages);
      pages = ALL_PAGES;
    }
    Atomics.or(bytes, lastByte, pages & (ALL_PAGES >> (PAGES_PER_BYTE - 1 - (last % PAGES_PER_BYTE))));
    this.#changed = true;
  }

  /** Tells the front-end of marks since the last call, if it asked for that. Call it once for a batch. */
  notify(): void {
    if (!this.#changed) return;
    this.#changed = false;
    // A count at its maximum is a signal that the front-end has yet to see.
    if (this.#eventFd !== NO_FD) eventfdSignal(this.#eventFd);
  }

  /** Lets go of all that the front-end gave. */
  close(): void {
    this.#unmap();
    this.#closeEventFd();
    this.refused = false;
  }

  #unmap(): void {
    this.#mapping?.close();
    this.#mapping = undefined;
    if (this.#place !== undefined) closeFd(this.#place.fd);
    this.#place = undefined;
    this.#bytes = NOTHING;
    this.#changed = false;
  }

  #closeEventFd(): void {
    if (this.#eventFd !== NO_FD) closeFd(this.#eventFd);
    this.#eventFd = NO_FD;
  }
}
