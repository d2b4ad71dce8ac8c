/** A mount tree behind a server: what a guest sees of its children, and what it cannot do. */
import { describe, expect, it } from 'vitest';
import { Errno } from '../../../../../devices/errno.js';
import type { TreeError } from '../../../../../devices/9p/fs/mount-tree/tree-error.js';
import type { Fields } from '../../server/support/wire.js';
import { T } from '../../server/support/wire.js';
import { READ_ONLY, READ_WRITE, TreeClient, WRITE_ONLY } from './support.js';

const O_TRUNC = 0o1000;
const AT_REMOVEDIR = 0x200;
const DT_DIR = 4;

/** Two children with a file each. */
async function withTwo() {
  const client = await TreeClient.attached();
  const one = client.add('one');
  const two = client.add('two');
  one.file('file', 'first');
  two.file('file', 'second');
  return { client, one, two };
}

describe('a child', () => {
  it('is seen at once, and is what it was before', async () => {
    const { client, one, two } = await withTwo();
    await client.open(1, READ_ONLY, 'one', 'file');
    await client.open(2, READ_ONLY, 'two', 'file');
    expect([await client.read(1), await client.read(2)]).toEqual(['first', 'second']);
    expect(
      client.tree.entries().map(({ name, state, fids, openFiles }) => [name, state, fids, openFiles]),
    ).toEqual([
      ['one', 'shown', 1, 1],
      ['two', 'shown', 1, 1],
    ]);
    await client.expectNoLeaks(one, two);
  });

  it.each(['', '.', '..', 'a/b', '/', 'nul\0', 'ctl', 'x'.repeat(256), 'é'.repeat(128)])(
    'cannot be called %o',
    async (name) => {
      const client = await TreeClient.attached();
      expect(() => client.add(name)).toThrow(expect.objectContaining({ code: 'ILLEGAL' }) as TreeError);
      expect(client.tree.entries()).toEqual([]);
    },
  );

  it.each(['relative', '', '/nul\0', `/${'x'.repeat(4095)}`])('cannot have the target %o', async (target) => {
    const client = await TreeClient.attached();
    expect(() => client.add('a', { target })).toThrow(
      expect.objectContaining({ code: 'ILLEGAL' }) as TreeError,
    );
  });

  it('cannot have a name in use, and the file system stays whose it was', async () => {
    const { client } = await withTwo();
    expect(() => client.add('one')).toThrow(expect.objectContaining({ code: 'NAME_IN_USE' }) as TreeError);
    expect(client.tree.entries()).toHaveLength(2);
  });

  it('may be called anything else, in UTF-8', async () => {
    const client = await TreeClient.attached();
    const names = ['é', '"\\\n\t $(x) `', '-', '...', 'x'.repeat(255)];
    for (const name of names) client.add(name);
    await client.open(1, READ_ONLY);
    const listed = (await client.names(1)).map((name) => Buffer.from(name, 'latin1').toString());
    expect(listed).toEqual(['.', '..', 'ctl', ...names]);
    expect(client.tree.entry('é')?.name).toBe('é');
  });

  it('has files of its own, whatever numbers its file system gives them', async () => {
    const { client } = await withTwo();
    const files = ['one', 'one/file', 'two', 'two/file', 'ctl', 'ctl/events', 'ctl/ack', 'ctl/helper.sh'];
    const paths: bigint[] = [];
    for (const file of files) paths.push(await client.path(...file.split('/')));
    expect(new Set(paths).size).toBe(paths.length);
    expect(await client.path('one', 'file')).toBe(paths[1]);
  });

  it('lists its entries under the numbers that they are looked up by', async () => {
    const { client } = await withTwo();
    await client.open(1, READ_ONLY, 'two');
    const entry = (await client.entries(1)).find(({ name }) => name === 'file');
    expect(entry?.path).toBe(await client.path('two', 'file'));
  });

  it('has the tree’s root above it', async () => {
    const { client, one } = await withTwo();
    one.directory('below');
    const root = await client.path('one', '..');
    expect(await client.path('one', 'below', '..')).toBe(await client.path('one'));
    expect(await client.path('one', 'below', '..', '..')).toBe(root);
    expect(await client.path('one', '..', 'two', 'file')).toBe(await client.path('two', 'file'));
    expect(await client.path('..')).toBe(root);
    await client.expectNoLeaks(one);
  });

  it('tells its own statfs, and the tree one of nothing', async () => {
    const { client } = await withTwo();
    await client.walk(1, 'one');
    const blocks = (fields: Fields) => (fields.bytes(8), fields.number(8));
    expect(blocks((await client.ok(T.statfs(1, 1))).fields)).toBe(1000);
    expect(blocks((await client.ok(T.statfs(1, 0))).fields)).toBe(0);
  });

  it('shares nothing with another: links and renames between them are EXDEV', async () => {
    const { client, one, two } = await withTwo();
    await client.walk(1, 'one');
    await client.walk(2, 'two');
    await client.walk(3, 'one', 'file');
    one.calls.length = two.calls.length = 0;
    expect(await client.errno(T.link(1, 2, 3, 'new'))).toBe(Errno.EXDEV);
    expect(await client.errno(T.renameat(1, 1, 'file', 2, 'new'))).toBe(Errno.EXDEV);
    expect(await client.errno(T.renameat(1, 1, 'file', 0, 'new'))).toBe(Errno.EXDEV);
    expect(await client.errno(T.rename(1, 3, 2, 'new'))).toBe(Errno.EXDEV);
    expect([one.root.entries.has('file'), two.root.entries.size]).toEqual([true, 1]);
    await client.ok(T.link(1, 1, 3, 'new'));
    await client.expectNoLeaks(one, two);
  });

  it('keeps its root, even where its file system would not', async () => {
    const { client, one } = await withTwo();
    one.directory('below');
    await client.walk(1, 'one');
    await client.walk(2, 'one', 'below', '..');
    await client.walk(3, 'one');
    one.calls.length = 0;
    for (const fid of [1, 2]) {
      expect(await client.errno(T.rename(1, fid, 3, 'new'))).toBe(Errno.EBUSY);
      expect(await client.errno(T.remove(1, fid))).toBe(Errno.EBUSY);
    }
    expect(one.calls).not.toContain('remove');
    expect(one.calls).not.toContain('renameTo new');
  });

  it('whose file system cannot be attached to fails with the reason, and no other does', async () => {
    const { client, one } = await withTwo();
    one.before = (operation) => (operation === 'attach' ? -Errno.EACCES : undefined);
    expect(await client.errno(T.walk(1, 0, 1, 'one'))).toBe(Errno.EACCES);
    await client.walk(2, 'two', 'file');
  });
});

