/** Large directories of the host, and cookies where positions do not fit a Number. */
import { linkSync, symlinkSync, writeFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { OpenFlag, type OpenFile } from '../../../../../devices/9p/fs/file-system.js';
import { DirectoryCookies } from '../../../../../devices/9p/fs/host-directory/directory-cookies.js';
import { entriesFrom, listing, ok } from '../suite/driver.js';
import { Exported, openDescriptors } from './exported.js';

const TWO_52 = 2 ** 52;

describe('directory cookies', () => {
  it('are the position itself where a Number holds it', () => {
    const cookies = new DirectoryCookies();
    expect(cookies.next(17, 0)).toBe(17);
    expect(cookies.next(1, 2 ** 20 - 1)).toBe(TWO_52 - 2 ** 32 + 1);
    expect(cookies.numberOf(TWO_52 - 1)).toBe(-1);
  });

  it('stand for larger positions by number, and find them again', () => {
    const cookies = new DirectoryCookies();
    const given: number[] = [];
    for (let i = 0; i < 1000; i++) {
      expect(cookies.next(i, 2 ** 30)).toBe(cookies.next(i, 2 ** 30));
      given.push(cookies.next(i, 2 ** 30));
      cookies.advance();
    }
    expect(new Set(given).size).toBe(1000);
    given.forEach((cookie, i) => {
      expect(Number.isSafeInteger(cookie)).toBe(true);
      expect(cookies.recall(cookies.numberOf(cookie))).toEqual({ low: i, high: 2 ** 30 });
    });
  });

  it('remember the latest 65,536, and say so of older ones', () => {
    const cookies = new DirectoryCookies();
    for (let i = 1; i <= 200_000; i++) {
      cookies.next(i, 2 ** 31);
      cookies.advance();
    }
    expect(cookies.recall(200_000)).toEqual({ low: 200_000, high: 2 ** 31 });
    expect(cookies.recall(200_000 - 65_535)).toEqual({ low: 200_000 - 65_535, high: 2 ** 31 });
    expect(cookies.recall(200_000 - 65_536)).toBeUndefined();
    expect(cookies.recall(1)).toBeUndefined();
    expect(cookies.recall(200_001)).toBeUndefined();
  });
});

describe('a directory of 100,000 entries', () => {
  const HOW_MANY = 100_000;
  const NAMES_A_FILE = 50_000;
  let exported: Exported;

  beforeAll(async () => {
    exported = await Exported.make();
    // Names of a few files, which are made much faster than files; ext4 allows 65,000 each.
    for (let i = 0; i < HOW_MANY; i++) {
      if (i % NAMES_A_FILE === 0) writeFileSync(exported.at(`entry-${i}`), '');
      else linkSync(exported.at(`entry-${i - (i % NAMES_A_FILE)}`), exported.at(`entry-${i}`));
    }
    // On a busy machine so many names take longer than a hook usually may.
  }, 60_000);

  afterAll(() => {
    exported.remove();
  });

  it('is listed exactly once while the host makes and removes entries, and from forgotten cookies on', async () => {
    let round = 0;
    const entries = await listing(exported.root, 5000, () => {
      symlinkSync('x', exported.at(`comes-${round++}`));
    });
    const counts = new Map<string, number>();
    for (const { name } of entries) counts.set(name, (counts.get(name) ?? 0) + 1);
    for (let i = 0; i < HOW_MANY; i++) expect(counts.get(`entry-${i}`)).toBe(1);
    const directory = await ok<OpenFile>(exported.root.open(OpenFlag.O_RDONLY));
    const all = await entriesFrom(directory, 0, Infinity);
    const late = await entriesFrom(directory, all[20_000].cookie, 100);
    expect(late.map(({ name }) => name)).toEqual(all.slice(20_001, 20_101).map(({ name }) => name));
    await directory.close();
  });

  it('leaves no descriptor when it is closed while more is read ahead, and is listed from any place at any time', async () => {
    const before = openDescriptors();
    for (let i = 0; i < 200; i++) {
      const directory = await ok<OpenFile>(exported.root.open(OpenFlag.O_RDONLY));
      const some = await entriesFrom(directory, 0, 10 + i);
      // Back, and on, with the next buffer under way or full.
      expect(await entriesFrom(directory, 0, 10)).toEqual(some.slice(0, 10));
      expect(await entriesFrom(directory, some[4].cookie, 5)).toEqual(some.slice(5, 10));
      await directory.close();
    }
    await vi.waitFor(() => {
      expect(openDescriptors()).toBe(before);
    });
  });
});
