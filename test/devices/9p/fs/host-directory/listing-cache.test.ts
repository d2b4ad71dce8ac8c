/** Large directories that are listed again and again, while they change and while they do not. */
import { linkSync, mkdirSync, readdirSync, renameSync, statSync, unlinkSync, writeFileSync } from 'node:fs';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { OpenFlag, type FsNode, type OpenFile } from '../../../../../devices/9p/fs/file-system.js';
import { listingCache } from '../../../../../devices/9p/fs/host-directory/listing-cache.js';
import { randomFrom } from '../../../../support/random.js';
import { entriesFrom, listing, ok } from '../suite/driver.js';
import { Exported } from './exported.js';

/** Some more than fit a buffer. */
const HOW_MANY = 3000;
const SETTLED_MS = 150;

let exported: Exported;
let directory: FsNode;

beforeEach(async () => {
  exported = await Exported.make();
  mkdirSync(exported.at('large'));
  writeFileSync(exported.at('large', 'entry-0'), '');
  for (let i = 1; i < HOW_MANY; i++)
    linkSync(exported.at('large', 'entry-0'), exported.at('large', `entry-${i}`));
  directory = await ok<FsNode>(exported.root.walk('large'));
});

afterEach(() => {
  directory.release();
  exported.remove();
});

function settled(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, SETTLED_MS));
}

async function names(): Promise<string[]> {
  return (await listing(directory)).map(({ name }) => name).filter((name) => !/^\.\.?$/.test(name));
}

function isKept(): boolean {
  const { dev, ino } = statSync(exported.at('large'));
  return listingCache.has({ device: dev, inodeHigh: Math.floor(ino / 2 ** 32), inodeLow: ino % 2 ** 32 });
}

describe('a large directory', () => {
  it('is kept as it was listed once it has not changed for a while, and not before', async () => {
    await names();
    expect(isKept()).toBe(false);
    await settled();
    const first = await names();
    expect(isKept()).toBe(true);
    expect(await names()).toEqual(first);
    expect(first.sort()).toEqual(readdirSync(exported.at('large')).sort());
  });

  it('shows each change in the next listing, however soon that is', async () => {
    const random = randomFrom(1);
    const at = (name: string): string => exported.at('large', name);
    const here = readdirSync(exported.at('large'));
    for (let round = 0; round < 40; round++) {
      if (random(4) === 0) await settled();
      if (random(2) === 0) await names();
      const index = 1 + random(here.length - 1);
      switch (random(3)) {
        case 0:
          linkSync(at('entry-0'), at(`new-${round}`));
          here.push(`new-${round}`);
          break;
        case 1:
          unlinkSync(at(here[index]));
          here.splice(index, 1);
          break;
        default:
          renameSync(at(here[index]), at(`renamed-${round}`));
          here[index] = `renamed-${round}`;
      }
      expect((await names()).sort()).toEqual([...here].sort());
    }
  });

  it('is read on from any place, and again from the start, of what is kept as of what is not', async () => {
    await settled();
    const opened = await ok<OpenFile>(directory.open(OpenFlag.O_RDONLY));
    for (const kept of [false, true]) {
      expect(isKept()).toBe(kept);
      const all = await entriesFrom(opened, 0, Infinity);
      expect(await entriesFrom(opened, all[all.length - 1].cookie, 20)).toEqual([]);
      for (const from of [0, 10, 2999, 1500, 3001, 0, 2]) {
        const cookie = from === 0 ? 0 : all[from - 1].cookie;
        const part = await entriesFrom(opened, cookie, 20);
        expect(part.map(({ name }) => name)).toEqual(all.slice(from, from + 20).map(({ name }) => name));
      }
    }
    linkSync(exported.at('large', 'entry-0'), exported.at('large', 'late'));
    expect((await entriesFrom(opened, 0, Infinity)).map(({ name }) => name)).toContain('late');
    await opened.close();
  });
});
