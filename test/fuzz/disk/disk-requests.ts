/** What a driver may send to a disk, of small numbers. */
import { header, joined, range, Type } from '../../devices/blk/support/test-queue.js';

const TYPES = [...Object.values(Type), 2, 0x8000_0000];
const SECTORS_OF_INTEREST = [0n, 1n, 62n, 63n, 64n, 2n ** 32n, 2n ** 53n, 2n ** 55n, 2n ** 64n - 1n];
const COUNTS_OF_INTEREST = [0, 1, 63, 64, 65, 1024, 1025, 0x7fff_ffff, 0xffff_ffff];
const DATA_BYTES = [0, 512, 512, 1024, 4096, 1, 511, 513, 32768];
const CUTS = [0, 1, 15, 16, 17, 511, 512, 513];

/** Room for the answer, with the status as its last byte. */
export const ROOMS = [1, 513, 1025, 4097, 2, 21, 512, 32769] as const;

/** Header, and data or ranges; now and then with a bit that is another, or cut short. */
export function requestOf(a: number, b: number, c: number): Uint8Array {
  const type = TYPES[a % TYPES.length];
  const isRanges = type === Type.DISCARD || type === Type.WRITE_ZEROES || type === Type.SECURE_ERASE;
  const data = isRanges ? rangesOf(b, c) : [new Uint8Array(DATA_BYTES[c % DATA_BYTES.length]).fill(c & 0xff)];
  const bytes = joined(header(type, sectorOf(b)), ...data);
  if (a % 13 === 12) bytes[c % bytes.length] ^= 1 << (b % 8);
  return a % 11 === 10 ? bytes.slice(0, c % (bytes.length + 1)) : bytes;
}

/** Lengths after which a buffer goes on elsewhere. */
export function cutsOf(number: number): number[] {
  return Array.from({ length: number % 4 }, (_, i) => CUTS[(number >> (2 + i)) % CUTS.length]);
}

function sectorOf(number: number): bigint {
  return number % 3 === 0 ? SECTORS_OF_INTEREST[number % SECTORS_OF_INTEREST.length] : BigInt(number % 66);
}

function rangesOf(b: number, c: number): Uint8Array[] {
  const count = c % 9 === 8 ? 60 + (b % 8) : c % 4;
  return Array.from({ length: count }, (_, i) => {
    const sectors =
      (b + i) % 3 === 0 ? COUNTS_OF_INTEREST[(c + i) % COUNTS_OF_INTEREST.length] : (c + i) % 16;
    return range(sectorOf(b + 8 * i), sectors, (b + c) % 7 === 6 ? i % 4 : 0);
  });
}