describe('a read-only child', () => {
  const changes: [string, (directory: number, file: number) => Uint8Array][] = [
    ['Tlcreate', (dir) => T.lcreate(1, dir, 'file', READ_ONLY, 0o644, 0)],
    ['Tlopen to write', (_, file) => T.lopen(1, file, WRITE_ONLY)],
    ['Tlopen to read and write', (_, file) => T.lopen(1, file, READ_WRITE)],
    ['Tlopen that truncates', (_, file) => T.lopen(1, file, READ_ONLY | O_TRUNC)],
    ['Tmkdir', (dir) => T.mkdir(1, dir, 'new', 0o755, 0)],
    ['Tsymlink', (dir) => T.symlink(1, dir, 'new', 'target', 0)],
    ['Tmknod', (dir) => T.mknod(1, dir, 'new', 0o100644, 0, 0, 0)],
    ['Tlink', (dir, file) => T.link(1, dir, file, 'new')],
    ['Tunlinkat', (dir) => T.unlinkat(1, dir, 'file', 0)],
    ['Trenameat', (dir) => T.renameat(1, dir, 'file', dir, 'new')],
    ['Trename', (dir, file) => T.rename(1, file, dir, 'new')],
    ['Tremove', (_, file) => T.remove(1, file)],
    ['Tsetattr', (_, file) => T.setattr(1, file, { valid: 1, mode: 0o777 })],
  ];

  it.each(changes)('refuses %s with EROFS, and its file system never hears of it', async (_title, build) => {
    const client = await TreeClient.attached();
    const fs = client.add('locked', { readOnly: true });
    fs.file('file', 'as it was');
    await client.walk(1, 'locked');
    await client.walk(2, 'locked', 'file');
    fs.calls.length = 0;
    expect(await client.errno(build(1, 2))).toBe(Errno.EROFS);
    expect(fs.calls.filter((call) => call !== 'getattr')).toEqual([]);
    await client.expectNoLeaks(fs);
  });

  it('refuses extended attributes, and changes through files that are open', async () => {
    const client = await TreeClient.attached();
    const fs = client.add('locked', { readOnly: true });
    fs.file('file', 'as it was');
    await client.open(2, READ_ONLY, 'locked', 'file');
    await client.walk(3, 'locked', 'file');
    expect(await client.errno(T.setattr(1, 2, { valid: 1, mode: 0 }))).toBe(Errno.EROFS);
    await client.ok(T.xattrcreate(1, 3, 'user.x', 1, 0));
    await client.write(3, 'x');
    expect(await client.errno(T.clunk(1, 3))).toBe(Errno.EROFS);
    expect(await client.read(2)).toBe('as it was');
  });

  it('beside one that is not leaves that alone, and has its locks held as shared ones', async () => {
    const client = await TreeClient.attached();
    const locked = client.add('locked', { readOnly: true });
    const open = client.add('open');
    for (const fs of [locked, open]) fs.file('file', '');
    await client.open(1, READ_ONLY, 'locked', 'file');
    await client.open(2, READ_WRITE, 'open', 'file');
    expect((await client.write(2, 'new')).errno).toBe(0);
    await client.ok(T.lock(1, 1, 1, 0, 0, 0, 7, 'guest'));
    await client.ok(T.lock(1, 2, 1, 0, 0, 0, 7, 'guest'));
    expect(locked.calls).toContain('lock 1 0 0 read-only');
    expect(open.calls).toContain('lock 1 0 0');
  });
});

