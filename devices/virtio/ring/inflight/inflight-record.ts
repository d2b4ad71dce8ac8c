/**
 * What a running ring writes down of its chains, so that whoever comes after a process that was killed knows which to give to the device again.
 *
 * A kill falls between two instructions, and all stores before it are done: so what counts is the order of the stores in the program, and
 * no barrier is needed but those towards the driver. The other side of the area may be anybody's: it is written while the ring runs, and never read.
 */
import type { DescriptorChain } from '../descriptor-chain.js';

export interface InflightRecord {
  /** A chain that was under way when the record was found. */
  adopt(chain: DescriptorChain): void;
  /** The chain that was taken last was not taken after all. */
  untaken(chain: DescriptorChain): void;
  /** Its used element is written, where the driver does not look yet. */
  used(chain: DescriptorChain): void;
  /** Those that were used are shown to the driver next: the ring's used position will be this one. */
  publishing(newUsed: number): void;
  /** The driver sees them. */
  published(newUsed: number): void;
}

/** Typed arrays over a region, which begins at a multiple of 8. */
export interface RegionArrays {
  readonly bytes: Uint8Array;
  readonly halves: Uint16Array;
  readonly words: Int32Array;
  readonly doubles: Float64Array;
}

export function regionArrays({ buffer, byteOffset, byteLength }: Uint8Array): RegionArrays {
  return {
    bytes: new Uint8Array(buffer, byteOffset, byteLength),
    halves: new Uint16Array(buffer, byteOffset, byteLength >> 1),
    words: new Int32Array(buffer, byteOffset, byteLength >> 2),
    doubles: new Float64Array(buffer, byteOffset, byteLength >> 3),
  };
}

const TWO_POW_32 = 0x1_0000_0000;

/** A counter of 64 bits, at a place in `words`; those of ours stay below 2^53. */
export function counterAt(words: Int32Array, at: number): number {
  return (words[at + 1] >>> 0) * TWO_POW_32 + (words[at] >>> 0);
}

export function setCounter(words: Int32Array, at: number, counter: number): void {
  words[at] = counter;
  words[at + 1] = counter / TWO_POW_32;
}

/** A counter as a device sees it: a small integer to V8. */
export function inflightNumber(counter: number): number {
  return counter & 0x3fff_ffff;
}
