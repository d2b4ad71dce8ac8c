/**
 * The guest's memory that ring states are made in. Rings are at the start of RAM; another piece lies right behind RAM, so that a buffer may
 * go on there and a ring may not; one can only be read; one is above 4 GiB; and everything else is no memory.
 */
import { ArrayRegion } from '../../../devices/virtio/memory/array-region.js';

const MiB = 0x10_0000;
/** All regions are cut from one array, so that one watcher sees them all. */
export const bytes = new Uint8Array(MiB + 0x1_2000);
export const view = new DataView(bytes.buffer);

export interface Piece {
  readonly start: number;
  readonly end: number;
  /** Where it starts in `bytes`. */
  readonly offset: number;
  readonly writable: boolean;
  readonly region: ArrayRegion;
}

function piece(start: number, sizeBytes: number, offset: number, writable = true): Piece {
  const region = new ArrayRegion(start, bytes.subarray(offset, offset + sizeBytes), { writable });
  return { start, end: start + sizeBytes, offset, writable, region };
}

export const RAM = piece(MiB, MiB, 0);
export const BEHIND_RAM = piece(2 * MiB, 0x1_0000, MiB);
export const READ_ONLY = piece(0x22_0000, 0x1000, MiB + 0x1_0000, false);
export const HIGH = piece(0x1_0000_0000, 0x1000, MiB + 0x1_1000);
export const PIECES = [RAM, BEHIND_RAM, READ_ONLY, HIGH] as const;

/** What the largest ring leaves free of RAM. */
export const TABLES = RAM.start + 0xe_0000;
export const BUFFERS = RAM.start + 0xf_0000;

/** An address in two words, as a guest writes it. */
export interface Address {
  readonly low: number;
  readonly high: number;
}

const NEAR_EDGES: readonly Address[] = [
  { low: RAM.end - 8, high: 0 },
  { low: BEHIND_RAM.end - 8, high: 0 },
  { low: READ_ONLY.start + 16, high: 0 },
  { low: 0x21_8000, high: 0 },
  { low: RAM.start, high: 0 },
  { low: RAM.start - 8, high: 0 },
  { low: 0, high: 1 },
  { low: 0xff8, high: 1 },
  { low: 0xffff_fff8, high: 0 },
  { low: 0xffff_fff0, high: 0xffff_ffff },
  { low: RAM.start, high: 0x20_0000 },
  { low: 0, high: 0x8000_0000 },
];

/** A place for a buffer: most often a good one. */
export function addressOf(choice: number): Address {
  const edge = NEAR_EDGES.at((choice % 64) - 64);
  return choice % 64 < 52 || edge === undefined ? { low: BUFFERS + (choice % 512) * 64, high: 0 } : edge;
}

const LENGTHS = [1, 8, 16, 64, 100, 0, 4096, 0x1_0000, 0x8000_0000, 0xffff_ffff];

export function lengthOf(choice: number): number {
  return choice % 16 < 10 ? LENGTHS[choice % 5] : LENGTHS[choice % LENGTHS.length];
}

/** The piece that an address is in, of those that are there now. */
export function pieceAt(present: readonly Piece[], address: number): Piece | undefined {
  for (const each of present) if (address >= each.start && address < each.end) return each;
  return undefined;
}
