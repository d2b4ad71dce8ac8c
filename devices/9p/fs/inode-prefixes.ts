/**
 * One space of inode numbers for files of many devices. A number's low 48 bits are the inode's; its high 16 bits, the prefix, stand
 * for the pair of device and high 16 inode bits. A pair gets its own inode bits where they are free, so that the numbers of the
 * first device are its inode numbers, and the lowest free number where not. No two pairs share a prefix, and a pair's never changes.
 */
import { Errno } from '../../errno.js';

const PREFIXES = 0x1_0000;

/** One pair and its prefix. */
export interface InodePrefix {
  readonly device: number;
  /** The high 16 inode bits. */
  readonly bits: number;
  readonly prefix: number;
}

export class InodePrefixes {
  /** device → high 16 inode bits → prefix. */
  readonly #prefixes = new Map<number, Map<number, number>>();
  readonly #taken = new Uint8Array(PREFIXES);
  #nextFree = 0;
  /** In the order in which they came to be. */
  readonly #list: InodePrefix[] = [];
  /** The last pair looked up: nearly always the next one, too. */
  #lastDevice = -1;
  #lastBits = 0;
  #lastPrefix = 0;

  /**
   * The high half of the number of an inode whose high half is `inodeHigh`; the low half is the inode's own. -EOVERFLOW where the
   * 65,536 pairs are used up.
   */
  highHalf(device: number, inodeHigh: number): number {
    const bits = inodeHigh >>> 16;
    const prefix =
      device === this.#lastDevice && bits === this.#lastBits ? this.#lastPrefix : this.#prefix(device, bits);
    return prefix < 0 ? prefix : ((prefix << 16) | (inodeHigh & 0xffff)) >>> 0;
  }

  /** All pairs so far, in the order in which they came to be: it grows at its end. */
  list(): readonly InodePrefix[] {
    return this.#list;
  }

  /** Gives a pair the prefix that it had elsewhere; false where the pair has another one, or the prefix is another pair's. */
  add({ device, bits, prefix }: InodePrefix): boolean {
    if (this.#prefixes.get(device)?.get(bits) === prefix) return true;
    if (this.#taken[prefix] !== 0 || this.#prefixes.get(device)?.has(bits)) return false;
    this.#taken[prefix] = 1;
    this.#set(device, bits, prefix);
    return true;
  }

  #set(device: number, bits: number, prefix: number): void {
    let ofDevice = this.#prefixes.get(device);
    if (ofDevice === undefined) this.#prefixes.set(device, (ofDevice = new Map<number, number>()));
    ofDevice.set(bits, prefix);
    this.#list.push({ device, bits, prefix });
  }

  #prefix(device: number, bits: number): number {
    let prefix = this.#prefixes.get(device)?.get(bits);
    if (prefix === undefined) {
      prefix = this.#allocate(bits);
      if (prefix < 0) return prefix;
      this.#set(device, bits, prefix);
    }
    this.#lastDevice = device;
    this.#lastBits = bits;
    this.#lastPrefix = prefix;
    return prefix;
  }

  #allocate(wanted: number): number {
    let prefix = wanted;
    if (this.#taken[prefix] !== 0) {
      while (this.#nextFree < PREFIXES && this.#taken[this.#nextFree] !== 0) this.#nextFree++;
      if (this.#nextFree === PREFIXES) return -Errno.EOVERFLOW;
      prefix = this.#nextFree;
    }
    this.#taken[prefix] = 1;
    return prefix;
  }
}
