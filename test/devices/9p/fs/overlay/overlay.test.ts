/** What only an overlay does: files go from layer to layer under the guest's hands, and the guest must not see it. */
import { execFileSync } from 'node:child_process';
import {
  existsSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Volume } from 'memfs';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Errno } from '../../../../../devices/errno.js';
import {
  OpenFlag,
  SetAttr,
  type Created,
  type FsNode,
  type OpenFile,
} from '../../../../../devices/9p/fs/file-system.js';
import { HostDirectory } from '../../../../../devices/9p/fs/host-directory/host-directory.js';
import { NodeFs } from '../../../../../devices/9p/fs/node-fs/node-fs.js';
import { OverlayFs } from '../../../../../devices/9p/fs/overlay/overlay-fs.js';
import {
  attributesOf,
  changes,
  contentAt,
  contentOf,
  count,
  entriesFrom,
  failure,
  inodeOf,
  names,
  ok,
  put,
  read,
  self,
  write,
} from '../suite/driver.js';
import { nodeAt } from './trees.js';

let base: string;
let fs: OverlayFs;
let root: FsNode;

function lower(...path: string[]): string {
  return join(base, 'lower', ...path);
}

function upper(...path: string[]): string {
  return join(base, 'upper', ...path);
}

async function mount(): Promise<void> {
  fs = new OverlayFs(await HostDirectory.open(lower()), await HostDirectory.open(upper()));
  root = await ok<FsNode>(fs.attach());
}

async function unmount(): Promise<void> {
  root.release();
  await fs.close();
}

async function changed(): Promise<string[]> {
  const list: string[] = [];
  for await (const { kind, path, from } of fs.diff())
    list.push(from ? `${kind} ${path} from ${from}` : `${kind} ${path}`);
  return list;
}

beforeEach(async () => {
  base = mkdtempSync(join(tmpdir(), 'overlay-'));
  mkdirSync(lower('dir', 'deep'), { recursive: true });
  mkdirSync(upper());
  writeFileSync(lower('file'), 'lower');
  writeFileSync(lower('dir', 'deep', 'below'), 'below');
  await mount();
});

afterEach(async () => {
  await unmount();
  execFileSync('rm', ['-rf', base]);
});

