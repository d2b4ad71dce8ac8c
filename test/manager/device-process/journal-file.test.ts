import { existsSync, mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { JournalFile } from '../../../manager/device-process/journal-file.js';
import { temporaryFolders } from '../temporary-folder.js';

const newFolder = temporaryFolders();

function newJournal(path = join(newFolder(), 'session')): {
  path: string;
  journal: JournalFile;
  log: string[];
} {
  const log: string[] = [];
  return { path, log, journal: new JournalFile(path, (message) => log.push(message)) };
}

it('has what is written to it once it is committed, and not before', () => {
  const { path, journal } = newJournal();
  const first = journal.create(65_536);
  expect(first).toHaveLength(65_536);
  first?.set([1, 2, 3]);
  expect(journal.read()).toBeUndefined();
  journal.commit();
  first?.set([4], 3);
  expect([...readFileSync(path).subarray(0, 4)]).toEqual([1, 2, 3, 4]);
  const second = journal.create(131_072);
  second?.set([9]);
  expect(journal.read()?.[0]).toBe(1);
  journal.commit();
  expect([journal.read()?.[0], journal.read()?.length]).toEqual([9, 131_072]);
  journal.remove();
  expect(readdirSync(join(path, '..'))).toEqual([]);
});

it('leaves alone what another process has put in its place', () => {
  const { path, journal } = newJournal();
  const other = newJournal(path).journal;
  journal.create(4096);
  journal.commit();
  other.create(4096)?.set([7]);
  other.commit();
  journal.remove();
  expect(other.read()?.[0]).toBe(7);
  other.remove();
  expect(existsSync(path)).toBe(false);
});

it('says why there is none, and goes on', () => {
  const { path, journal, log } = newJournal(join(newFolder(), 'missing', 'session'));
  expect(journal.create(4096)).toBeUndefined();
  expect(log.join()).toContain(`cannot make the journal ${path}`);
  expect(journal.read()).toBeUndefined();
  expect(log).toHaveLength(1);
});

it('reads nothing but a file', () => {
  const folder = newFolder();
  writeFileSync(join(folder, 'secret'), 'secret');
  symlinkSync('secret', join(folder, 'session'));
  const { journal, log } = newJournal(join(folder, 'session'));
  expect(journal.read()).toBeUndefined();
  expect(log.join()).toContain('cannot read the journal');
  mkdirSync(join(folder, 'directory'));
  expect(newJournal(join(folder, 'directory')).journal.read()).toBeUndefined();
});

it('takes no room that it has not', () => {
  const { journal, log } = newJournal();
  expect(journal.create(2 ** 50)).toBeUndefined();
  expect(log.join()).toContain('cannot make the journal');
});
