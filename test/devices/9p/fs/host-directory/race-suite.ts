/**
 * The tests of races, run with each way in which the host's files are reached.
 * THREATS rows 1 and 2, races between a path and what it names: CVE-2016-9602, CVE-2018-19364, CVE-2021-20181, CVE-2026-93834. A
 * process of the host exchanges files of the export for links out of it as fast as it can. To know that the attack is on, the same
 * is tried by path, which does fall for it.
 */
import { mkdirSync, readFileSync, renameSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import {
  Attributes,
  FileMode,
  OpenFlag,
  SetAttr,
  type FsNode,
} from '../../../../../devices/9p/fs/file-system.js';
import { isFailure } from '../../../../../devices/errno.js';
import { Sender } from '../../server/support/client.js';
import { Fields, T, type Reply } from '../../server/support/wire.js';
import { attributesOf, changes, contentOf, failure, ok, self } from '../suite/driver.js';
import { Exported, SECRET } from './exported.js';
import { mark, marksOf } from './marks.js';
import { Swapper } from './swapper.js';

/** Rounds that each attack gets at least, and at most while it has not shown that it works. */
const MIN_ROUNDS = 2_000;
const MAX_ROUNDS = 400_000;
/** How long each attack goes on at least. */
const SECONDS = Number(process.env.CHASSIS_RACE_SECONDS ?? 0);
const TIMEOUT_MS = 60_000 + 2000 * SECONDS;

const ROUNDS_A_TURN = 500;

let exported: Exported;
let swapper: Swapper | undefined;

async function swap(name: string, link: string): Promise<void> {
  swapper = await Swapper.start(exported, name, link);
}

/** Goes on until the attack has worked on `byPath`, and the rounds have seen `enough`. */
async function whileAttacked(
  byPath: () => boolean,
  round: () => Promise<void>,
  minRounds = MIN_ROUNDS,
  enough: () => boolean = () => true,
): Promise<void> {
  let fooled = 0;
  const endMs = performance.now() + 1000 * SECONDS;
  let rounds = 0;
  const goesOn = () => (fooled < 10 || !enough()) && rounds < MAX_ROUNDS;
  while (rounds < minRounds || goesOn() || performance.now() < endMs) {
    if (byPath()) fooled++;
    await round();
    // The other process waits for what it has written to be read.
    if (++rounds % ROUNDS_A_TURN === 0) await new Promise(setImmediate);
  }
  if (SECONDS > 0)
    console.log(`${rounds} rounds during ${swapper?.swaps} swaps, and paths fell for ${fooled}`);
  expect(fooled, 'times that the attack worked on paths').toBeGreaterThanOrEqual(10);
}

function readsSecret(path: string): boolean {
  try {
    return readFileSync(path, 'utf8') === SECRET;
  } catch {
    return false;
  }
}

async function walkTo(...names: string[]): Promise<FsNode | undefined> {
  let node: FsNode = exported.root;
  node.retain();
  for (const name of names) {
    const next = await node.walk(name);
    node.release();
    if (isFailure(next)) return undefined;
    node = next;
  }
  return node;
}

function namesIn(reply: Reply): string[] {
  const fields = new Fields(reply.data);
  const names: string[] = [];
  while (fields.left > 0) {
    fields.bytes(22);
    names.push(fields.text());
  }
  return names;
}

/** `how` the host's files are reached. */
export function raceSuite(how: string): void {
  describe(how, () => {
    beforeEach(async () => {
      exported = await Exported.make();
    });

    afterEach(async () => {
      await swapper?.stop();
      swapper = undefined;
      exported.remove();
    });

    describe('a directory that is exchanged for a link out of the export', () => {
      beforeEach(async () => {
        writeFileSync(join(exported.outside, 'outside-only'), '');
        mkdirSync(exported.at('dir'));
        writeFileSync(exported.at('dir', 'secret'), 'harmless');
        symlinkSync('../outside', exported.at('link'));
        await mark(exported.outside, 'outside');
        await mark(exported.at('dir'), 'harmless');
        await swap('dir', 'link');
      });

      it(
        'never shows what is outside',
        async () => {
          const seen = new Set<string>();
          await whileAttacked(
            () => readsSecret(exported.at('dir', 'secret')),
            async () => {
              const node = await walkTo('dir', 'secret');
              if (node === undefined) return;
              const file = await node.open(OpenFlag.O_RDONLY);
              if (!isFailure(file)) await file.close();
              if (!isFailure(file)) seen.add(await contentOf(node).catch(() => 'harmless'));
              node.release();
            },
            MIN_ROUNDS,
            () => seen.size > 0,
          );
          expect([...seen]).toEqual(['harmless']);
        },
        TIMEOUT_MS,
      );

      it(
        'never gives attributes of anything but the file that a node stands for',
        async () => {
          let looked = 0;
          await whileAttacked(
            () => readsSecret(exported.at('dir', 'secret')),
            async () => {
              const node = exported.root.walk('dir');
              if (isFailure(node)) return;
              const { type, inodeLow } = node;
              const attributes = new Attributes();
              for (let i = 0; i < 5; i++) {
                if (node.getattr(attributes) < 0) continue;
                looked++;
                expect([attributes.mode & FileMode.S_IFMT, attributes.inodeLow]).toEqual([type, inodeLow]);
              }
              node.release();
            },
            MIN_ROUNDS,
            () => looked > MIN_ROUNDS / 10,
          );
          expect(looked).toBeGreaterThan(MIN_ROUNDS / 10);
        },
        TIMEOUT_MS,
      );

      it(
        'shows a guest nothing of what is outside, whatever its requests are',
        async () => {
          const before = exported.describeOutside();
          const client = new Sender(exported.fs);
          client.room = 8192;
          await client.start(self.uid);
          const seen = new Set<string>();
          let opened = 0;
          await whileAttacked(
            () => readsSecret(exported.at('dir', 'secret')),
            async () => {
              await client.call(T.walk(1, 0, 1, 'dir', 'secret'));
              await client.call(T.walk(1, 0, 2, 'dir'));
              await client.call(T.walk(1, 2, 3, 'secret'));
              for (const fid of [1, 3]) {
                await client.call(T.setattr(1, fid, { valid: 1, mode: 0o604 }));
                if ((await client.errno(T.lopen(1, fid, 2))) !== 0) continue;
                opened++;
                const { data } = await client.ok(T.read(1, fid, 0, 100));
                seen.add(Buffer.from(data).toString());
                await client.ok(T.write(1, fid, 0, Buffer.from('harmless')));
              }
              await client.call(T.mkdir(1, 2, 'made', 0o755, 0));
              await client.call(T.symlink(1, 2, 'made-link', '/', 0));
              await client.call(T.renameat(1, 2, 'made-link', 2, 'renamed'));
              await client.call(T.unlinkat(1, 2, 'made', 0x200));
              await client.call(T.unlinkat(1, 2, 'renamed', 0));
              if ((await client.errno(T.lopen(1, 2, 0))) === 0)
                expect(namesIn(await client.ok(T.readdir(1, 2, 0, 8000)))).not.toContain('outside-only');
              for (const fid of [1, 2, 3]) await client.call(T.clunk(1, fid));
            },
            MIN_ROUNDS / 10,
            () => opened > 0,
          );
          await client.server.dropAll();
          expect(opened).toBeGreaterThan(0);
          expect([...seen]).toEqual(['harmless']);
          expect([client.log, exported.describeOutside()]).toEqual([[], before]);
        },
        TIMEOUT_MS,
      );

      it(
        'shows no link and no extended attribute of what is outside, and sets none there',
        async () => {
          const seen = new Set<string>();
          await whileAttacked(
            () => readsSecret(exported.at('dir', 'secret')),
            async () => {
              const directory = await walkTo('dir');
              if (directory === undefined) return;
              for (const name of ['pointer', 'secret', 'outside-only']) {
                const node = await directory.walk(name);
                if (isFailure(node)) continue;
                for (const text of [await node.readlink(), await node.getxattr('user.mark')])
                  if (!isFailure(text))
                    seen.add(typeof text === 'string' ? text : Buffer.from(text).toString());
                await node.setxattr('user.made', Uint8Array.of(1), 0);
                await directory.link('linked', node);
                await directory.unlink('linked', false);
                node.release();
              }
              await directory.setxattr('user.made', Uint8Array.of(1), 0);
              directory.release();
            },
            MIN_ROUNDS / 4,
            () => seen.size > 0,
          );
          expect([...seen]).toEqual(['harmless']);
          expect(await marksOf(exported.outside)).toEqual(['', 'user.mark\0']);
        },
        TIMEOUT_MS,
      );

      it(
        'never lets a name be made, removed, renamed or changed outside',
        async () => {
          const before = exported.describeOutside();
          let made = 0;
          await whileAttacked(
            () => readsSecret(exported.at('dir', 'secret')),
            async () => {
              const directory = await walkTo('dir');
              if (directory === undefined) return;
              const created = await directory.create('made', OpenFlag.O_CREAT | OpenFlag.O_RDWR, 0o666, self);
              if (!isFailure(created)) {
                made++;
                await created.file.close();
                await created.node.setattr(changes(SetAttr.P9_ATTR_MODE, { mode: 0o600 }));
                await directory.rename('made', directory, 'renamed');
                await created.node.remove();
                created.node.release();
              }
              const below = await directory.mkdir('below', 0o777, self);
              if (!isFailure(below)) {
                await below.remove();
                below.release();
              }
              await directory.unlink('made', false);
              await directory.unlink('renamed', false);
              directory.release();
            },
            MIN_ROUNDS,
            () => made > 0,
          );
          expect(made).toBeGreaterThan(0);
          expect(exported.describeOutside()).toBe(before);
        },
        TIMEOUT_MS,
      );
    });

    describe('a directory whose descriptor was closed for room', () => {
      it('is not opened again as something else', async () => {
        exported.remove();
        exported = await Exported.make({ maxHandles: 1 });
        for (const [name, content] of [
          ['dir', 'harmless'],
          ['other', 'another'],
        ]) {
          mkdirSync(exported.at(name));
          writeFileSync(exported.at(name, 'secret'), content);
        }
        // More than there may be descriptors.
        const evicting = Array.from({ length: 40 }, (_, i) => `d${i}`);
        for (const name of evicting) mkdirSync(exported.at(name));
        const directory = await ok<FsNode>(exported.root.walk('dir'));
        const others = await Promise.all(evicting.map((name) => ok<FsNode>(exported.root.walk(name))));
        await swap('dir', 'other');
        const seen = new Set<string>();
        for (let round = 0; round < 400 || (seen.size === 0 && round < MAX_ROUNDS); round++) {
          for (const other of others) await other.walk('nothing');
          const node = await directory.walk('secret');
          if (isFailure(node)) continue;
          seen.add(await contentOf(node).catch(() => 'harmless'));
          node.release();
        }
        expect([...seen]).toEqual(['harmless']);
        for (const node of [directory, ...others]) node.release();
      });
    });

    describe('a directory that the host moved out of the export', () => {
      it('is not found again by a link in its place that leads to it', async () => {
        mkdirSync(exported.at('dir'));
        writeFileSync(exported.at('dir', 'secret'), 'harmless');
        // It was looked at, and never needed a descriptor.
        const directory = await ok<FsNode>(exported.root.walk('dir'));
        renameSync(exported.at('dir'), join(exported.outside, 'moved'));
        symlinkSync('../outside/moved', exported.at('dir'));
        expect(await failure(directory.walk('secret'))).toBe('ESTALE');
        expect(await failure(directory.open(OpenFlag.O_RDONLY))).toBe('ESTALE');
        directory.release();
      });
    });

    describe('a file that is exchanged for a link out of the export', () => {
      beforeEach(async () => {
        writeFileSync(exported.at('file'), 'harmless');
        symlinkSync('../outside/secret', exported.at('link'));
        await swap('file', 'link');
      });

      it(
        'is never read, cut, or changed outside',
        async () => {
          const before = exported.describeOutside();
          let opened = 0;
          await whileAttacked(
            () => readsSecret(exported.at('file')),
            async () => {
              const created = exported.root.create('file', OpenFlag.O_CREAT | OpenFlag.O_RDWR, 0o666, self);
              if (!isFailure(created)) {
                opened++;
                await created.file.close();
                created.node.release();
              }
              const node = await walkTo('file');
              if (node === undefined) return;
              await node.setattr(changes(SetAttr.P9_ATTR_SIZE, { sizeBytes: 3 }));
              await node.setattr(changes(SetAttr.P9_ATTR_MTIME | SetAttr.P9_ATTR_MODE, { mode: 0o640 }));
              const file = await node.open(OpenFlag.O_RDWR | OpenFlag.O_TRUNC);
              if (!isFailure(file)) await file.close();
              node.release();
            },
            MIN_ROUNDS,
            () => opened > 0,
          );
          expect(opened).toBeGreaterThan(0);
          expect(exported.describeOutside()).toBe(before);
        },
        TIMEOUT_MS,
      );
    });

    describe('a file that is exchanged for a FIFO', () => {
      it('never blocks, and the FIFO is never opened', async () => {
        const fifo = exported.root.mknod('link', 0o010666, 0, self);
        if (isFailure(fifo)) throw new Error('no FIFO');
        fifo.release();
        writeFileSync(exported.at('file'), 'harmless');
        await swap('file', 'link');
        let opened = 0;
        for (let round = 0; round < MIN_ROUNDS * 2 || (opened < 10 && round < MAX_ROUNDS); round++) {
          const node = await walkTo('file');
          if (node === undefined) continue;
          const file = await node.open(OpenFlag.O_RDWR);
          if (!isFailure(file)) {
            opened++;
            expect((await attributesOf(file)).mode & FileMode.S_IFMT).toBe(FileMode.S_IFREG);
            await file.close();
          }
          node.release();
        }
        expect(opened).toBeGreaterThan(0);
      });
    });
  });
}
