/**
 * An in-flight area of our own, for front-ends that keep none for us: a file that the next process maps again. It outlives the process, not the
 * machine.
 *
 * The front-end cannot say there that a ring is another one than before, so each region stands behind what its ring is known by: where it lies,
 * and in which file of guest memory. That, the indices in the ring, and being told of resets keep the requests of one driver from another.
 *
 * magic[4]="ChIF" version[4]=1, padding up to 64, then for each queue: identity[128], and its region. A queue's place depends on
 * the largest size of it and those before, so that it is always the same one.
 */
import { closeSync, constants, fstatSync, openSync, rmSync, writeSync } from 'node:fs';
import { queueRegionBytes } from '../../../devices/virtio/ring/inflight/layout.js';
import { SharedMapping } from '../../../host/index.js';

const MAGIC = 0x4649_6843;
const VERSION = 1;
const HEADER_BYTES = 64;
const IDENTITY_BYTES = 128;

export class InflightFile {
  readonly #path: string;
  readonly #maxSizes: readonly number[];
  #mapping: SharedMapping | undefined;

  /** @param maxSizes the largest size of each queue */
  constructor(path: string, maxSizes: readonly number[]) {
    this.#path = path;
    this.#maxSizes = maxSizes;
  }

  /** What a region says that was written for a ring with this identity; undefined where there is none. @throws what opening and mapping say */
  find(queue: number, identity: string, regionBytes: number): Uint8Array | undefined {
    const place = this.#place(queue);
    return identityIn(place) === identity
      ? place.subarray(IDENTITY_BYTES, IDENTITY_BYTES + regionBytes)
      : undefined;
  }

  /** The region of a ring with this identity: as it was left, or zeros. @throws as `find` */
  claim(queue: number, identity: string, regionBytes: number): Uint8Array {
    const found = this.find(queue, identity, regionBytes);
    if (found !== undefined) return found;
    const place = this.#place(queue);
    this.#erase(place);
    place.fill(0, IDENTITY_BYTES);
    const name = Buffer.from(identity);
    if (name.length >= IDENTITY_BYTES) throw new RangeError(`an identity of ${name.length} bytes`);
    // Its first byte comes last: without it, there is none.
    place.set(name.subarray(1), 1);
    place[0] = name[0];
    return place.subarray(IDENTITY_BYTES, IDENTITY_BYTES + regionBytes);
  }

  /** As `claim`, of a ring that runs for the first time: zeros, whatever another one left there. @throws as `find` */
  renew(queue: number, identity: string, regionBytes: number): Uint8Array {
    this.#erase(this.#place(queue));
    return this.claim(queue, identity, regionBytes);
  }

  /** The ring is no more. */
  forget(queue: number): void {
    if (this.#mapping !== undefined) this.#erase(this.#place(queue));
  }

  /** No ring that there was is any more. */
  forgetAll(): void {
    for (const queue of this.#maxSizes.keys()) this.forget(queue);
  }

  /** Removes the file: what it says is of no use to anybody. */
  remove(): void {
    this.#mapping?.close();
    this.#mapping = undefined;
    rmSync(this.#path, { force: true });
  }

  #erase(place: Uint8Array): void {
    place[0] = 0;
    place.fill(0, 0, IDENTITY_BYTES);
  }

  #place(queue: number): Uint8Array {
    const mapping = (this.#mapping ??= this.#open());
    return mapping.window(this.#offset(queue), this.#offset(queue + 1) - this.#offset(queue));
  }

  #offset(queue: number): number {
    return this.#maxSizes
      .slice(0, queue)
      .reduce((sum, size) => sum + IDENTITY_BYTES + queueRegionBytes(size, true), HEADER_BYTES);
  }

  /** Whatever is there that is none of ours, or of a device with other queues, is written over. */
  #open(): SharedMapping {
    const fileBytes = this.#offset(this.#maxSizes.length);
    const fd = openSync(this.#path, constants.O_RDWR | constants.O_CREAT | constants.O_NOFOLLOW, 0o600);
    try {
      const isOurs = fstatSync(fd).size === fileBytes;
      // All of it is written: a page that the file system has no room for later would end the process.
      if (!isOurs) writeSync(fd, Buffer.alloc(fileBytes), 0, fileBytes, 0);
      const mapping = new SharedMapping(fd, fileBytes);
      const header = new DataView(mapping.window(0, HEADER_BYTES).buffer);
      if (header.getUint32(0, true) !== MAGIC || header.getUint32(4, true) !== VERSION) {
        mapping.window(0, fileBytes).fill(0);
        header.setUint32(4, VERSION, true);
        header.setUint32(0, MAGIC, true);
      }
      return mapping;
    } finally {
      closeSync(fd);
    }
  }
}

function identityIn(place: Uint8Array): string {
  const end = place.indexOf(0);
  return Buffer.from(place.subarray(0, Math.min(end < 0 ? IDENTITY_BYTES : end, IDENTITY_BYTES))).toString(
    'latin1',
  );
}
