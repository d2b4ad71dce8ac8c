/**
 * Who says what on a disk that is going to crash. Writers have a lane of the disk each, and write their records one after the other,
 * round and round over the lane's places; once a flush after a record has ended they say so to a log that the crash does not reach.
 *
 * A record is its line over and over, 16 bytes each: `LL:NNNNNNNNNNNN\n`, lane and number (from 1) in decimal.
 */
import { SECTOR_BYTES } from '../../../../devices/blk/protocol.js';

export interface CrashLayout {
  readonly lanes: number;
  /** Records that a lane holds: the one after them overwrites the first. */
  readonly places: number;
  /** Whole sectors. */
  readonly recordBytes: number;
}

const LINE = /^(\d\d):(\d{12})\n$/;
const LINE_BYTES = 16;

export function diskBytes({ lanes, places, recordBytes }: CrashLayout): number {
  return lanes * places * recordBytes;
}

/** Where a record is on the disk, in bytes. */
export function offsetOf({ places, recordBytes }: CrashLayout, lane: number, number: number): number {
  return (lane * places + (number % places)) * recordBytes;
}

export function recordOf({ recordBytes }: CrashLayout, lane: number, number: number): Buffer {
  const line = `${String(lane).padStart(2, '0')}:${String(number).padStart(12, '0')}\n`;
  return Buffer.alloc(recordBytes, line);
}

/** A line of the log: all records of the lane up to this one were written and then flushed. */
export function flushedLine(lane: number, number: number): string {
  return `flushed ${lane} ${number}\n`;
}

/** The last record of each lane that the log says was flushed; 0 where none was. Whatever else is in the log is passed over. */
export function flushedRecords({ lanes }: CrashLayout, log: string): number[] {
  const last = new Array<number>(lanes).fill(0);
  // A line that the crash cut short could be any number.
  for (const [, lane, number] of log.matchAll(/\bflushed (\d+) (\d+)\r?\n/g)) {
    last[Number(lane)] = Math.max(last[Number(lane)], Number(number));
  }
  return last;
}

/**
 * What is not on the disk although a flush that covered it had ended, a line each. A sector may hold a later record of its place: that
 * one was being written when all ended.
 */
export function lostRecords(layout: CrashLayout, log: string, disk: Uint8Array): string[] {
  return flushedRecords(layout, log).flatMap((last, lane) => {
    const first = Math.max(1, last - layout.places + 1);
    const numbers = Array.from({ length: last - first + 1 }, (_, i) => first + i);
    return numbers.flatMap((number) => lostSectors(layout, lane, number, disk));
  });
}

function lostSectors(layout: CrashLayout, lane: number, number: number, disk: Uint8Array): string[] {
  const start = offsetOf(layout, lane, number);
  const lost: string[] = [];
  for (let at = start; at < start + layout.recordBytes; at += SECTOR_BYTES) {
    const sector = Buffer.from(disk.buffer, disk.byteOffset + at, SECTOR_BYTES);
    const found = LINE.exec(sector.toString('latin1', 0, LINE_BYTES));
    const isThere =
      found !== null &&
      Number(found[1]) === lane &&
      isAsLate(layout, Number(found[2]), number) &&
      sector.equals(Buffer.alloc(SECTOR_BYTES, found[0]));
    if (!isThere) lost.push(`record ${number} of lane ${lane} is not at byte ${at}`);
  }
  return lost;
}

function isAsLate({ places }: CrashLayout, found: number, number: number): boolean {
  return found >= number && (found - number) % places === 0;
}
