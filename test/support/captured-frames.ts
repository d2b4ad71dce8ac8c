/** Reads a capture file (pcapng) and checks what is in it, without any of the code that wrote it. */
export interface CapturedFrame {
  readonly bytes: Buffer;
  /** As an IPv4 packet of TCP: whether both checksums are right. Undefined for what is none. */
  readonly isSound: boolean | undefined;
}

const SECTION_HEADER = 0x0a0d0d0a;
const ENHANCED_PACKET = 6;
const IPV4 = 0x0800;
const TCP = 6;

/** @throws Error where the file is not whole */
export function capturedFrames(file: Buffer): CapturedFrame[] {
  if (file.readUInt32LE(0) !== SECTION_HEADER) throw new Error('this is no pcapng');
  const frames: CapturedFrame[] = [];
  for (let at = 0; at < file.length;) {
    const length = file.readUInt32LE(at + 4);
    if (at + length > file.length || file.readUInt32LE(at + length - 4) !== length) {
      throw new Error(`the block at ${at} is not whole`);
    }
    if (file.readUInt32LE(at) === ENHANCED_PACKET) {
      const bytes = file.subarray(at + 28, at + 28 + file.readUInt32LE(at + 20));
      frames.push({ bytes, isSound: soundness(bytes) });
    }
    at += length;
  }
  return frames;
}

function soundness(frame: Buffer): boolean | undefined {
  if (frame.length < 34 || frame.readUInt16BE(12) !== IPV4 || frame[23] !== TCP) return undefined;
  const packet = frame.subarray(14, 14 + frame.readUInt16BE(16));
  const headerBytes = (packet[0] & 15) * 4;
  const pseudoHeader = Buffer.alloc(12);
  packet.copy(pseudoHeader, 0, 12, 20);
  pseudoHeader[9] = TCP;
  pseudoHeader.writeUInt16BE(packet.length - headerBytes, 10);
  const segment = Buffer.concat([pseudoHeader, packet.subarray(headerBytes)]);
  return onesComplement(packet.subarray(0, headerBytes)) === 0xffff && onesComplement(segment) === 0xffff;
}

/** The sum of RFC 1071, which is all ones over what has its checksum in it. */
function onesComplement(bytes: Buffer): number {
  let sum = 0;
  for (let at = 0; at < bytes.length; at += 2) sum += (bytes[at] << 8) | (bytes[at + 1] ?? 0);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return sum;
}
