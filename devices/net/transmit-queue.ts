/** A transmit queue: a chain is a header and a frame (virtio 1.3, section 5.1.6.2). */
import type { Chain, Virtqueue } from '../virtio/device.js';
import { Frame, HEAD_BYTES } from './frame.js';
import { readHeader } from './header.js';
import { FrameLayout } from './offload/layout.js';
import { isSound } from './offload/soundness.js';
import { HeaderField } from './protocol.js';
import type { NetStatistics } from './statistics.js';

/**
 * How long frames wait for a backend that takes none: they are lost then, as on a cable whose other end is busy. Shorter than the time that
 * a pause of the virtual machine gives to requests under way.
 */
const HOLD_MS = 400;

/** Sends a sound frame; false where there is no room for it now. */
export type SendFrame = (frame: Frame, queueIndex: number) => boolean;

export class TransmitQueue {
  readonly queue: Virtqueue;
  readonly #headerBytes: number;
  readonly #send: SendFrame;
  readonly #statistics: NetStatistics;
  readonly #frame = new Frame();
  readonly #layout = new FrameLayout();
  readonly #header = new Uint8Array(HeaderField.BYTES);
  readonly #headerView = new DataView(this.#header.buffer);
  /** The frame's start, where the guest does not change it any more. */
  readonly #head = new Uint8Array(HEAD_BYTES);
  /** Chains that wait for room, in their order: never more than the ring has. */
  readonly #held: Chain[] = [];
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(queue: Virtqueue, headerBytes: number, send: SendFrame, statistics: NetStatistics) {
    this.queue = queue;
    this.#headerBytes = headerBytes;
    this.#send = send;
    this.#statistics = statistics;
  }

  /** Sends a chain's frame and gives the chain back, or keeps it until there is room. */
  handle(chain: Chain): void {
    if (this.#held.length === 0 && this.#sendChain(chain)) this.queue.push(chain, 0);
    else this.#hold(chain);
  }

  /** There may be room again. */
  resume(): void {
    if (this.#held.length === 0) return;
    let sent = 0;
    while (sent < this.#held.length && this.#sendChain(this.#held[sent])) sent++;
    this.#giveBack(sent);
  }

  /** The queue is reset: what it holds is void. */
  forget(): void {
    this.#held.length = 0;
    clearTimeout(this.#timer);
  }

  #hold(chain: Chain): void {
    this.#held.push(chain);
    if (this.#held.length === 1) this.#startTimer();
  }

  #startTimer(): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#loseHeld(), HOLD_MS);
  }

  #loseHeld(): void {
    this.#statistics.txDropped += this.#held.length;
    this.#giveBack(this.#held.length);
  }

  /** Gives the first held chains back. Those behind them have the whole time again. */
  #giveBack(count: number): void {
    if (count === 0) return;
    for (const chain of this.#held.splice(0, count)) this.queue.push(chain, 0);
    this.queue.flush();
    if (this.#held.length === 0) clearTimeout(this.#timer);
    else this.#startTimer();
  }

  /** False where the frame has to wait. What is no frame is lost, which is no reason to wait. */
  #sendChain(chain: Chain): boolean {
    const { readable } = chain;
    const frameBytes = readable.byteLength - this.#headerBytes;
    if (frameBytes <= 0) {
      this.#statistics.txInvalid++;
      return true;
    }
    readable.gather(0, this.#header, 0, this.#headerBytes);
    const frame = this.#frame;
    frame.data.clear();
    const headBytes = readable.gather(this.#headerBytes, this.#head, 0, HEAD_BYTES);
    frame.data.push(this.#head, 0, headBytes, 0);
    readable.appendTo(frame.data, this.#headerBytes + headBytes);
    readHeader(this.#headerView, frame);
    // A driver has nothing to say about that.
    frame.checksumValid = false;
    if (isSound(frame, this.#layout)) return this.#send(frame, this.queue.index);
    this.#statistics.txInvalid++;
    return true;
  }
}
