/**
 * Guest memory shared with another process.
 *
 * One external ArrayBuffer may span 4 GiB at most on Node 20 (creating a longer one aborts the process), so a
 * mapping is seen through overlapping windows: window i covers [i * 2 GiB, i * 2 GiB + 4 GiB) of the file,
 * and every range of up to 2 GiB lies within one window.
 *
 * A view must never dangle, whatever its holder does. So `close()` does not unmap: it puts anonymous memory
 * in the place of the file, which drops the guest's pages at once while stale views read zeros, and the
 * address range is given back only when the mapping and every ArrayBuffer over it have been garbage
 * collected.
 */
import { fstatSync } from 'node:fs';
import koffi from 'koffi';
import { HostError, result, resultOrThrow } from './errors.js';
import * as libc from './libc.js';
import { rememberAddress } from './native-buffer.js';

/** Ranges up to this many bytes always lie within one window. */
export const WINDOW_STRIDE_BYTES = 2 ** 31;
const WINDOW_SPAN_BYTES = 2 ** 32;

const PROT_READ = 1;
const PROT_WRITE = 2;
const MAP_SHARED = 0x01;
const MAP_PRIVATE = 0x02;
const MAP_FIXED = 0x10;
const MAP_ANONYMOUS = 0x20;
const MAP_NORESERVE = 0x4000;

const MFD_CLOEXEC = 1;
const MFD_ALLOW_SEALING = 2;
const F_ADD_SEALS = 1033;
const F_SEAL_SHRINK = 2;
const F_SEAL_GROW = 4;

/**
 * A new memory file of `sizeBytes` zeros, close-on-exec. Its size is sealed, so that no process it is handed
 * to can make us fault (SIGBUS) by truncating it.
 */
export function memfdCreate(name: string, sizeBytes: number): number {
  const fd = resultOrThrow(
    result(libc.memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING)),
    'memfd_create',
    name,
  );
  let error = result(libc.ftruncate(fd, sizeBytes));
  if (error === 0) error = result(libc.fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW));
  if (error === 0) return fd;
  libc.close(fd);
  throw HostError.from(error, 'memfd_create', `${name} of ${sizeBytes} bytes`);
}

/** A new memory file without contents, close-on-exec, which may grow and shrink. */
export function memoryFile(name: string): number {
  return resultOrThrow(result(libc.memfd_create(name, MFD_CLOEXEC)), 'memfd_create', name);
}

/** An address range, shared by the finalizers of everything that can still reach it. */
interface Reservation {
  readonly address: number;
  readonly byteLength: number;
  holders: number;
}

const reservations = new FinalizationRegistry((reservation: Reservation) => {
  reservation.holders--;
  if (reservation.holders === 0) libc.munmap(reservation.address, reservation.byteLength);
});

function hold(holder: object, reservation: Reservation): void {
  reservation.holders++;
  reservations.register(holder, reservation);
}

function checkedFileSize(fd: number, minimumBytes: number): number {
  const { size } = fstatSync(fd);
  if (size > 0 && size >= minimumBytes) return size;
  throw new HostError(
    'EINVAL',
    'mmap',
    `cannot map fd ${fd}: its file has ${size} bytes and at least ${minimumBytes || 1} are needed`,
  );
}

/**
 * A whole file mapped shared, readable and writable.
 *
 * Raw addresses (`address`, an iovec built from it) are valid while the SharedMapping object is reachable,
 * even after `close()`: late I/O then lands in anonymous memory. So whatever has I/O in flight keeps a
 * reference to the object.
 */
export class SharedMapping {
  /** The address of the file's first byte. */
  readonly address: number;
  readonly byteLength: number;
  readonly #reservation: Reservation;
  readonly #windows: (ArrayBuffer | undefined)[] = [];
  #closed = false;

  /**
   * Maps all of `fd`, which stays the caller's to close.
   *
   * @param minimumBytes what the peer says lies in the file: a shorter file is refused, as touching the
   *   missing part would raise SIGBUS
   * @throws HostError EINVAL for a short file; what mmap(2) says otherwise
   */
  constructor(fd: number, minimumBytes = 0) {
    this.byteLength = checkedFileSize(fd, minimumBytes);
    const address = libc.mmap(0, this.byteLength, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    this.address = resultOrThrow(result(address), 'mmap', `${this.byteLength} bytes of fd ${fd}`);
    this.#reservation = { address: this.address, byteLength: this.byteLength, holders: 0 };
    hold(this, this.#reservation);
  }

  get closed(): boolean {
    return this.#closed;
  }

  /**
   * A view of `length` bytes at `offset`; views of nearby ranges share an ArrayBuffer, which must not be
   * moved by ArrayBuffer.prototype.transfer(): the copy's holder would not keep the mapping.
   *
   * @throws RangeError outside the file, or for more than {@link WINDOW_STRIDE_BYTES}
   * @throws HostError EBADF after close()
   */
  window(offset: number, length: number): Uint8Array {
    if (this.#closed) throw new HostError('EBADF', 'mmap', 'the mapping is closed');
    if (!(
      offset >= 0 &&
      length >= 0 &&
      offset + length <= this.byteLength &&
      length <= WINDOW_STRIDE_BYTES
    )) {
      throw new RangeError(`no window of ${length} bytes at ${offset} in a mapping of ${this.byteLength}`);
    }
    const index = Math.max(0, Math.min(Math.floor(offset / WINDOW_STRIDE_BYTES), this.#lastWindow()));
    return new Uint8Array(this.#buffer(index), offset - index * WINDOW_STRIDE_BYTES, length);
  }

  /** Lets go of the file's memory. Views and addresses handed out keep reading zeros. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    const flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE;
    // It can fail under strict overcommit: the file's memory then stays until the mapping is collected.
    libc.mmap(this.address, this.byteLength, PROT_READ | PROT_WRITE, flags, -1, 0);
    this.#windows.length = 0;
  }

  /** The last window that reaches further than the one before it. */
  #lastWindow(): number {
    return Math.max(0, Math.ceil(this.byteLength / WINDOW_STRIDE_BYTES) - 2);
  }

  #buffer(index: number): ArrayBuffer {
    let buffer = this.#windows[index];
    if (buffer === undefined) {
      const start = index * WINDOW_STRIDE_BYTES;
      buffer = koffi.view(this.address + start, Math.min(WINDOW_SPAN_BYTES, this.byteLength - start));
      rememberAddress(buffer, this.address + start);
      hold(buffer, this.#reservation);
      this.#windows[index] = buffer;
    }
    return buffer;
  }
}
