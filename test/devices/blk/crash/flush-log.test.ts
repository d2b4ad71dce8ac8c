import { describe, expect, it } from 'vitest';
import {
  diskBytes,
  flushedLine,
  flushedRecords,
  lostRecords,
  offsetOf,
  recordOf,
  type CrashLayout,
} from './flush-log.js';

const LAYOUT: CrashLayout = { lanes: 2, places: 4, recordBytes: 1024 };

/** A disk on which lane 1 has written records up to `last`. */
function written(last: number): Buffer {
  const disk = Buffer.alloc(diskBytes(LAYOUT));
  for (let n = 1; n <= last; n++) recordOf(LAYOUT, 1, n).copy(disk, offsetOf(LAYOUT, 1, n));
  return disk;
}

describe('the checker of disks that crashed', () => {
  it('finds nothing missing where all that was flushed is there', () => {
    expect(lostRecords(LAYOUT, flushedLine(1, 6), written(6))).toEqual([]);
    expect(lostRecords(LAYOUT, '', Buffer.alloc(diskBytes(LAYOUT)))).toEqual([]);
  });

  it('lets a sector hold the record that would have come next in its place', () => {
    const disk = written(6);
    recordOf(LAYOUT, 1, 7).copy(disk, offsetOf(LAYOUT, 1, 7), 0, 512);
    expect(lostRecords(LAYOUT, flushedLine(1, 6), disk)).toEqual([]);
  });

  it.each<[string, (disk: Buffer, at: number) => void]>([
    ['an earlier record of the place', (disk, at) => recordOf(LAYOUT, 1, 2).copy(disk, at)],
    ['a record of another place', (disk, at) => recordOf(LAYOUT, 1, 7).copy(disk, at)],
    ["another lane's record", (disk, at) => recordOf(LAYOUT, 0, 6).copy(disk, at)],
    ['nothing', (disk, at) => disk.fill(0, at, at + 1024)],
  ])('finds a record missing where there is %s', (_what, spoil) => {
    const disk = written(6);
    const at = offsetOf(LAYOUT, 1, 6);
    spoil(disk, at);
    expect(lostRecords(LAYOUT, flushedLine(1, 6), disk)).toEqual([
      `record 6 of lane 1 is not at byte ${at}`,
      `record 6 of lane 1 is not at byte ${at + 512}`,
    ]);
  });

  it('finds a single byte that is another', () => {
    const disk = written(6);
    disk[offsetOf(LAYOUT, 1, 5) + 700] ^= 1;
    expect(lostRecords(LAYOUT, flushedLine(1, 6), disk)).toEqual([
      `record 5 of lane 1 is not at byte ${offsetOf(LAYOUT, 1, 5) + 512}`,
    ]);
  });

  it('believes no line of the log that was cut short, and takes others in any order among other text', () => {
    const log = `boot\r\nflushed 1 12\r\n[ 3.2] flushed 1 11\nflushed 0 3\nflushed 1 13`;
    expect(flushedRecords(LAYOUT, log)).toEqual([3, 12]);
  });
});
