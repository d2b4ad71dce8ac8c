/** The Internet checksum (RFC 1071). */
import { putU16, u16At } from '../ethernet.js';
import type { FrameLayout } from './layout.js';
import { IpProtocol } from './layout.js';

/** Words that can be added up to a small integer before the carries have to come back in. */
const FOLD_EVERY_BYTES = 1 << 14;

/** Adds the bytes as 16-bit words, of which the last may lack a byte, to a folded sum; answers a folded one. */
export function sumWords(bytes: Uint8Array, at: number, lengthBytes: number, initial = 0): number {
  let sum = initial;
  let position = at;
  const end = at + lengthBytes;
  while (end - position >= 2) {
    const stop = Math.min(position + FOLD_EVERY_BYTES, end - ((end - position) & 1));
    for (; position < stop; position += 2) sum += (bytes[position] << 8) | bytes[position + 1];
    sum = fold(sum);
  }
  return position < end ? fold(sum + (bytes[position] << 8)) : sum;
}

export function fold(sum: number): number {
  let folded = sum;
  while (folded > 0xffff) folded = (folded & 0xffff) + (folded >>> 16);
  return folded;
}

/** The checksum for a sum; a UDP checksum of 0 would say that there is none, and 0xffff is the same number. */
export function complement(sum: number, protocol: number): number {
  const checksum = ~sum & 0xffff;
  return checksum === 0 && protocol === IpProtocol.UDP ? 0xffff : checksum;
}

/** The sum of addresses, protocol and length that TCP and UDP count in. `bytes` holds the frame's headers from `at` on. */
export function pseudoHeaderSum(
  bytes: Uint8Array,
  at: number,
  layout: FrameLayout,
  transportBytes: number,
): number {
  const addresses = at + layout.networkOffset + (layout.isIpv6 ? 8 : 12);
  const sum = sumWords(bytes, addresses, layout.isIpv6 ? 32 : 8, layout.protocol);
  return fold(sum + (transportBytes >>> 16) + (transportBytes & 0xffff));
}

/** Finishes a frame of `lengthBytes` bytes whose checksum holds the sum of its pseudo header so far. */
export function finishChecksum(
  bytes: Uint8Array,
  lengthBytes: number,
  csumStart: number,
  csumOffset: number,
  protocol: number,
): void {
  putU16(
    bytes,
    csumStart + csumOffset,
    complement(sumWords(bytes, csumStart, lengthBytes - csumStart), protocol),
  );
}

/** Writes the checksum of the IPv4 header at `at`. */
export function putIpv4Checksum(bytes: Uint8Array, at: number): void {
  putU16(bytes, at + 10, 0);
  const headerBytes = (bytes[at] & 15) * 4;
  putU16(bytes, at + 10, ~sumWords(bytes, at, headerBytes) & 0xffff);
}

/** Adds to a 16-bit field, modulo 2^16. */
export function addU16(bytes: Uint8Array, at: number, value: number): void {
  putU16(bytes, at, (u16At(bytes, at) + value) & 0xffff);
}
