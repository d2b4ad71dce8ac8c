import { ftruncateSync, writeSync } from 'node:fs';
import { expect, it, onTestFinished } from 'vitest';
import { duplicateFd, memoryFile } from '../../../host/index.js';
import { JournalMemory } from '../../../manager/device-process/keeping/journal-memory.js';
import { openDescriptors } from '../ports/vhost-user/harness.js';

const PAGE_BYTES = 4096;

function newJournal(): { journal: JournalMemory; log: string[] } {
  const log: string[] = [];
  const journal = new JournalMemory(undefined, (message) => log.push(message));
  onTestFinished(() => journal.close());
  return { journal, log };
}

/** What the next process has of it. */
function next(journal: JournalMemory): JournalMemory {
  const other = newJournal().journal;
  expect(other.adopt(duplicateFd(journal.fd))).toBe(true);
  return other;
}

it('has what is written to it once it is committed, and not before', () => {
  const { journal } = newJournal();
  const first = journal.create(65_536);
  expect(first).toHaveLength(65_536);
  first?.set([1, 2, 3]);
  expect(next(journal).read()).toBeUndefined();
  journal.commit();
  first?.set([4], 3);
  expect([...(next(journal).read()?.subarray(0, 4) ?? [])]).toEqual([1, 2, 3, 4]);
  const second = journal.create(131_072);
  second?.set([9]);
  expect(next(journal).read()?.[0]).toBe(1);
  journal.commit();
  const left = next(journal).read();
  expect([left?.[0], left?.length]).toEqual([9, 131_072]);
  journal.remove();
  expect(next(journal).read()).toBeUndefined();
});

it('takes no more room than two journals and the place between, however often it begins anew', () => {
  const { journal } = newJournal();
  for (let i = 0; i < 50; i++) {
    journal.create(65_536 + PAGE_BYTES * (i % 3))?.fill(i, 0, 4);
    journal.commit();
    expect(journal.read()?.[0]).toBe(i);
  }
  let largest = 0;
  for (let at = 0; at < 50; at++) {
    journal.create(65_536)?.fill(1);
    journal.commit();
    largest = Math.max(largest, journal.mappedBytes);
  }
  expect(largest).toBeLessThan(5 * 65_536);
});

it('goes on in the file that it adopts, and lets go of its own', () => {
  const before = openDescriptors();
  const one = newJournal().journal;
  one.create(8192)?.set([5]);
  one.commit();
  const other = next(one);
  expect(openDescriptors()).toBe(before + 2);
  other.create(8192)?.set([6]);
  other.commit();
  expect([next(one).read()?.[0], other.read()?.[0]]).toEqual([6, 6]);
});

it.each([
  ['nothing', Buffer.alloc(0)],
  ['a header that names what is not there', Buffer.from(Uint32Array.of(1, 1, 0x7fff_ffff).buffer)],
  ['a header that names itself', Buffer.from(Uint32Array.of(2, 0, 0, 0, 1).buffer)],
  ['a header of ones', Buffer.alloc(PAGE_BYTES, 0xff)],
])('has none in a file of %s', (_, bytes) => {
  const { journal, log } = newJournal();
  const fd = memoryFile('odd');
  if (bytes.length > 0) ftruncateSync(fd, 2 * PAGE_BYTES);
  if (bytes.length > 0) writeSync(fd, bytes, 0, bytes.length, 0);
  expect(journal.adopt(fd)).toBe(bytes.length > 0);
  expect(journal.read()).toBeUndefined();
  expect(log).toHaveLength(bytes.length > 0 ? 0 : 1);
  expect(journal.create(4096)).toHaveLength(4096);
  journal.commit();
  expect(journal.read()).toHaveLength(4096);
});

it('takes no room that it has not, and says so', () => {
  const { journal, log } = newJournal();
  expect(journal.create(2 ** 50)).toBeUndefined();
  expect(log.join()).toContain("cannot make a session's journal");
});