describe('copying up', () => {
  it('leaves the lower file alone, and keeps mode, owner, times and extended attributes', async () => {
    const node = await nodeAt(root, '/file');
    await count(node.setattr(changes(SetAttr.P9_ATTR_MODE, { mode: 0o640 })));
    await unmount();
    writeFileSync(lower('file'), 'lower');
    execFileSync('touch', ['-d', '2001-02-03T04:05:06.789', lower('file')]);
    execFileSync('rm', ['-rf', upper()]);
    mkdirSync(upper());
    await mount();
    const before = await attributesOf(await nodeAt(root, '/file'));
    const file = await nodeAt(root, '/file');
    await count(file.setxattr('user.test', Buffer.from('set'), 0));
    const after = await attributesOf(file);
    for (const key of [
      'mode',
      'uid',
      'gid',
      'mtimeSeconds',
      'mtimeNanoseconds',
      'inodeLow',
      'inodeHigh',
    ] as const)
      expect(after[key], key).toBe(before[key]);
    expect(readFileSync(lower('file'), 'utf8')).toBe('lower');
    expect(readFileSync(upper('file'), 'utf8')).toBe('lower');
  });

  it('shows what is written to files that were opened for reading before', async () => {
    const node = await nodeAt(root, '/file');
    const reader = await ok<OpenFile>(node.open(OpenFlag.O_RDONLY));
    expect(await read(reader, 0, 10)).toBe('lower');
    const writer = await ok<OpenFile>(node.open(OpenFlag.O_RDWR));
    await write(writer, 0, 'LOWER!');
    expect(await read(reader, 0, 10)).toBe('LOWER!');
    expect((await attributesOf(reader)).sizeBytes).toBe(6);
    await reader.close();
    await writer.close();
    node.release();
  });

  it('changes no inode number: of the file, of the directories above it, or in a listing', async () => {
    const node = await nodeAt(root, '/dir/deep/below');
    const directory = await nodeAt(root, '/dir/deep');
    const before = [inodeOf(await attributesOf(node)), inodeOf(await attributesOf(directory))];
    await count(node.setattr(changes(SetAttr.P9_ATTR_MODE, { mode: 0o600 })));
    const after = [inodeOf(await attributesOf(node)), inodeOf(await attributesOf(directory))];
    expect(after).toEqual(before);
    node.release();
    directory.release();
    await unmount();
    await mount();
    const again = await nodeAt(root, '/dir/deep/below');
    expect(inodeOf(await attributesOf(again))).toBe(before[0]);
    again.release();
  });

  it('of a file that has other names below gives it a number of its own, since they keep the old content', async () => {
    linkSync(lower('file'), lower('other'));
    const node = await nodeAt(root, '/file');
    const other = await nodeAt(root, '/other');
    expect(inodeOf(await attributesOf(node))).toBe(inodeOf(await attributesOf(other)));
    const file = await ok<OpenFile>(node.open(OpenFlag.O_WRONLY | OpenFlag.O_TRUNC));
    await write(file, 0, 'changed');
    await file.close();
    expect(await contentOf(other)).toBe('lower');
    expect(inodeOf(await attributesOf(node))).not.toBe(inodeOf(await attributesOf(other)));
    node.release();
    other.release();
  });

  it('by many at once copies once, and loses no write', async () => {
    const node = await nodeAt(root, '/file');
    await Promise.all(
      Array.from({ length: 20 }, async (_, i) => {
        const file = await ok<OpenFile>(node.open(OpenFlag.O_WRONLY));
        await write(file, 5 + i, String.fromCharCode(97 + i));
        await file.close();
      }),
    );
    expect(await contentOf(node)).toBe('lowerabcdefghijklmnopqrst');
    expect(readdirSync(upper('.chassis-overlay', '.chassis-overlay.work'))).toEqual([]);
    node.release();
  });

  it('of a file that was removed while it is held changes neither layer under its name', async () => {
    const node = await nodeAt(root, '/file');
    await count(root.unlink('file', false));
    expect((await attributesOf(node)).nlink).toBe(0);
    const file = await ok<OpenFile>(node.open(OpenFlag.O_RDWR));
    await write(file, 0, 'nameless');
    expect(await read(file, 0, 20)).toBe('nameless');
    await file.close();
    expect(readFileSync(lower('file'), 'utf8')).toBe('lower');
    expect(existsSync(upper('file'))).toBe(false);
    node.release();
  });

  it('that runs out of room leaves the lower file showing, and nothing half made', async () => {
    writeFileSync(lower('large'), Buffer.alloc(200_000, 1));
    const volume = new Volume();
    const small = new OverlayFs(
      await HostDirectory.open(lower()),
      new NodeFs(volume, { ownership: 'kept', maxTotalBytes: 100_000 }),
    );
    const top = await ok<FsNode>(small.attach());
    const node = await nodeAt(top, '/large');
    expect(await failure(node.open(OpenFlag.O_RDWR))).toBe('ENOSPC');
    expect((await attributesOf(node)).sizeBytes).toBe(200_000);
    expect(volume.readdirSync('/.chassis-overlay/.chassis-overlay.work')).toEqual([]);
    node.release();
    top.release();
    await small.close();
  });
});

describe('what hides the lower layer', () => {
  it('outlives the process, for files and whole directories', async () => {
    await count(root.unlink('file', false));
    const deep = await nodeAt(root, '/dir/deep');
    await count(deep.unlink('below', false));
    deep.release();
    const dir = await nodeAt(root, '/dir');
    await count(dir.unlink('deep', true));
    dir.release();
    await count(root.unlink('dir', true));
    (await ok<FsNode>(root.mkdir('dir', 0o755, self))).release();
    await unmount();
    await mount();
    expect(await names(root)).toEqual(['dir']);
    const fresh = await nodeAt(root, '/dir');
    expect(await names(fresh)).toEqual([]);
    fresh.release();
    expect(readFileSync(lower('dir', 'deep', 'below'), 'utf8')).toBe('below');
  });

  it('is nothing that a guest can see, make, link, rename or remove (CVE-2017-7493)', async () => {
    await count(root.unlink('file', false));
    for (const name of ['.chassis-overlay', '.chassis-overlay.work', '.chassis-overlay-of-mine']) {
      expect(await failure(root.walk(name)), name).toBe('ENOENT');
      expect(await failure(root.create(name, OpenFlag.O_RDWR, 0o644, self)), name).toBe('EPERM');
      expect(await failure(root.mkdir(name, 0o755, self)), name).toBe('EPERM');
      expect(await failure(root.symlink(name, '/dir', self)), name).toBe('EPERM');
      expect(await failure(root.mknod(name, 0o644, 0, self)), name).toBe('EPERM');
      const dir = await nodeAt(root, '/dir');
      const below = await nodeAt(root, '/dir/deep/below');
      expect(await failure(root.link(name, below)), name).toBe('EPERM');
      expect(await failure(root.rename('dir', root, name)), name).toBe('EPERM');
      expect(await failure(dir.renameTo(root, name)), name).toBe('EPERM');
      expect(await failure(root.unlink(name, true)), name).toBe('ENOENT');
      expect(await failure(root.rename(name, root, 'mine')), name).toBe('ENOENT');
      dir.release();
      below.release();
    }
    mkdirSync(lower('.chassis-overlay'));
    expect(await names(root)).toEqual(['dir']);
  });

  it('takes names of 255 bytes that are no UTF-8', async () => {
    const name = `\xff${'n'.repeat(254)}`;
    const path = Buffer.concat([Buffer.from(`${lower()}/`), Buffer.from(name, 'latin1')]);
    writeFileSync(path, 'raw');
    expect(await contentAt(root, name)).toBe('raw');
    await count(root.unlink(name, false));
    expect(await names(root)).toEqual(['dir', 'file']);
    await unmount();
    await mount();
    expect(await failure(root.walk(name))).toBe('ENOENT');
  });

  it('is not needed where the lower layer has nothing', async () => {
    (await put(root, 'mine', 'upper')).release();
    await count(root.unlink('mine', false));
    expect(readdirSync(upper('.chassis-overlay')).filter((name) => name === 'mine')).toEqual([]);
  });
});

