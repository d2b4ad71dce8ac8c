import { describe, expect, it } from 'vitest';
import { UnflushedLog } from '../../../../../devices/blk/backends/nbd/unflushed-log.js';
import { pattern, vectorOver } from '../../support/vectors.js';

const MIB = 1 << 20;

function contents(log: UnflushedLog): { offset: number; bytes: Buffer | number }[] {
  return [...log.entries()].map(({ offsetBytes, lengthBytes, isZeroes, data }) => {
    const bytes = Buffer.alloc(lengthBytes);
    data.gather(0, bytes, 0, lengthBytes);
    return { offset: offsetBytes, bytes: isZeroes ? lengthBytes : bytes };
  });
}

describe('the log of unflushed writes', () => {
  it('gives back what was added, in order', () => {
    const log = new UnflushedLog();
    expect([log.isEmpty, contents(log)]).toEqual([true, []]);
    const bytes = pattern(4096, 1);
    log.addWrite(512, vectorOver(bytes, [100, 1000]), 0, 1024);
    log.addZeroes(0, 65536);
    log.addWrite(2 ** 45, vectorOver(bytes), 1024, 512);
    expect(contents(log)).toEqual([
      { offset: 512, bytes: Buffer.from(bytes.subarray(0, 1024)) },
      { offset: 0, bytes: 65536 },
      { offset: 2 ** 45, bytes: Buffer.from(bytes.subarray(1024, 1536)) },
    ]);
  });

  it('is the same again of what it saved', () => {
    const log = new UnflushedLog();
    log.addWrite(512, vectorOver(pattern(4096, 1), [100, 1000]), 0, 1024);
    log.addZeroes(0, 65536);
    log.addWrite(2 ** 45, vectorOver(pattern(4096, 1)), 1024, 512);
    const next = new UnflushedLog();
    next.addZeroes(0, 512);
    expect(next.restore(log.save())).toBe(true);
    expect(contents(next)).toEqual(contents(log));
    expect(next.restore(new UnflushedLog().save())).toBe(true);
    expect(next.isEmpty).toBe(true);
  });

  it('drops what a flush has covered, and keeps what came since', () => {
    const log = new UnflushedLog();
    log.addWrite(0, vectorOver(pattern(512, 1)), 0, 512);
    const sequence = log.sequence;
    log.addWrite(512, vectorOver(pattern(512, 2)), 0, 512);
    log.flushed(sequence);
    expect(contents(log).map(({ offset }) => offset)).toEqual([512]);
    log.flushed(sequence);
    expect(contents(log)).toHaveLength(1);
    log.flushed(log.sequence);
    expect(log.isEmpty).toBe(true);
  });

  it('keeps 32 MiB and no more, and is filling from half of that on', () => {
    const log = new UnflushedLog();
    const bytes = vectorOver(new Uint8Array(MIB));
    const filling: boolean[] = [];
    for (let i = 0; i < 32; i++) {
      expect(log.addWrite(i * MIB, bytes, 0, MIB)).toBe(true);
      filling.push(log.isFilling);
    }
    expect(filling.indexOf(true)).toBe(15);
    expect(log.addWrite(0, bytes, 0, 512)).toBe(false);
    expect(log.addZeroes(0, 512)).toBe(true);
    log.flushed(1);
    expect(log.addWrite(0, bytes, 0, MIB)).toBe(true);
  });

  it('keeps a write that goes over the end of its memory', () => {
    const log = new UnflushedLog();
    const filler = vectorOver(new Uint8Array(MIB));
    for (let i = 0; i < 31; i++) log.addWrite(0, filler, 0, MIB);
    log.addWrite(0, filler, 0, MIB / 2);
    log.flushed(log.sequence);
    const bytes = pattern(MIB, 6);
    expect(log.addWrite(4096, vectorOver(bytes), 0, MIB)).toBe(true);
    const [{ offset, bytes: kept }] = contents(log);
    expect(offset).toBe(4096);
    expect(Buffer.from(bytes).equals(kept as Buffer)).toBe(true);
  });

  it('has a limit on entries', () => {
    const log = new UnflushedLog();
    const added = Array.from({ length: 32768 }, () => log.addZeroes(0, 512));
    expect(added.every((room) => room)).toBe(true);
    expect([log.isFilling, log.addZeroes(0, 512)]).toEqual([true, false]);
    expect(log.addWrite(0, vectorOver(new Uint8Array(512)), 0, 512)).toBe(false);
    log.flushed(100);
    expect(log.addZeroes(0, 512)).toBe(true);
  });
});
