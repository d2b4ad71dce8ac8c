/** A receive queue: fills the buffers that a driver posted with frames, as many for a frame as it takes (virtio 1.3, section 5.1.6.4). */
import type { Chain, Virtqueue } from '../virtio/device.js';
import type { Frame } from './frame.js';
import { writeHeader } from './header.js';
import { FrameLayout } from './offload/layout.js';
import { HeaderField, VirtioNetHdrGso } from './protocol.js';

export const Received = {
  DELIVERED: 0,
  /** The ring has no buffers, or not enough of them. */
  NO_ROOM: 1,
  /** The frame does not fit the buffer, and only one may be used. */
  TOO_LONG: 2,
  /** A buffer has no room for the header: the driver broke the rules. */
  BAD_BUFFER: 3,
} as const;
export type Received = (typeof Received)[keyof typeof Received];

export class ReceiveQueue {
  readonly queue: Virtqueue;
  readonly #headerBytes: number;
  readonly #mergeable: boolean;
  /** Chains taken for a frame, and how many: an array that is emptied is one that has to grow again. */
  readonly #chains: Chain[] = [];
  #count = 0;
  readonly #header = new Uint8Array(HeaderField.BYTES);
  readonly #headerView = new DataView(this.#header.buffer);
  readonly #layout = new FrameLayout();

  constructor(queue: Virtqueue, headerBytes: number, mergeable: boolean) {
    this.queue = queue;
    this.#headerBytes = headerBytes;
    this.#mergeable = mergeable;
  }

  /**
   * Puts a frame into buffers, all of it or nothing. What was delivered shows at the queue's next flush. With `askForMore` the driver
   * is asked to notify of buffers that it adds where there are too few.
   */
  receive(frame: Frame, askForMore: boolean): Received {
    const outcome = this.#take(this.#headerBytes + frame.byteLength, askForMore);
    if (outcome === Received.DELIVERED) this.#fill(frame);
    else for (let i = this.#count - 1; i >= 0; i--) this.queue.unpop(this.#chains[i]);
    this.#count = 0;
    return outcome;
  }

  /** Takes chains with room for so many bytes. */
  #take(neededBytes: number, askForMore: boolean): Received {
    const { queue } = this;
    let room = 0;
    while (room < neededBytes) {
      let chain = queue.pop();
      // Asked for behind all buffers that there are: the driver says nothing of those it added before.
      if (chain === undefined && askForMore && queue.enableNotifications()) chain = queue.pop();
      if (chain === undefined) return Received.NO_ROOM;
      this.#chains[this.#count++] = chain;
      const { byteLength } = chain.writable;
      if (byteLength < this.#headerBytes) return Received.BAD_BUFFER;
      room += byteLength;
      if (!this.#mergeable && room < neededBytes) return Received.TOO_LONG;
    }
    return Received.DELIVERED;
  }

  #fill(frame: Frame): void {
    this.#writeHeader(frame);
    const { data } = frame;
    let from = 0;
    for (let i = 0; i < this.#count; i++) {
      const chain = this.#chains[i];
      const at = i === 0 ? this.#headerBytes : 0;
      const length = Math.min(chain.writable.byteLength - at, data.byteLength - from);
      data.copyTo(from, chain.writable, at, length);
      from += length;
      this.queue.push(chain, at + length);
    }
  }

  #writeHeader(frame: Frame): void {
    const segmented = frame.gsoType !== VirtioNetHdrGso.VIRTIO_NET_HDR_GSO_NONE;
    const frameHeaderBytes = segmented && this.#layout.parse(frame) ? this.#layout.payloadOffset : 0;
    writeHeader(this.#headerView, frame, frameHeaderBytes, this.#count);
    this.#chains[0].writable.scatter(0, this.#header, 0, this.#headerBytes);
  }
}
