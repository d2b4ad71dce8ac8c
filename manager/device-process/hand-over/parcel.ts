/**
 * What one process gives another beside JSON: bytes and descriptors. The JSON names them by their numbers. All of it comes from outside, so
 * whoever takes something out of a parcel hears where there is no such thing.
 */
import { closeFd } from '../../../host/index.js';

/** Says that a parcel is not what it should be. */
export class ParcelError extends Error {
  constructor(message: string) {
    super(message);
    this.name = 'ParcelError';
  }
}

/** Descriptors in here stay whose they are: the kernel gives the other process its own. */
export class OutgoingParcel {
  readonly blobs: Uint8Array[] = [];
  readonly fds: number[] = [];

  /** Answers the number that the other process takes them by. */
  addBytes(bytes: Uint8Array): number {
    return this.blobs.push(bytes) - 1;
  }

  addFd(fd: number): number {
    return this.fds.push(fd) - 1;
  }

  /** As `addFd`; null for no descriptor (-1). */
  addFdIfAny(fd: number): number | null {
    return fd < 0 ? null : this.addFd(fd);
  }
}

/** Owns its descriptors until they are taken. */
export class IncomingParcel {
  readonly #blobs: readonly Uint8Array[];
  readonly #fds: number[];

  constructor(blobs: readonly Uint8Array[], fds: readonly number[]) {
    this.#blobs = blobs;
    this.#fds = [...fds];
  }

  /** @throws ParcelError */
  bytes(number: number): Uint8Array {
    const bytes = this.#blobs.at(number);
    if (number < 0 || bytes === undefined) throw new ParcelError(`there are no bytes ${number}`);
    return bytes;
  }

  /** The descriptor, which is the caller's from now on. @throws ParcelError also for one that was taken before */
  takeFd(number: number): number {
    const fd = number < 0 ? -1 : (this.#fds.at(number) ?? -1);
    if (fd < 0) throw new ParcelError(`there is no descriptor ${number}`);
    this.#fds[number] = -1;
    return fd;
  }

  /** As `takeFd`: all of them or none, and none twice. */
  takeFds(numbers: readonly number[]): number[] {
    const missing = numbers.find((number) => !((this.#fds[number] ?? -1) >= 0));
    if (missing !== undefined) throw new ParcelError(`there is no descriptor ${missing}`);
    if (new Set(numbers).size < numbers.length) throw new ParcelError('a descriptor is taken twice');
    return numbers.map((number) => this.takeFd(number));
  }

  /** As `takeFd`; -1 for null. */
  takeFdIfAny(number: number | null): number {
    return number === null ? -1 : this.takeFd(number);
  }

  /** As `takeFd`; -1 where there is no such descriptor. */
  takeFdIfThere(number: number): number {
    return (this.#fds[number] ?? -1) < 0 ? -1 : this.takeFd(number);
  }

  /** Closes what nobody took. */
  close(): void {
    for (const [number, fd] of this.#fds.entries()) {
      if (fd >= 0) closeFd(fd);
      this.#fds[number] = -1;
    }
  }
}
