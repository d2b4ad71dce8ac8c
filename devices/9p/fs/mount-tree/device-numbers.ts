/**
 * Device numbers for the files of a tree's children, so that no two children share a (device, inode) pair, whatever they call their
 * own devices. The server keeps a part of its qid space for each device that it has seen, for good, so that numbers are used again;
 * but as late as can be, because a guest may remember files of a child that is long gone.
 */
import { Errno } from '../../../errno.js';

/** The tree's own files. */
export const TREE_DEVICE = 0;
/** Half of what the server's qids can tell apart: a device whose inode numbers use more than 48 bits takes more than one part. */
const DEVICES_MAX = 32_768;

export class DeviceNumbers {
  #fresh = TREE_DEVICE + 1;
  /** Numbers given back, from `#oldest` on in the order in which they were. */
  #returned: number[] = [];
  #oldest = 0;

  /** A number that no one has; -EOVERFLOW where there is none. */
  take(): number {
    if (this.#fresh <= DEVICES_MAX) return this.#fresh++;
    if (this.#oldest === this.#returned.length) return -Errno.EOVERFLOW;
    const number = this.#returned[this.#oldest++];
    if (this.#oldest >= DEVICES_MAX) {
      this.#returned = this.#returned.slice(this.#oldest);
      this.#oldest = 0;
    }
    return number;
  }

  giveBack(number: number): void {
    this.#returned.push(number);
  }
}
