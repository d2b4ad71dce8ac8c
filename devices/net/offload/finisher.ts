/** Brings a frame to a receiver that does not take all unfinished work: does the rest of it here, as a card's hardware would. */
import { Frame, MAX_FRAME_BYTES, Offload } from '../frame.js';
import { VirtioNetHdrGso } from '../protocol.js';
import { finishChecksum } from './checksum.js';
import { FrameLayout, IpProtocol } from './layout.js';
import { Segmenter } from './segmenter.js';
import { UDP_CHECKSUM_OFFSET } from './soundness.js';

const { VIRTIO_NET_HDR_GSO_NONE, VIRTIO_NET_HDR_GSO_TCPV4, VIRTIO_NET_HDR_GSO_TCPV6 } = VirtioNetHdrGso;

/** Takes a frame, or says false where there is no room for it. */
export type TakeFrame = (frame: Frame) => boolean;

/** The answer where there was no room for a frame, and nothing of it has gone. */
export const NO_ROOM = -1;

export class FrameFinisher {
  readonly #layout = new FrameLayout();
  readonly #finished = new Frame();
  /** Buffers of 64 KiB each, for those who need them. */
  #segmenter: Segmenter | undefined;
  #bytes: Uint8Array | undefined;

  /**
   * Hands a sound frame to `take`: as it is where the receiver `accepts` (bits of `Offload`) what is left to do, else finished, in as
   * many parts as it becomes. Answers NO_ROOM where there was none for its first part, else how many others were lost for want of room.
   */
  hand(frame: Frame, accepts: number, take: TakeFrame): number {
    if (!frame.needsChecksum) return take(frame) ? 0 : NO_ROOM;
    if (frame.gsoType !== VIRTIO_NET_HDR_GSO_NONE) {
      this.#layout.parse(frame);
      const wanted = neededOffloads(frame, this.#layout.isIpv6);
      if ((accepts & wanted) !== wanted) return this.#handSegments(frame, take);
    } else if ((accepts & Offload.CSUM) === 0) return take(this.#withChecksum(frame)) ? 0 : NO_ROOM;
    return take(frame) ? 0 : NO_ROOM;
  }

  #withChecksum(frame: Frame): Frame {
    const bytes = (this.#bytes ??= new Uint8Array(MAX_FRAME_BYTES));
    const length = frame.data.gather(0, bytes, 0, frame.byteLength);
    const protocol = frame.csumOffset === UDP_CHECKSUM_OFFSET ? IpProtocol.UDP : IpProtocol.TCP;
    finishChecksum(bytes, length, frame.csumStart, frame.csumOffset, protocol);
    this.#finished.clear();
    this.#finished.data.push(bytes, 0, length, 0);
    return this.#finished;
  }

  #handSegments(frame: Frame, take: TakeFrame): number {
    const segmenter = (this.#segmenter ??= new Segmenter());
    const count = segmenter.count(frame, this.#layout);
    let lost = 0;
    for (let i = 0; i < count; i++) {
      segmenter.segment(frame, this.#layout, i, this.#finished);
      if (take(this.#finished)) continue;
      if (i === 0) return NO_ROOM;
      lost++;
    }
    return lost;
  }
}

/** A frame to be cut up has an unfinished checksum, too. */
function neededOffloads(frame: Frame, isIpv6: boolean): number {
  const ecn = frame.ecn ? Offload.ECN : 0;
  if (frame.gsoType === VIRTIO_NET_HDR_GSO_TCPV4) return Offload.CSUM | Offload.TSO4 | ecn;
  if (frame.gsoType === VIRTIO_NET_HDR_GSO_TCPV6) return Offload.CSUM | Offload.TSO6 | ecn;
  return Offload.CSUM | (isIpv6 ? Offload.USO6 : Offload.USO4);
}
