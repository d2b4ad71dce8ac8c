/** The upper layer of an overlay in a folder, and the lock on that: it goes where the layer does, and is never free in between. */
import { closeSync } from 'node:fs';
import type { Failure } from '../devices/errno.js';
import type { FileSystem, FsNode, MaybePromise } from '../devices/9p/fs/file-system.js';
import { restoreStateOf, stateOf } from '../devices/9p/fs/kept.js';
import type { GivenDescriptors, StateDestination } from '../devices/state-descriptors.js';
import { StateReader } from '../devices/state-reader.js';
import { StateWriter } from '../devices/state-writer.js';

export class LockedFolder implements FileSystem {
  readonly #fs: FileSystem;
  /** Undefined while another process has it, whose state this one is to be given. */
  #lock: number | undefined;

  /** Takes over both. */
  constructor(fs: FileSystem, lock: number | undefined) {
    this.#fs = fs;
    this.#lock = lock;
  }

  attach(): MaybePromise<FsNode | Failure> {
    return this.#fs.attach();
  }

  /** `lock[4] inner[b]`: the lock is numbered from 1 on, and 0 where it cannot go along. */
  saveState(to: StateDestination): Uint8Array | string {
    const inner = stateOf(this.#fs, to);
    if (typeof inner === 'string') return inner;
    const writer = new StateWriter();
    const { descriptors } = to;
    writer.write(
      4,
      descriptors === undefined || this.#lock === undefined ? 0 : descriptors.add(this.#lock) + 1,
    );
    writer.blob(inner);
    return writer.bytes;
  }

  restoreState(bytes: Uint8Array, descriptors?: GivenDescriptors): MaybePromise<string | undefined> {
    const reader = new StateReader(bytes);
    const number = reader.read(4);
    const inner = reader.blob();
    if (reader.overrun || reader.leftBytes > 0) return 'the state of an upper folder has another length';
    this.#lock ??= descriptors?.at(number - 1)?.take();
    if (this.#lock === undefined) return 'the lock on the upper folder did not come along';
    return restoreStateOf(this.#fs, inner, descriptors);
  }

  async close(): Promise<void> {
    await this.#fs.close();
    if (this.#lock !== undefined) closeSync(this.#lock);
  }
}