describe('the tree’s own files', () => {
  it('cannot be changed, made or removed by a guest', async () => {
    const { client } = await withTwo();
    await client.walk(1, 'ctl');
    await client.walk(2, 'ctl', 'helper.sh');
    await client.walk(3, 'one', 'file');
    for (const directory of [0, 1]) {
      for (const request of [
        T.mkdir(1, directory, 'new', 0o755, 0),
        T.symlink(1, directory, 'new', 'target', 0),
        T.mknod(1, directory, 'new', 0o100644, 0, 0, 0),
        T.link(1, directory, 3, 'new'),
        T.lcreate(1, directory, 'new', READ_WRITE, 0o644, 0),
        T.unlinkat(1, directory, 'one', AT_REMOVEDIR),
        T.unlinkat(1, directory, 'ctl', AT_REMOVEDIR),
        T.unlinkat(1, directory, 'ack', 0),
        T.renameat(1, directory, 'one', directory, 'new'),
        T.setattr(1, directory, { valid: 1, mode: 0 }),
      ])
        expect(await client.errno(request)).toBe(Errno.EROFS);
    }
    expect(await client.errno(T.setattr(1, 2, { valid: 8, size: 0 }))).toBe(Errno.EROFS);
    expect(await client.errno(T.lopen(1, 2, WRITE_ONLY))).toBe(Errno.EACCES);
    expect(await client.errno(T.lopen(1, 1, READ_WRITE))).toBe(Errno.EISDIR);
    expect(client.tree.entries()).toHaveLength(2);
  });

  it('are a script, and files that say nothing about who else uses them', async () => {
    const client = await TreeClient.attached();
    await client.open(1, READ_ONLY, 'ctl');
    expect(await client.names(1)).toEqual(['.', '..', 'events', 'ack', 'helper.sh', 'exec.sh', 'exec']);
    await client.open(2, READ_ONLY, 'ctl', 'helper.sh');
    const script = await client.read(2, 0, 60_000);
    expect(script).toMatch(/^#!\/bin\/sh\n[^]*main "\$@"\n$/);
    expect(await client.read(2, 5, 4)).toBe(script.slice(5, 9));
    expect(await client.read(2, 1_000_000)).toBe('');
    expect(await client.errno(T.walk(1, 0, 3, 'ctl', 'events', 'x'))).toBe(0);
    expect(await client.errno(T.walk(1, 0, 3, 'ctl', 'nothing', 'x'))).toBe(0);
  });
});

describe('the root’s listing', () => {
  it('has a directory for each child, in the order in which they came, and goes on at any cookie', async () => {
    const client = await TreeClient.attached();
    const names = Array.from({ length: 300 }, (_, i) => `child-${i}`);
    for (const name of names) client.add(name);
    await client.open(1, READ_ONLY);
    expect(await client.names(1, 200)).toEqual(['.', '..', 'ctl', ...names]);
    const entries = await client.entries(1, 0, 30_000);
    expect(entries.every(({ type }) => type === DT_DIR)).toBe(true);
    expect(new Set(entries.map(({ path }) => path)).size).toBe(entries.length - 1);
    const again = await client.entries(1, entries[100].cookie, 30_000);
    expect(again.map(({ name }) => name)).toEqual(names.slice(98));
  });

  it('has what stays exactly once while others come and go, and nothing twice', async () => {
    const client = await TreeClient.attached();
    for (let i = 0; i < 100; i++) client.add(`${i % 2 === 0 ? 'stays' : 'goes'}-${i}`);
    await client.open(1, READ_ONLY);
    const seen: string[] = [];
    let cookie = 0;
    for (let round = 1; ; round += 2) {
      const entries = await client.entries(1, cookie, 150);
      const last = entries.at(-1);
      if (last === undefined) break;
      seen.push(...entries.map(({ name }) => name));
      cookie = last.cookie;
      if (round >= 100) continue;
      // Some that were told already come again, under their old names.
      client.tree.remove(`goes-${round}`);
      client.add(`goes-${round}`);
      client.add(`new-${round}`);
    }
    expect(new Set(seen).size).toBe(seen.length);
    expect(seen.filter((name) => name.startsWith('stays'))).toHaveLength(50);
  });
});
