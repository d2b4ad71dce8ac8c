/**
 * Cuts a frame with a long TCP stream's part, or with several UDP datagrams, into frames that fit the wire, as a network card with
 * segmentation offload does.
 */
import { putU16 } from '../ethernet.js';
import { MAX_FRAME_BYTES, type Frame } from '../frame.js';
import { addU16, complement, pseudoHeaderSum, putIpv4Checksum, sumWords } from './checksum.js';
import { IpProtocol, type FrameLayout } from './layout.js';

const IPV4_TOTAL_LENGTH = 2;
const IPV4_ID = 4;
const IPV6_PAYLOAD_LENGTH = 4;
const IPV6_BYTES = 40;
const UDP_LENGTH = 4;
const TCP_SEQUENCE = 4;
const TCP_FLAGS = 13;
const TcpFlag = { FIN: 1, PSH: 8, CWR: 0x80 } as const;

export class Segmenter {
  readonly #bytes: Uint8Array;
  #view: DataView;

  constructor() {
    this.#bytes = new Uint8Array(MAX_FRAME_BYTES);
    this.#view = new DataView(this.#bytes.buffer);
  }

  /** How many frames `frame` becomes. */
  count(frame: Frame, layout: FrameLayout): number {
    return Math.ceil((frame.byteLength - layout.payloadOffset) / frame.gsoSize);
  }

  /** Makes `into` segment `index` of a sound frame, whose headers are at `layout`. It is good until the next call. */
  segment(frame: Frame, layout: FrameLayout, index: number, into: Frame): void {
    const headerBytes = layout.payloadOffset;
    const from = headerBytes + index * frame.gsoSize;
    const payloadBytes = Math.min(frame.gsoSize, frame.byteLength - from);
    const bytes = this.#bytes;
    frame.data.gather(0, bytes, 0, headerBytes);
    frame.data.gather(from, bytes, headerBytes, payloadBytes);
    const lengthBytes = headerBytes + payloadBytes;
    this.#fixNetwork(layout, index, lengthBytes);
    if (layout.protocol === IpProtocol.TCP) {
      this.#fixTcp(layout, index, index * frame.gsoSize, from + payloadBytes === frame.byteLength);
    } else putU16(bytes, layout.transportOffset + UDP_LENGTH, lengthBytes - layout.transportOffset);
    this.#putChecksum(layout, frame.csumOffset, lengthBytes);
    into.clear();
    into.data.push(bytes, 0, lengthBytes, 0);
  }

  #fixNetwork(layout: FrameLayout, index: number, lengthBytes: number): void {
    const ip = layout.networkOffset;
    if (layout.isIpv6) {
      putU16(this.#bytes, ip + IPV6_PAYLOAD_LENGTH, lengthBytes - ip - IPV6_BYTES);
      return;
    }
    putU16(this.#bytes, ip + IPV4_TOTAL_LENGTH, lengthBytes - ip);
    addU16(this.#bytes, ip + IPV4_ID, index);
    putIpv4Checksum(this.#bytes, ip);
  }

  /** What is for the stream's end goes with the last segment, and what is for its start with the first. */
  #fixTcp(layout: FrameLayout, index: number, streamOffset: number, isLast: boolean): void {
    const tcp = layout.transportOffset;
    const sequence = this.#view.getUint32(tcp + TCP_SEQUENCE);
    this.#view.setUint32(tcp + TCP_SEQUENCE, sequence + streamOffset);
    if (!isLast) this.#bytes[tcp + TCP_FLAGS] &= ~(TcpFlag.FIN | TcpFlag.PSH);
    if (index > 0) this.#bytes[tcp + TCP_FLAGS] &= ~TcpFlag.CWR;
  }

  #putChecksum(layout: FrameLayout, csumOffset: number, lengthBytes: number): void {
    const bytes = this.#bytes;
    const transport = layout.transportOffset;
    const transportBytes = lengthBytes - transport;
    putU16(bytes, transport + csumOffset, 0);
    const pseudo = pseudoHeaderSum(bytes, 0, layout, transportBytes);
    const sum = sumWords(bytes, transport, transportBytes, pseudo);
    putU16(bytes, transport + csumOffset, complement(sum, layout.protocol));
  }
}