describe('renaming a directory of the lower layer', () => {
  it('copies none of its files, and outlives the process', async () => {
    await count(root.rename('dir', root, 'moved'));
    const node = await nodeAt(root, '/moved/deep/below');
    expect(await contentOf(node)).toBe('below');
    node.release();
    expect(existsSync(upper('moved', 'deep'))).toBe(false);
    await unmount();
    await mount();
    expect(await names(root)).toEqual(['file', 'moved']);
    const again = await nodeAt(root, '/moved/deep/below');
    await count(again.setattr(changes(SetAttr.P9_ATTR_MODE, { mode: 0o600 })));
    again.release();
    expect(existsSync(upper('moved', 'deep', 'below'))).toBe(true);
    expect(await changed()).toEqual(['renamed /moved from /dir', 'metadata /moved/deep/below']);
  });

  it('and making one of the old name keeps the two apart', async () => {
    await count(root.rename('dir', root, 'moved'));
    (await ok<FsNode>(root.mkdir('dir', 0o700, self))).release();
    const fresh = await nodeAt(root, '/dir');
    const moved = await nodeAt(root, '/moved');
    expect(await names(fresh)).toEqual([]);
    expect(await names(moved)).toEqual(['deep']);
    expect(inodeOf(await attributesOf(fresh))).not.toBe(inodeOf(await attributesOf(moved)));
    fresh.release();
    moved.release();
    await fs.commit();
    expect(readdirSync(lower('dir'))).toEqual([]);
    expect(readdirSync(lower('moved'))).toEqual(['deep']);
    expect(statSync(lower('dir')).mode & 0o777).toBe(0o700);
  });
});

describe('a listing of both layers', () => {
  it('gives each name once while files are copied up, removed and made', async () => {
    for (let i = 0; i < 500; i++) writeFileSync(lower(`f${i}`), '');
    const directory = await ok<OpenFile>(root.open(OpenFlag.O_RDONLY));
    const seen = new Map<string, number>();
    let cookie = 0;
    for (let round = 0; ; round++) {
      const entries = await entriesFrom(directory, cookie, 50);
      if (entries.length === 0) break;
      for (const { name } of entries) seen.set(name, (seen.get(name) ?? 0) + 1);
      cookie = entries.at(-1)?.cookie ?? 0;
      for (const i of [round, 499 - round]) {
        const node = await nodeAt(root, `/f${i}`);
        await count(node.setattr(changes(SetAttr.P9_ATTR_MODE, { mode: 0o600 })));
        node.release();
      }
      (await put(root, `new${round}`, '')).release();
      await count(root.unlink(`f${250 + round}`, false));
    }
    await directory.close();
    for (let i = 0; i < 240; i++) expect(seen.get(`f${i}`), `f${i}`).toBe(1);
    expect([...seen.values()].every((times) => times === 1)).toBe(true);
  });
});

describe('diff', () => {
  it('tells what was added, changed, removed, renamed and given other attributes', async () => {
    for (const name of ['gone', 'mode', 'moved', 'same']) writeFileSync(lower(name), name);
    (await put(root, 'added', 'new')).release();
    const file = await ok<Created>(root.create('file', OpenFlag.O_RDWR, 0o644, self));
    await write(file.file, 0, 'LOWER');
    await file.file.close();
    file.node.release();
    await count(root.unlink('gone', false));
    const mode = await nodeAt(root, '/mode');
    await count(mode.setattr(changes(SetAttr.P9_ATTR_MODE, { mode: 0o600 })));
    mode.release();
    await count(root.rename('moved', root, 'dir-not'));
    const same = await nodeAt(root, '/same');
    await (await ok<OpenFile>(same.open(OpenFlag.O_RDWR))).close();
    same.release();
    expect(await changed()).toEqual([
      'added /added',
      'renamed /dir-not from /moved',
      'changed /file',
      'removed /gone',
      'metadata /mode',
    ]);
  });
});

