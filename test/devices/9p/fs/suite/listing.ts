/** Listing directories. */
import { describe, expect, it } from 'vitest';
import { OpenFlag, type FsNode, type OpenFile } from '../../../../../devices/9p/fs/file-system.js';
import {
  attributesOf,
  count,
  entriesFrom,
  listing,
  mkdir,
  names,
  ok,
  put,
  self,
  type Context,
  type Entry,
} from './driver.js';

const DirentType = { DT_DIR: 4, DT_REG: 8, DT_LNK: 10 } as const;
const MANY = 10_000;

/** Makes so many names of one file, which is the fastest way to fill a directory. */
async function fill(directory: FsNode, howMany: number, prefix: string): Promise<void> {
  const node = await put(directory, `${prefix}0`, '');
  for (let i = 1; i < howMany; i++) await count(directory.link(`${prefix}${i}`, node));
  node.release();
}

function nameCounts(entries: readonly Entry[]): Map<string, number> {
  const counts = new Map<string, number>();
  for (const { name } of entries) counts.set(name, (counts.get(name) ?? 0) + 1);
  return counts;
}

export function listingSuite(context: Context): void {
  describe('listing', () => {
    it("gives each entry with its inode and type, and '.' and '..'", async () => {
      const directory = await mkdir(context.root, 'd');
      const nodes = {
        f: await put(directory, 'f', ''),
        s: await ok<FsNode>(directory.symlink('s', 'x', self)),
        n: await mkdir(directory, 'n'),
        '.': directory,
        '..': context.root,
      };
      const types = {
        f: DirentType.DT_REG,
        s: DirentType.DT_LNK,
        n: DirentType.DT_DIR,
        '.': DirentType.DT_DIR,
      };
      const entries = await listing(directory);
      expect(entries.map(({ name }) => name).sort()).toEqual(['.', '..', 'f', 'n', 's']);
      for (const { name, inodeLow, inodeHigh, type } of entries) {
        const attributes = await attributesOf(nodes[name as keyof typeof nodes]);
        expect({ inodeLow, inodeHigh }).toEqual({
          inodeLow: attributes.inodeLow,
          inodeHigh: attributes.inodeHigh,
        });
        if (name !== '..') expect(type).toBe(types[name as keyof typeof types]);
      }
      for (const node of [nodes.f, nodes.s, nodes.n, directory]) node.release();
    });

    it("of the root says that '..' is the root itself", async () => {
      const root = await attributesOf(context.root);
      const up = (await listing(context.root)).find(({ name }) => name === '..');
      expect(up).toMatchObject({ inodeLow: root.inodeLow, inodeHigh: root.inodeHigh });
    });

    it('goes on where the reader ran out of room, whatever fits at a time', async () => {
      await fill(context.root, 50, 'f');
      for (const batch of [1, 7, 51, 52, 53]) {
        const entries = await listing(context.root, batch);
        expect(nameCounts(entries).size, `${batch} at a time`).toBe(52);
        expect(entries).toHaveLength(52);
      }
    });

    it('starts over at cookie 0, with what is there now', async () => {
      await fill(context.root, 3, 'f');
      const directory = await ok<OpenFile>(context.root.open(OpenFlag.O_RDONLY));
      expect(await entriesFrom(directory, 0, 100)).toHaveLength(5);
      await fill(context.root, 1, 'later');
      await count(context.root.unlink('f0', false));
      const again = await entriesFrom(directory, 0, 100);
      expect(again.map(({ name }) => name).sort()).toEqual(['.', '..', 'f1', 'f2', 'later0']);
      await directory.close();
    });

    it('goes back to any cookie it gave', async () => {
      await fill(context.root, 300, 'f');
      const directory = await ok<OpenFile>(context.root.open(OpenFlag.O_RDONLY));
      const all = await entriesFrom(directory, 0, 1000);
      for (const at of [0, 1, 2, 150, 290, 20, 300]) {
        const rest = await entriesFrom(directory, all[at].cookie, 1000);
        expect(rest.map(({ name }) => name)).toEqual(all.slice(at + 1).map(({ name }) => name));
      }
      await directory.close();
    });

    it('takes cookies of another open of the directory', async () => {
      await fill(context.root, 300, 'f');
      const first = await ok<OpenFile>(context.root.open(OpenFlag.O_RDONLY));
      const all = await entriesFrom(first, 0, 1000);
      await first.close();
      const second = await ok<OpenFile>(context.root.open(OpenFlag.O_RDONLY));
      const rest = await entriesFrom(second, all[99].cookie, 1000);
      expect(rest.map(({ name }) => name).sort()).toEqual(
        all
          .slice(100)
          .map(({ name }) => name)
          .sort(),
      );
      await second.close();
    });

    it('takes cookies that nobody gave without harm', async () => {
      await fill(context.root, 3, 'f');
      const directory = await ok<OpenFile>(context.root.open(OpenFlag.O_RDONLY));
      for (const cookie of [
        1,
        12345,
        2 ** 40,
        2 ** 52,
        2 ** 52 + 77,
        2 ** 52 + 2 ** 33,
        Number.MAX_SAFE_INTEGER,
      ]) {
        const answer = await directory.readdir(cookie, { entry: () => true });
        expect(answer).toBeLessThanOrEqual(0);
      }
      expect(await entriesFrom(directory, 0, 100)).toHaveLength(5);
      await directory.close();
    });

    it(`gives each of ${MANY} entries exactly once`, async () => {
      await fill(context.root, MANY, 'entry-');
      const entries = await listing(context.root, 333);
      expect(entries).toHaveLength(MANY + 2);
      expect(nameCounts(entries).size).toBe(MANY + 2);
    });

    it('gives what stays exactly once while other entries come and go', async () => {
      await fill(context.root, 2000, 'stays-');
      await fill(context.root, 500, 'goes-');
      let round = 0;
      const entries = await listing(context.root, 100, async () => {
        const i = round++;
        (await ok<FsNode>(context.root.symlink(`comes-${i}`, 'x', self))).release();
        for (let k = 0; k < 20; k++) await context.root.unlink(`goes-${i * 20 + k}`, false);
      });
      const counts = nameCounts(entries);
      for (let i = 0; i < 2000; i++) expect(counts.get(`stays-${i}`), `stays-${i}`).toBe(1);
      for (const [name, times] of counts) expect(times, name).toBe(1);
    });

    it('of a directory that was emptied while it was read ends', async () => {
      const directory = await mkdir(context.root, 'd');
      await fill(directory, 500, 'f');
      const open = await ok<OpenFile>(directory.open(OpenFlag.O_RDONLY));
      const some = await entriesFrom(open, 0, 10);
      for (const name of await names(directory)) await count(directory.unlink(name, false));
      const rest = await entriesFrom(open, some.at(-1)?.cookie ?? 0, 1000);
      expect(nameCounts([...some, ...rest]).size).toBe(some.length + rest.length);
      expect(await entriesFrom(open, 0, 1000)).toHaveLength(2);
      await open.close();
      directory.release();
    });
  });
}
