/**
 * What one function shows its guest: it can be taken away and replaced while the guest has the function. Without anything to show, each
 * attempt to mount it ends with ENODEV.
 */
import { Errno, type Failure } from '../devices/errno.js';
import type { FileSystem, FsNode, MaybePromise } from '../devices/9p/fs/file-system.js';
import { restoreStateOf, stateOf } from '../devices/9p/fs/kept.js';
import type { GivenDescriptors, StateDestination } from '../devices/state-descriptors.js';

export class ShownSource implements FileSystem {
  #fs: FileSystem | undefined;

  attach(): MaybePromise<FsNode | Failure> {
    return this.#fs?.attach() ?? -Errno.ENODEV;
  }

  saveState(to: StateDestination): Uint8Array | string {
    return this.#fs === undefined ? new Uint8Array(0) : stateOf(this.#fs, to);
  }

  restoreState(bytes: Uint8Array, descriptors?: GivenDescriptors): MaybePromise<string | undefined> {
    if (this.#fs !== undefined) return restoreStateOf(this.#fs, bytes, descriptors);
    return bytes.length > 0 ? 'nothing is shown here' : undefined;
  }

  /** Shows something else, or nothing. Only while no client has a fid or a file. Resolves once the one before is closed. */
  async replace(fs: FileSystem | undefined): Promise<void> {
    const before = this.#fs;
    this.#fs = fs;
    await before?.close();
  }

  close(): MaybePromise<void> {
    const fs = this.#fs;
    this.#fs = undefined;
    return fs?.close();
  }
}