describe('commit', () => {
  it('of some paths brings those and the directories above them, and leaves the rest', async () => {
    const made = await ok<FsNode>(root.mkdir('made', 0o750, self));
    (await put(made, 'one', '1')).release();
    (await put(made, 'two', '2')).release();
    made.release();
    await count(root.unlink('file', false));
    await fs.commit(['/made/one']);
    expect(readFileSync(lower('made', 'one'), 'utf8')).toBe('1');
    expect(statSync(lower('made')).mode & 0o777).toBe(0o750);
    expect(readdirSync(lower('made'))).toEqual(['one']);
    expect(existsSync(lower('file'))).toBe(true);
    expect(await changed()).toEqual(['removed /file', 'added /made/two']);
    expect(existsSync(lower('.chassis-overlay.commit'))).toBe(false);
  });

  it('tells what it comes to, and stops where it is told, with nothing lost', async () => {
    for (const name of ['a', 'b', 'c']) (await put(root, name, name)).release();
    const seen: string[] = [];
    const stopping = fs.commit(undefined, (path) => seen.push(path) < 2);
    await expect(stopping).rejects.toMatchObject({ errno: Errno.EINTR });
    expect(seen).toEqual(['/a', '/b']);
    expect(await changed()).toEqual(['added /b', 'added /c']);
    await fs.commit();
    expect(readFileSync(lower('c'), 'utf8')).toBe('c');
  });

  it('of what replaces a renamed directory brings the rename, too', async () => {
    await count(root.rename('dir', root, 'moved'));
    (await put(root, 'dir', 'a file now')).release();
    await fs.commit(['/dir']);
    expect(readFileSync(lower('dir'), 'utf8')).toBe('a file now');
    expect(readFileSync(lower('moved', 'deep', 'below'), 'utf8')).toBe('below');
    expect(await changed()).toEqual([]);
  });

  it('while the guest writes leaves its file a change, and loses nothing it writes later', async () => {
    const { node, file } = await ok<Created>(root.create('file', OpenFlag.O_RDWR, 0o644, self));
    await write(file, 0, 'before');
    await fs.commit();
    expect(readFileSync(lower('file'), 'utf8')).toBe('before');
    await write(file, 0, 'after!');
    expect(await contentAt(root, 'file')).toBe('after!');
    expect(readFileSync(lower('file'), 'utf8')).toBe('before');
    await file.close();
    node.release();
    expect(await changed()).toEqual(['changed /file']);
    await fs.commit();
    expect(readFileSync(lower('file'), 'utf8')).toBe('after!');
    expect(existsSync(upper('file'))).toBe(false);
  });

  it('leaves readers reading, who see what is written after it', async () => {
    const node = await put(root, 'fresh', 'content');
    const reader = await ok<OpenFile>(node.open(OpenFlag.O_RDONLY));
    await fs.commit();
    expect(existsSync(upper('fresh'))).toBe(false);
    expect(await read(reader, 0, 10)).toBe('content');
    const writer = await ok<OpenFile>(node.open(OpenFlag.O_WRONLY));
    await write(writer, 0, 'CONTENT');
    await writer.close();
    expect(await read(reader, 0, 10)).toBe('CONTENT');
    expect(readFileSync(lower('fresh'), 'utf8')).toBe('content');
    await reader.close();
    node.release();
  });

  it('keeps names of one file together', async () => {
    const node = await put(root, 'a', 'shared');
    await count(root.link('b', node));
    node.release();
    await fs.commit();
    expect(statSync(lower('a')).ino).toBe(statSync(lower('b')).ino);
  });
});

describe('discard', () => {
  it('of some paths shows the lower layer there again', async () => {
    await count(root.unlink('file', false));
    (await put(root, 'added', 'stays')).release();
    await fs.discard(['/file']);
    expect(await contentAt(root, 'file')).toBe('lower');
    expect(await changed()).toEqual(['added /added']);
  });

  it('of either end of a rename takes it back', async () => {
    for (const path of ['/dir', '/moved']) {
      await count(root.rename('dir', root, 'moved'));
      await fs.discard([path]);
      expect(await names(root)).toEqual(['dir', 'file']);
      expect(await changed()).toEqual([]);
    }
  });

  it('leaves open files open', async () => {
    const { node, file } = await ok<Created>(root.create('file', OpenFlag.O_RDWR, 0o644, self));
    await write(file, 0, 'mine!');
    await fs.discard();
    expect(await read(file, 0, 10)).toBe('mine!');
    expect(await contentAt(root, 'file')).toBe('lower');
    await file.close();
    node.release();
  });
});
