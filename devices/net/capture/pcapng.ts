/**
 * Capture files for Wireshark and its like (pcapng, draft-ietf-opsawg-pcapng): blocks of type[4] length[4] body[…] length[4], little-endian,
 * padded to 4 bytes.
 */
import type { Frame } from '../frame.js';

const BlockType = { SECTION_HEADER: 0x0a0d0d0a, INTERFACE: 1, ENHANCED_PACKET: 6 } as const;
const BYTE_ORDER_MAGIC = 0x1a2b3c4d;
const LINKTYPE_ETHERNET = 1;
const OptionCode = { END: 0, IF_NAME: 2, EPB_FLAGS: 2, IF_TSRESOL: 9 } as const;
const BLOCK_OVERHEAD = 12;
/** interface[4] time[8] captured[4] original[4]; and behind the packet: code[2] length[2] flags[4] end[4]. */
const PACKET_HEADER_BYTES = 20;
const PACKET_OPTIONS_BYTES = 12;
/** Timestamps count microseconds: 10^-6. */
const TSRESOL_MICROSECONDS = 6;
const TWO_POW_32 = 0x1_0000_0000;

/** Which way a frame went, as its flags say it: seen from the card. */
export const Direction = { RECEIVED: 1, SENT: 2 } as const;
export type Direction = (typeof Direction)[keyof typeof Direction];

/** The beginning of a file: a section and its one interface. */
export function fileHeader(interfaceName: string, snapLengthBytes: number): Uint8Array {
  const name = new TextEncoder().encode(interfaceName);
  const nameBytes = padded(name.length);
  const section = 28;
  const interfaceBytes = BLOCK_OVERHEAD + 8 + (4 + nameBytes) + 8 + 4;
  const bytes = new Uint8Array(section + interfaceBytes);
  const view = new DataView(bytes.buffer);
  startBlock(view, 0, BlockType.SECTION_HEADER, section);
  view.setUint32(8, BYTE_ORDER_MAGIC, true);
  view.setUint16(12, 1, true);
  // How long the section is nobody knows before its end.
  view.setBigInt64(16, -1n, true);
  startBlock(view, section, BlockType.INTERFACE, interfaceBytes);
  view.setUint16(section + 8, LINKTYPE_ETHERNET, true);
  view.setUint32(section + 12, snapLengthBytes, true);
  let at = section + 16;
  startOption(view, at, OptionCode.IF_NAME, name.length);
  bytes.set(name, at + 4);
  at += 4 + nameBytes;
  startOption(view, at, OptionCode.IF_TSRESOL, 1);
  bytes[at + 4] = TSRESOL_MICROSECONDS;
  return bytes;
}

/** Makes the blocks of packets, in a buffer that is used again. */
export class PacketWriter {
  readonly #snapLengthBytes: number;
  readonly #bytes: Uint8Array;
  readonly #view: DataView;

  constructor(snapLengthBytes: number) {
    this.#snapLengthBytes = snapLengthBytes;
    const most = BLOCK_OVERHEAD + PACKET_HEADER_BYTES + padded(snapLengthBytes) + PACKET_OPTIONS_BYTES;
    this.#bytes = new Uint8Array(most);
    this.#view = new DataView(this.#bytes.buffer);
  }

  /** A frame's block, which is good until the next call. `micros` counts from 1970 on. */
  packet(frame: Frame, direction: Direction, micros: number): Uint8Array {
    const captured = Math.min(frame.byteLength, this.#snapLengthBytes);
    const optionsAt = 8 + PACKET_HEADER_BYTES + padded(captured);
    const length = optionsAt + PACKET_OPTIONS_BYTES + 4;
    const view = this.#view;
    startBlock(view, 0, BlockType.ENHANCED_PACKET, length);
    view.setUint32(8, 0, true);
    view.setUint32(12, Math.floor(micros / TWO_POW_32), true);
    view.setUint32(16, micros % TWO_POW_32, true);
    view.setUint32(20, captured, true);
    view.setUint32(24, frame.byteLength, true);
    this.#bytes.fill(0, 28 + captured, length - 4);
    frame.data.gather(0, this.#bytes, 28, captured);
    startOption(view, optionsAt, OptionCode.EPB_FLAGS, 4);
    view.setUint32(optionsAt + 4, direction, true);
    return this.#bytes.subarray(0, length);
  }
}

function startBlock(view: DataView, at: number, type: number, lengthBytes: number): void {
  view.setUint32(at, type, true);
  view.setUint32(at + 4, lengthBytes, true);
  view.setUint32(at + lengthBytes - 4, lengthBytes, true);
}

function startOption(view: DataView, at: number, code: number, lengthBytes: number): void {
  view.setUint16(at, code, true);
  view.setUint16(at + 2, lengthBytes, true);
}

function padded(lengthBytes: number): number {
  return (lengthBytes + 3) & ~3;
}
